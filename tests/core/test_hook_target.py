"""A provider as its hooks see it."""

from __future__ import annotations

from gateway.core.hook_target import HookTarget, WebhookTarget
from gateway.core.model import ProviderKind, Secret


def target(
    *, groups_used: frozenset[str] | None, allowed_groups: frozenset[str] | None
) -> HookTarget:
    return HookTarget(
        tenant="acme",
        provider="acme-okta",
        kind=ProviderKind.OKTA,
        issuer="https://acme.okta.com",
        secrets=(Secret("current"), Secret("former")),
        directory_id=None,
        client_id=None,
        client_secret=None,
        api_token=None,
        api_url=None,
        audience=None,
        groups_used=groups_used,
        allowed_groups=allowed_groups,
    )


def test_groups_of_the_policy_are_written_as_events_write_them() -> None:
    made = target(
        groups_used=frozenset({"Cafe\u0301", "6F2C8F6E-6F0E-4D2B-9A52-0F2B7F9A1C01"}),
        allowed_groups=frozenset({"Cafe\u0301"}),
    )
    assert made.groups_used == frozenset({"Café", "6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01"})
    assert made.allowed_groups == frozenset({"Café"})
    assert made.key == ("acme", "acme-okta")


def test_no_policy_stays_none_which_is_not_the_same_as_no_group() -> None:
    none = target(groups_used=None, allowed_groups=None)
    assert (none.groups_used, none.allowed_groups) == (None, None)
    nobody = target(groups_used=frozenset(), allowed_groups=frozenset())
    assert (nobody.groups_used, nobody.allowed_groups) == (frozenset(), frozenset())


def test_neither_shows_a_secret() -> None:
    provider = target(groups_used=None, allowed_groups=None)
    shown = repr((provider, WebhookTarget("acme", "https://a.test", (Secret("current"),))))
    assert "current" not in shown
    assert "former" not in shown
