"""Each way in which a run fails names what to look at."""

from __future__ import annotations

import pytest

from gateway.cognito.aws_error import POLICY
from gateway.provisioning.failure_setting import setting_of
from gateway.provisioning.runs import Action


@pytest.mark.parametrize(
    ("code", "action", "named"),
    [
        ("AccessDeniedException", Action.CREATE_CLIENT, POLICY),
        ("ExpiredTokenException", Action.CREATE_PROVIDER, "AWS credentials"),
        ("ResourceNotFoundException", Action.UPDATE_CLIENT, "cognito.user_pool_id"),
        ("DuplicateProviderException", Action.CREATE_PROVIDER, "providers[].name"),
        ("InvalidParameterException", Action.CREATE_PROVIDER, "oidc_issuer"),
        ("InvalidParameterException", Action.CREATE_CLIENT, "hosts, scopes and providers"),
        ("InvalidParameterException", Action.ADD_ATTRIBUTES, "custom attributes"),
        ("interrupted", None, "another process"),
        ("unavailable", Action.PUT_TENANT, "gateway config check"),
        ("conflict", Action.PUT_TENANT, "the tenant's document"),
    ],
)
def test_a_failure_names_what_to_look_at(code: str, action: Action | None, named: str) -> None:
    assert named in setting_of(code, action)


@pytest.mark.parametrize("action", [None, *Action])
def test_an_unknown_code_of_any_step_names_something(action: Action | None) -> None:
    assert setting_of("SomethingNewException", action)
