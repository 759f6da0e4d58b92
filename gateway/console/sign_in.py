"""Who is in front of the console: read from the signed assertion, and from nothing else.

The listener may be reached by more than the proxy. A plain header such as ``X-Auth-Request-Email``
could be anybody's; an assertion can only be made with the key ring's private key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.keys.ring import KeyRing

MAX_CHARACTERS: Final = 16 * 1024
"""Of an assertion: more does not fit into the headers of a proxy."""
_ALGORITHM: Final = "ES256"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who came through the check. ``auth_time``: UTC epoch seconds of their sign-in."""

    sub: str
    email: str
    name: str
    tenant: str
    provider: str
    groups: frozenset[str]
    auth_time: int
    link: bool = False
    """Nobody whose name is known: whoever opened the one-time link ``sub``."""

    @property
    def sign_in(self) -> str:
        """Whose forms: theirs, until they sign in again."""
        return f"{self.tenant}\n{self.sub}\n{self.auth_time}"

    @property
    def actor(self) -> str:
        """In audit records."""
        return f"{'console-link' if self.link else 'person'}:{self.sub}"


class AssertionReader:
    """``issuer``, ``audience``: what ``iss`` and ``aud`` have to be, exactly; ``tenant``: whose
    people are operators; None: nobody's. ``clock`` is UTC epoch seconds.
    """

    def __init__(
        self,
        keys: Callable[[], KeyRing],
        *,
        issuer: str,
        audience: str,
        tenant: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._keys, self._clock = keys, clock
        self._issuer, self._audience, self._tenant = issuer, audience, tenant

    def read(self, values: list[str]) -> Person | None:
        """``values``: of the one header. None for whatever is not one good assertion of one of the
        operators.
        """
        if self._tenant is None or len(values) != 1 or len(values[0]) > MAX_CHARACTERS:
            return None
        claims = self._verified(values[0])
        return None if claims is None else _person(claims, self._tenant)

    def _verified(self, text: str) -> dict[str, Any] | None:
        try:
            kid = jwt.get_unverified_header(text).get("kid")
            key = next((k for k in self._keys().assertion if k.kid == kid), None)
            if key is None:
                return None
            claims: dict[str, Any] = jwt.decode(
                text,
                key.private.public_key(),
                algorithms=[_ALGORITHM],
                options={
                    # Judged below: exactly, and by the gateway's own clock.
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "require": ["iss", "aud", "exp", "iat", "sub"],
                },
            )
        except jwt.PyJWTError:
            return None
        expires = claims["exp"]
        if not isinstance(expires, int) or expires <= self._clock():
            return None
        fits = claims["iss"] == self._issuer and claims["aud"] == self._audience
        return claims if fits else None


def _person(claims: dict[str, Any], tenant: str) -> Person | None:
    groups, auth_time = claims.get("groups"), claims.get("auth_time")
    # ``client_id`` is in the assertion of an access token: a program's, even where it is for
    # somebody. The console is for people in front of a browser.
    if (
        claims.get("tenant") != tenant
        or "client_id" in claims
        or not isinstance(auth_time, int)
        or not isinstance(groups, list)
        or not claims["sub"]
    ):
        return None
    return Person(
        sub=str(claims["sub"]),
        email=str(claims.get("email") or ""),
        name=str(claims.get("name") or ""),
        tenant=tenant,
        provider=str(claims.get("provider") or ""),
        groups=frozenset(map(str, groups)),
        auth_time=auth_time,
    )
