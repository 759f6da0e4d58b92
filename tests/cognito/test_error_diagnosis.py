from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cognito.error_diagnosis import CODES, SYMPTOMS, UNKNOWN, diagnose


@pytest.mark.parametrize(
    ("error", "description", "code"),
    [
        ("invalid_request", "redirect_uri is not valid", "redirect_uri"),
        ("invalid_request", "redirect_mismatch", "redirect_uri"),
        ("invalid_redirect", "", "redirect_uri"),
        ("unauthorized_client", "", "unauthorized_client"),
        ("invalid_request", "invalid_scope", "scope"),
        ("invalid_scope", "", "scope"),
        ("invalid_request", "Timeout occurred in calling IdP token endpoint", "idp_unreachable"),
        ("invalid_request", "Timeout in calling jwks uri", "idp_unreachable"),
        ("invalid_request", "acme-okta Error - 500 error getting token", "idp_token"),
        (
            "invalid_request",
            "acme-okta Error - 401 error getting token: invalid_client",
            "idp_client",
        ),
        ("invalid_request", "user.email: Attribute cannot be updated.\n", "attribute_immutable"),
        (
            "invalid_request",
            "user.custom:groups: Attribute value is longer than 2048 characters.\n",
            "attribute_too_long",
        ),
        ("invalid_request", "attributes required: [email]", "attribute_required"),
        (
            "invalid_request",
            "user.custom:oid: A client attempted to write unauthorized attribute\n",
            "attribute_unwritable",
        ),
        ("invalid_request", "Bad id_token issuer", "idp_id_token"),
        (
            "server_error",
            "Invalid SAML response received: SAML Assertion signature is invalid. ",
            "saml_response",
        ),
        (
            "server_error",
            "Invalid SAML response received: Invalid user attributes: The attribute is required",
            "attribute_required",
        ),
        ("invalid_request", "Invalid relayState from identity provider", "saml_response"),
        ("server_error", "Unable to contact the configured provider", "saml_metadata"),
        ("invalid_request", "The provider acme-okta does not exist", "provider_missing"),
        ("invalid_request", "PreSignUp failed with error no.", "trigger"),
        ("invalid_request", "", "invalid_request"),
        ("access_denied", "User is disabled.", "user_disabled"),
        ("access_denied", "User is not assigned to the client application.", "not_assigned"),
        (
            "access_denied",
            "AADSTS50105: Your administrator has configured the application to block users",
            "not_assigned",
        ),
        ("access_denied", "", "access_denied"),
        ("invalid_client", "", "invalid_client"),
        ("invalid_client", "invalid_client_secret", "invalid_client"),
        ("invalid_grant", "", "invalid_grant"),
        ("server_error", "", "cognito_down"),
        ("login_required", "Login required", "login_required"),
        ("surprise", "", "unknown_error"),
        ("", "", "unknown_error"),
    ],
)
def test_an_error_is_recognised(error: str, description: str, code: str) -> None:
    assert diagnose(error, description).code == code


@given(st.text(), st.text())
def test_a_diagnosis_holds_nothing_of_the_peers_text(error: str, description: str) -> None:
    assert diagnose(error, description) in {*(s.diagnosis for s in SYMPTOMS), UNKNOWN}


def test_the_read_attribute_trap_is_named() -> None:
    found = diagnose("invalid_grant", "")
    assert "ReadAttributes" in found.setting
    assert "email_verified" in found.setting


def test_codes_are_unique_names() -> None:
    assert len(set(CODES)) == len(CODES)
    assert all(code.isidentifier() for code in CODES)


@pytest.mark.parametrize(
    "symptom", SYMPTOMS, ids=lambda s: f"{s.diagnosis.code}-{s.error or 'any'}"
)
def test_no_row_is_hidden_by_an_earlier_one(symptom: object) -> None:
    assert isinstance(symptom, type(SYMPTOMS[0]))
    if not symptom.text:
        assert diagnose(symptom.error, "") == symptom.diagnosis
    else:
        assert symptom.shown
