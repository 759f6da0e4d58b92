"""Sign in with Apple, Facebook, Google and Login with Amazon as the pool's own kinds: one of each a
pool, named by Cognito, for everybody who has an account there.

Sources: CreateIdentityProvider (``ProviderDetails`` by ``ProviderType``); claims as the networks
document them. The network's own page is a form: whoever fills it in has that account.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.cognito.federation import ATTEMPT_LIFETIME_S
from demo.html import Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from demo.cognito.authorize import AuthorizeRequest
    from demo.cognito.pool import IdentityProvider, Pool
    from demo.jose import Claims

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "Facebook": ("client_id", "client_secret", "authorize_scopes"),
    "Google": ("client_id", "client_secret", "authorize_scopes"),
    "LoginWithAmazon": ("client_id", "client_secret", "authorize_scopes"),
    "SignInWithApple": ("client_id", "team_id", "key_id", "private_key", "authorize_scopes"),
}
NEVER_SHOWN = frozenset({"private_key"})
SUBJECT = {"Facebook": "id", "LoginWithAmazon": "user_id"}
"""Claim with the account's id; ``sub`` at the others."""

_FORM = Template("""
<form method="post" action="/social/{{ state }}">
<label>Account <input name="account" required></label>
<label>E-mail <input name="email" required></label>
<label>Name <input name="name"></label>
<button>Continue</button>
</form>
""")


@dataclass(frozen=True, slots=True)
class SocialAttempt:
    request: AuthorizeRequest
    provider: IdentityProvider
    browser: str
    began: float


class SocialFederation:
    """Browsers at a network, and what it says of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._attempts: dict[str, SocialAttempt] = {}

    def begin(self, request: AuthorizeRequest, provider: IdentityProvider, *, browser: str) -> str:
        state = secrets.token_urlsafe(32)
        self._attempts[state] = SocialAttempt(request, provider, browser, self._pool.clock())
        return f"/social/{state}"

    def page(self, state: str) -> web.Response | None:
        attempt = self._attempts.get(state)
        return (
            None
            if attempt is None
            else _FORM.respond(title="Sign in", brand=attempt.provider.kind, state=state)
        )

    def take(self, state: str, *, browser: str | None) -> SocialAttempt | None:
        attempt = self._attempts.get(state)
        if attempt is None or attempt.browser != browser:
            return None
        del self._attempts[state]
        return attempt if self._pool.clock() - attempt.began <= ATTEMPT_LIFETIME_S else None


def claims_of(kind: str, form: Mapping[str, Any]) -> Claims:
    """What the network says: Facebook and Amazon never that an address was verified, Apple and
    Google as a matter of course.
    """
    account = str(form.get("account", ""))
    claims = {SUBJECT.get(kind, "sub"): account, "email": str(form.get("email", ""))}
    if kind in {"SignInWithApple", "Google"}:
        claims["email_verified"] = "true"
    if kind != "SignInWithApple":
        claims["name"] = str(form.get("name", ""))
    return claims
