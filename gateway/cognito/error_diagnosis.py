"""What Cognito's error texts usually mean, and which setting to change. One table, first match
wins.

Rules:
- Cognito forwards an identity provider's own text, and words change: a text is a hint, an ``error``
  code the fallback, and what matches nothing is ``unknown_error``.
- A diagnosis is made of our words only, so it may be logged and shown; nothing of the peer's text
  is in it.
- ``docs/operator/troubleshooting.md`` shows the same table and a test holds the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_DESCRIPTION: Final = 2048
"""Characters of a description that are looked at: the text comes from a URL or a peer."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``code`` goes to logs, metrics and the choice of the page's words; ``cause`` and ``setting``
    are for the operator.
    """

    code: str
    cause: str
    setting: str


@dataclass(frozen=True, slots=True)
class Symptom:
    """A row: ``error`` must equal (empty: any), ``text`` must be found in the description (ignoring
    case).
    """

    error: str
    text: str
    shown: str
    """The text as Cognito words it, for the documentation."""
    diagnosis: Diagnosis

    def matches(self, error: str, description: str) -> bool:
        return (
            self.error in {"", error}
            and re.search(self.text, description, re.IGNORECASE) is not None
        )


def _row(
    code: str, *, error: str = "", text: str = "", shown: str = "", cause: str, setting: str
) -> Symptom:
    return Symptom(error, text, shown, Diagnosis(code, cause, setting))


SYMPTOMS: tuple[Symptom, ...] = (
    # The redirect URI, wherever it is refused.
    _row(
        "redirect_uri",
        error="redirect_mismatch",
        cause=(
            "the callback URL is not registered with the app client; Cognito shows its own "
            "error page and sends nobody back"
        ),
        setting=(
            "app client → CallbackURLs: exactly the URL in this log line (scheme, host, port, "
            "path); with login_host it is that host's"
        ),
    ),
    _row(
        "redirect_uri",
        text=r"redirect[_ ]?uri|redirect_mismatch|invalid_redirect",
        shown="invalid_request: … redirect_uri …",
        cause="the callback URL sent is not, character for character, one of the app client's",
        setting="app client → CallbackURLs; gateway: login_host, public_scheme, public_port",
    ),
    _row(
        "redirect_uri",
        error="invalid_redirect",
        cause="the redirect_uri of the code exchange differs from the one that began the login",
        setting="app client → CallbackURLs; the same gateway.yaml on all replicas",
    ),
    # What Entra and Okta say themselves; Cognito passes it on.
    _row(
        "not_assigned",
        text=r"AADSTS50105|not assigned",
        shown="AADSTS50105 …, User is not assigned to the client application",
        cause=(
            "the customer's identity provider knows the person but has not assigned this "
            "application to them"
        ),
        setting="Okta: application → Assignments; Entra: enterprise application → Users and groups",
    ),
    _row(
        "consent",
        text=r"AADSTS65001|AADSTS90094|consent",
        shown="AADSTS65001 …",
        cause="the customer's administrator has not consented to the application",
        setting="Entra: enterprise application → Permissions → Grant admin consent",
    ),
    _row(
        "idp_client",
        text=r"AADSTS7000215|AADSTS7000222|AADSTS700016|getting token.{0,200}invalid_client",
        shown="AADSTS7000215 …, … Error - 401 error getting token: invalid_client",
        cause=(
            "the identity provider refuses the client id or secret that Cognito holds for it "
            "(wrong, or expired)"
        ),
        setting=(
            "identity provider in Cognito → client_id and client_secret; provision again with "
            "the new secret"
        ),
    ),
    _row(
        "idp_redirect",
        text=r"AADSTS50011",
        shown="AADSTS50011 …",
        cause="Cognito's own callback is not registered at the identity provider",
        setting="identity provider → redirect URI https://<cognito domain>/oauth2/idpresponse",
    ),
    _row(
        "user_disabled",
        text=r"user is (disabled|not enabled)|AADSTS50057",
        shown="access_denied: User is disabled.",
        cause="the person's user in the pool (or at the identity provider) is disabled",
        setting=(
            "if the person should be back: `gateway blocks remove` (the gateway enables within "
            "a minute whom it disabled itself; log `cognito_sync_behind` says why not), or "
            "AdminEnableUser for whom somebody else disabled"
        ),
    ),
    # Scopes.
    _row(
        "scope",
        text=r"invalid_scope|scope",
        shown="invalid_request: invalid_scope",
        cause="a scope was asked for that the app client does not allow",
        setting="app client → AllowedOAuthScopes, or the tenant's scopes (openid is enough)",
    ),
    _row(
        "scope",
        error="invalid_scope",
        cause="a scope was asked for that the app client does not allow",
        setting="app client → AllowedOAuthScopes, or the tenant's scopes (openid is enough)",
    ),
    # Federation: between Cognito and the identity provider.
    _row(
        "idp_unreachable",
        text=r"time[d]?[ -]?out.{0,200}(token endpoint|jwks|idp|userinfo)|timeout in calling",
        shown="Timeout occurred in calling IdP token endpoint; Timeout in calling jwks uri",
        cause="Cognito did not get an answer from the identity provider in time",
        setting=(
            "the identity provider's status page; its firewall must let AWS in (token, jwks "
            "and userinfo endpoints on 443)"
        ),
    ),
    _row(
        "idp_token",
        text=r"error getting token",
        shown="[IdP] Error - [status] error getting token",
        cause="the identity provider refused Cognito's code exchange",
        setting=(
            "identity provider: authentication method client_secret_post, the secret's expiry; "
            "identity provider in Cognito → client_secret"
        ),
    ),
    _row(
        "attribute_immutable",
        text=r"attribute cannot be updated",
        shown="user.email: Attribute cannot be updated.",
        cause="a mapped attribute is immutable in the pool, so the second login of everybody fails",
        setting=(
            "the pool's schema cannot be changed: a new pool whose attribute is mutable, or "
            "take it out of the AttributeMapping"
        ),
    ),
    _row(
        "attribute_too_long",
        text=r"longer than|length (less|constraint)|exceed|too long|2048",
        shown="user.custom:groups: … longer than 2048 …",
        cause=(
            "a mapped value is over 2,048 characters: usually groups (53 group GUIDs are the "
            "most that fit)"
        ),
        setting="identity provider: send only groups assigned to the application, or app roles",
    ),
    _row(
        "attribute_unwritable",
        text=r"unauthorized attribute",
        shown="user.custom:groups: A client attempted to write unauthorized attribute",
        cause=(
            "the app client may not write an attribute that the identity provider's mapping fills"
        ),
        setting="app client → WriteAttributes: every target of the AttributeMapping",
    ),
    _row(
        "attribute_required",
        text=r"attributes required|attribute mapping required|the attribute is required",
        shown="attributes required: [email]",
        cause=(
            "the pool requires an attribute that the identity provider did not send or that is "
            "not mapped"
        ),
        setting=(
            "identity provider in Cognito → AttributeMapping and authorize_scopes; identity "
            "provider: the claim in the ID token"
        ),
    ),
    _row(
        "saml_response",
        text=r"invalid saml response|saml response processing|invalid relaystate",
        shown="Invalid SAML response received: SAML Assertion signature is invalid.",
        cause=(
            "Cognito refused the SAML provider's response: its certificate is not in the metadata "
            "that Cognito read last, or audience, recipient or time are wrong"
        ),
        setting=(
            "identity provider: entity ID and ACS URL (docs/operator/saml.md); Cognito: PUT the "
            "provider again, so that the metadata are read anew"
        ),
    ),
    _row(
        "saml_metadata",
        text=r"unable to contact the configured provider",
        shown="Unable to contact the configured provider",
        cause="Cognito cannot read the SAML provider's metadata",
        setting="identity provider in Cognito → MetadataURL: public, https, port 443 or 80",
    ),
    _row(
        "idp_id_token",
        text=r"bad (id_token|userinfo)|no code in the response",
        shown="Bad id_token issuer",
        cause=(
            "Cognito refused the identity provider's own ID token or answer (issuer, audience, "
            "key, nonce or time)"
        ),
        setting=(
            "identity provider in Cognito → oidc_issuer: as in its discovery document, without "
            "a slash at its end (AWS's instructions for Auth0; where that is refused, try it "
            "with); Entra: /v2.0 of the tenant, never common"
        ),
    ),
    _row(
        "provider_missing",
        text=r"provider .{0,200} does not exist|identity[_ ]provider",
        shown="The provider … does not exist",
        cause=(
            "the tenant names a provider that the app client does not support (names are "
            "case-sensitive)"
        ),
        setting="app client → SupportedIdentityProviders; the tenant's providers[].name",
    ),
    _row(
        "trigger",
        text=r"failed with error|lambda",
        shown="PreSignUp failed with error …",
        cause="a Lambda trigger of the pool refused the login or failed",
        setting="user pool → Extensions (Lambda triggers), and that function's log",
    ),
    # The bare codes.
    _row(
        "invalid_client",
        text=r"client does not exist",
        shown="Client does not exist.",
        cause=(
            "Cognito does not know the client id; it shows its own error page and sends nobody back"
        ),
        setting=(
            "the tenant's client_id (provision it again, or name the one that is there), "
            "cognito.domain of the same pool"
        ),
    ),
    _row(
        "invalid_client",
        error="invalid_client",
        cause="Cognito does not know the client id or refuses the client secret",
        setting=(
            "the tenant's client_id and client_secret (is env: or file: what you think it "
            "is?), cognito.domain of the same pool; of a client whose secret is in Secrets "
            "Manager: the log event client_secret_unreadable of the admin role"
        ),
    ),
    _row(
        "invalid_grant",
        error="invalid_grant",
        cause=(
            "the code was used, is older than five minutes or is another client's; or the "
            "trap: the client may not read every attribute of a scope it asks for"
        ),
        setting=(
            "app client → ReadAttributes: all attributes of each scope (email needs email and "
            "email_verified), or scopes: [openid]"
        ),
    ),
    _row(
        "unauthorized_client",
        error="unauthorized_client",
        cause=(
            "the app client may not use the authorization code flow, or the redirect_uri of "
            "the exchange is another one"
        ),
        setting=(
            "app client → AllowedOAuthFlowsUserPoolClient, AllowedOAuthFlows: code; CallbackURLs"
        ),
    ),
    _row(
        "unsupported_grant",
        error="unsupported_grant_type",
        cause="the app client does not allow this grant",
        setting="app client → AllowedOAuthFlows: code",
    ),
    _row(
        "access_denied",
        error="access_denied",
        cause="the person declined, or the identity provider's policy refused them",
        setting="the identity provider's log: assignment, sign-on policy, conditional access",
    ),
    _row(
        "login_required",
        error="login_required",
        cause="prompt=none was asked and nobody is signed in",
        setting="nothing: a new login is enough",
    ),
    _row(
        "cognito_down",
        error="server_error",
        cause="Cognito failed while answering",
        setting="AWS health dashboard; a Lambda trigger of the pool",
    ),
    _row(
        "cognito_down",
        error="temporarily_unavailable",
        cause="Cognito is throttling or unavailable",
        setting="AWS health dashboard; quotas of the user pool's domain",
    ),
    _row(
        "invalid_request",
        error="invalid_request",
        cause=(
            "Cognito refused the request, or the identity provider's part of the login failed "
            "in a way not listed here"
        ),
        setting=(
            "the error_description in this log line; app client and identity provider in "
            "Cognito against `gateway provision verify TENANT`"
        ),
    ),
)
UNKNOWN = Diagnosis(
    "unknown_error",
    "an error that is not in the table",
    "the error and error_description in this log line; the identity provider's log at that time",
)
CODES: tuple[str, ...] = (*dict.fromkeys(s.diagnosis.code for s in SYMPTOMS), UNKNOWN.code)

PROVIDER_DOWN: frozenset[str] = frozenset({"idp_unreachable", "saml_metadata"})
"""Codes of a login that failed since the identity provider did not answer, whoever the person
is.
"""


def diagnose(error: str, description: str) -> Diagnosis:
    """``error`` and ``error_description`` of a redirect, or of the token endpoint's answer (empty
    where it gave none).
    """
    text = description[:MAX_DESCRIPTION]
    return next((s.diagnosis for s in SYMPTOMS if s.matches(error, text)), UNKNOWN)
