"""What an authorization request asks for, parsed once. Pure.

Rules (Cognito developer guide, "Authorize endpoint"):
- an unknown client or a redirect URI that does not match exactly ends on an error page, never in a
  redirect;
- every other mistake goes back to the redirect URI as ``error`` and ``error_description``;
- without ``scope`` the client's own scopes are asked for; ``email``, ``phone`` and ``profile`` need
  ``openid``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from demo.cognito.attributes import SCOPE_ATTRIBUTES
from demo.cognito.pool import COGNITO, AppClient, Pool

if TYPE_CHECKING:
    from collections.abc import Mapping

PROMPTS = frozenset({"none", "login", "select_account", "consent"})
_CHALLENGE_LENGTH = 43
"""Base64url of a SHA-256."""


@dataclass(frozen=True, slots=True)
class AuthorizeRequest:
    """A request that may go on. ``provider`` is an external provider's name, ``COGNITO``, or
    ``None`` for "ask".
    """

    client: AppClient
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str | None = None
    nonce: str | None = None
    challenge: str | None = None
    provider: str | None = None
    login_hint: str | None = None
    prompts: frozenset[str] = frozenset()
    resource: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    """The parameters as they came, for links of the hosted pages."""

    def back(self, **parameters: str | None) -> str:
        """The redirect URI with these parameters and the state added; its own query stays
        untouched.
        """
        pairs = [(name, value) for name, value in parameters.items() if value is not None]
        if self.state is not None:
            pairs.append(("state", self.state))
        return self.redirect_uri + ("&" if "?" in self.redirect_uri else "?") + urlencode(pairs)

    def refuse(self, error: str, description: str | None = None) -> SendBack:
        return SendBack(self.back(error=error, error_description=description))


@dataclass(frozen=True, slots=True)
class SendBack:
    """The outcome is a redirect to the application, with the error in it."""

    location: str


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """The outcome is a page of Cognito's own: there is no redirect URI to be trusted."""

    message: str


def parse(pool: Pool, query: Mapping[str, str]) -> AuthorizeRequest | SendBack | ErrorPage:
    """Judge a query of /oauth2/authorize or /login."""
    client = pool.visible_client(query.get("client_id", ""))
    if client is None:
        return ErrorPage("Client does not exist.")
    redirect_uri = query.get("redirect_uri", "")
    if redirect_uri not in client.callback_urls:
        return ErrorPage("redirect_mismatch")
    requested = tuple(dict.fromkeys(query.get("scope", "").split())) or client.scopes
    version_2 = pool.behaviour.managed_login_version == 2
    request = AuthorizeRequest(
        client=client,
        redirect_uri=redirect_uri,
        scopes=requested,
        state=query.get("state"),
        nonce=query.get("nonce"),
        challenge=query.get("code_challenge"),
        provider=_provider(pool, client, query),
        login_hint=query.get("login_hint"),
        prompts=frozenset(query.get("prompt", "").split()) if version_2 else frozenset(),
        resource=query.get("resource"),
        query=dict(query),
    )
    return _refusal(request) or request


def _provider(pool: Pool, client: AppClient, query: Mapping[str, str]) -> str | None:
    """The provider asked for by name or identifier, else the client's only one: then there is
    nothing to ask.
    """
    if name := query.get("identity_provider"):
        return name
    if identifier := query.get("idp_identifier"):
        found = pool.provider_by_identifier(identifier)
        return found.name if found else identifier
    return (
        client.providers[0]
        if len(client.providers) == 1 and client.providers[0] != COGNITO
        else None
    )


def _refusal(request: AuthorizeRequest) -> SendBack | None:
    client, query = request.client, request.query
    if query.get("response_type") not in ("code", "token"):
        return request.refuse("invalid_request", "response_type is missing or not supported")
    if query["response_type"] == "token" or not client.allows_flow("code"):
        # The implicit flow hands tokens to the address bar; nothing here uses it and no client of
        # the demo allows it.
        return request.refuse("unauthorized_client")
    unknown = set(request.scopes) - set(client.scopes)
    if unknown or ("openid" not in request.scopes and set(request.scopes) & set(SCOPE_ATTRIBUTES)):
        return request.refuse("invalid_request", "invalid_scope")
    if request.challenge is None and "code_challenge_method" in query:
        return request.refuse("invalid_request", "code_challenge is missing")
    if request.challenge is not None and query.get("code_challenge_method") != "S256":
        return request.refuse("invalid_request", "code_challenge_method must be S256")
    if request.challenge is not None and len(request.challenge) != _CHALLENGE_LENGTH:
        return request.refuse("invalid_request", "code_challenge is malformed")
    if request.provider is not None and request.provider not in client.providers:
        return request.refuse(
            "invalid_request", f"The provider {request.provider} is not enabled for this client"
        )
    if request.prompts - PROMPTS or ("none" in request.prompts and len(request.prompts) > 1):
        return request.refuse("invalid_request", "prompt is not supported")
    return None
