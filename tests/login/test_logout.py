"""A logout at a tenant whose user pool this process does not know any more."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from gateway.cognito.oidc import CognitoRelyingParty
from gateway.login import logout
from gateway.login.resume import Resume
from tests.core.build import tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from gateway.core.model import Tenant


def browser_of(at: Tenant) -> Any:
    def keys() -> Sequence[bytes]:
        return (b"k" * 32,)

    services = SimpleNamespace(
        config=SimpleNamespace(login_host=None),
        signing_keys=keys,
        relying_party=CognitoRelyingParty(
            cast("Any", None), {}, clock=lambda: 0.0, monotonic=lambda: 0.0
        ),
    )
    return SimpleNamespace(
        services=services,
        host="app.acme.com",
        origin="https://app.acme.com",
        request_id="r1",
        tenant=at,
    )


def test_without_its_pool_a_logout_ends_on_the_page_that_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    at = tenant(pool="gone")
    response = logout._through_cognito(
        browser_of(at), at, Resume("signed_out", at.id, "app.acme.com", ""), client_id="client"
    )
    assert (response.status, response.headers["Location"]) == (
        303,
        "https://app.acme.com/_auth/signed-out",
    )
    assert [r.getMessage() for r in caplog.records] == ["logout_without_cognito"]
