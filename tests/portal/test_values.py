"""What is typed into the connection's form, and what was meant."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.portal.guides import GUIDES
from gateway.portal.values import Values, read_values
from gateway.setup.model import Protocol, SetupProvider

DIRECTORY = "0C5D2F7E-3b1a-4d68-8f27-9a4b6c1e5d30"


def read(
    form: dict[str, str],
    provider: SetupProvider = SetupProvider.OKTA,
    protocol: Protocol = Protocol.OIDC,
) -> Values:
    return read_values(
        form,
        provider=provider,
        protocol=protocol,
        guide=GUIDES[provider, protocol],
        today=date(2026, 11, 30),
    )


@pytest.mark.parametrize(
    ("provider", "typed", "meant"),
    [
        ("okta", " https://acme.okta.com ", "https://acme.okta.com"),
        ("okta", "acme.okta.com", "https://acme.okta.com"),
        (
            "okta",
            "https://acme.okta.com/oauth2/default/.well-known/openid-configuration",
            "https://acme.okta.com/oauth2/default",
        ),
        ("entra", DIRECTORY, f"https://login.microsoftonline.com/{DIRECTORY.lower()}/v2.0"),
        ("auth0", "acme.eu.auth0.com", "https://acme.eu.auth0.com/"),
        ("auth0", "https://acme.eu.auth0.com/", "https://acme.eu.auth0.com/"),
    ],
)
def test_an_issuer_is_set_right_where_it_is_clear(provider: str, typed: str, meant: str) -> None:
    form = {"issuer": typed, "client_id": "0oa1", "client_secret": "s3cr3t"}
    values = read(form, SetupProvider(provider))
    assert values.problems == {}
    assert values.provider["oidc_issuer"] == meant


def test_the_secret_is_among_nothing_that_is_shown_again() -> None:
    values = read({"issuer": "https://a.test", "client_id": "0oa1", "client_secret": "s3cr3t"})
    assert values.provider["client_secret"] == "s3cr3t"
    assert "s3cr3t" not in str(values.shown)
    assert "s3cr3t" not in repr(values)


def test_an_entra_secret_id_is_no_secret_and_no_other_providers_matter() -> None:
    form = {"issuer": DIRECTORY, "client_id": "1", "client_secret": DIRECTORY}
    assert read(form, SetupProvider.ENTRA).problems == {"client_secret": "secret_id"}
    form["issuer"] = "https://acme.okta.com"
    assert read(form).problems == {}


def test_only_kinds_without_claims_of_their_own_have_a_preset() -> None:
    form = {"issuer": "https://a.test", "client_id": "0oa1", "client_secret": "s3cr3t"}
    assert "preset" not in read(form).provider
    assert read(form, SetupProvider.ONELOGIN).provider["preset"] == "onelogin"
    saml = read({"metadata_url": "https://a.test/m"}, SetupProvider.ENTRA, Protocol.SAML)
    assert saml.provider == {
        "kind": "saml",
        "preset": "entra",
        "metadata_url": "https://a.test/m",
    }
