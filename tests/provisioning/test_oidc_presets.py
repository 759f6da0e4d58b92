"""What a preset changes of an OpenID Connect provider, and that it changes nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gateway.cognito.desired import MAPPINGS, SCOPES
from gateway.cognito.oidc_presets import CLAIMS, EXTRA_SCOPES, OidcPreset
from gateway.core.groups import parse_groups
from gateway.core.model import ProviderKind
from gateway.provisioning.desired import recognise, wanted_providers
from gateway.provisioning.request import ProvisionBody

if TYPE_CHECKING:
    from gateway.cognito.desired import OidcConnection, WantedProvider

ISSUER = "https://idp.acme.example"


def provider(**more: Any) -> WantedProvider:
    body = ProvisionBody.model_validate(
        {
            "provider": {
                "client_id": "c",
                "client_secret": "0123456789abcdef",
                "oidc_issuer": ISSUER,
                **more,
            }
        }
    )
    # Discovery offers a scope that this client may not have.
    published = {"issuer": ISSUER, "scopes_supported": ["openid", "groups"]}
    (wanted,) = wanted_providers(recognise(body, "acme", [published]), required=frozenset())
    return wanted


def scopes(wanted: WantedProvider) -> tuple[str, ...]:
    connection: OidcConnection = wanted.connection  # type: ignore[assignment]  # of this form
    return connection.scopes


USUAL = MAPPINGS[ProviderKind.OIDC]


@pytest.mark.parametrize("preset", list(OidcPreset))
def test_a_preset_changes_the_groups_claim_or_the_scopes_and_nothing_else(
    preset: OidcPreset,
) -> None:
    wanted = provider(preset=preset)
    assert wanted.kind is ProviderKind.OIDC
    changed = {name: claim for name, claim in wanted.mapping.items() if USUAL.get(name) != claim}
    assert changed == CLAIMS[preset]
    assert changed.keys() <= {"custom:groups"}
    assert scopes(wanted) == (*SCOPES[ProviderKind.OIDC], *EXTRA_SCOPES[preset])


def test_no_scope_is_requested_because_discovery_offers_it() -> None:
    assert scopes(provider()) == ("openid", "profile", "email")
    assert scopes(provider(preset="keycloak")) == ("openid", "profile", "email")
    assert "groups" in scopes(provider(preset="onelogin"))


def test_what_the_request_says_itself_wins() -> None:
    wanted = provider(
        preset="zitadel", attributes={"custom:groups": "my_groups"}, scopes=["openid", "x"]
    )
    assert wanted.mapping["custom:groups"] == "my_groups"
    assert scopes(wanted) == ("openid", "x")


def test_the_roles_that_zitadels_preset_maps_are_read_as_groups() -> None:
    claim = '{"admin": {"17": "acme.example"}, "staff": {"17": "acme.example"}, "gone": {}}'
    assert parse_groups(claim, url_decode_groups=True) == ("admin", "staff")


@pytest.mark.parametrize("kind", ["okta", "entra", "google"])
def test_a_kind_with_claims_of_its_own_takes_no_preset(kind: str) -> None:
    with pytest.raises(ValidationError, match="preset is for kind: oidc"):
        provider(kind=kind, preset="auth0")
