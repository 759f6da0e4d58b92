"""What a later login of the same person says of an earlier session: as far as it says anything."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.login import Refusal
from gateway.core.model import EmailTrust
from gateway.core.outdated import groups_that_count, is_outdated
from gateway.core.rule import Rule
from tests.core.build import provider, tenant
from tests.core.test_login import accepted, result

BEFORE: dict[str, Any] = {"email": "alice@acme.com", "groups": ("a", "B,c"), "roles": ("editor",)}


@pytest.mark.parametrize(
    ("claims", "outdated"),
    [
        ({}, False),
        ({"custom:groups": "[a, B%2Cc, d]", "custom:roles": "[editor, admin]"}, False),
        ({"custom:groups": "[A, b%2Cc]"}, True),
        ({"custom:groups": "[a]"}, True),
        ({"custom:groups": "[a, B%2Cc"}, False),
        ({"custom:groups": None, "custom:roles": None}, False),
        ({"custom:groups": ""}, True),
        ({"custom:roles": "viewer"}, True),
        ({"email": "ALICE@acme.com"}, False),
        ({"email": "alice.b@acme.com"}, True),
    ],
    ids=[
        "same",
        "more",
        "another-group",
        "a-group-less",
        "groups-truncated",
        "no-groups-no-roles",
        "groups-empty",
        "another-role",
        "same-address",
        "another-address",
    ],
)
def test_what_a_later_login_denies_outdates_a_session_and_what_it_leaves_unsaid_does_not(
    claims: dict[str, Any], outdated: bool
) -> None:
    said = accepted({"custom:groups": "[a, B%2Cc]", **claims})
    assert is_outdated(tenant(allowed_groups=None), said, **BEFORE) is outdated


def test_a_group_that_no_policy_names_outdates_nothing() -> None:
    said = accepted({"custom:groups": "[a]"})
    named = tenant(allowed_groups=frozenset({"a"}), rules=(Rule("/y/**"),))
    assert groups_that_count(named) == frozenset({"a"})
    assert not is_outdated(named, said, **BEFORE)
    assert is_outdated(tenant(allowed_groups=frozenset({"b,C", "B,c"})), said, **BEFORE)
    assert is_outdated(
        tenant(
            allowed_groups=frozenset({"a"}),
            shadow_rules=(Rule("/x/**", groups=frozenset({"B,c"})),),
        ),
        said,
        **BEFORE,
    )


@pytest.mark.parametrize(
    ("claims", "denied"),
    [
        ({"email": "alice@evil.com", "email_verified": True}, "s"),
        ({"email_verified": False}, "s"),
        ({"email_verified": "false"}, "s"),
        ({"email_verified": None}, ""),
        ({"email_verified": "0"}, ""),
        ({"email": None}, ""),
        ({"email": "alice@acme.com."}, ""),
        (
            {
                "email": "alice@evil.com",
                "email_verified": True,
                "identities": [{"userId": "00u1", "providerName": "another"}],
            },
            "",
        ),
        ({"email": "alice@evil.com", "email_verified": True, "sub": "\x00"}, ""),
    ],
)
def test_a_refusal_names_its_person_only_where_the_claims_say_outright_what_refuses_them(
    claims: dict[str, Any], denied: str
) -> None:
    refused = result(claims, provider=provider(email_trust=EmailTrust.VERIFIED_CLAIM))
    assert isinstance(refused, Refusal)
    assert refused.denied == denied
