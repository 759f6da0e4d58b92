"""Okta Universal Logout: when an administrator clears a person's sessions, the applications that
asked for it are told.

Source: Okta developer documentation, "Universal Logout", after
draft-parecki-oauth-global-token-revocation: a POST that names the person in ``sub_id``, with a
bearer token signed by the org's ID-token key: type ``global-token-revocation+jwt``, the org as
issuer, the application's client id as subject, the endpoint itself as audience, five minutes of
life.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from demo.idp.delivery import Outbox, Post
from demo.idp.directory import Change
from demo.jose import TokenDraft

if TYPE_CHECKING:
    from demo.clock import Clock
    from demo.idp.directory import DirectoryEvent, Person
    from demo.idp.provider import IdentityProviderServer

TOKEN_LIFETIME_S = 300
SubjectFormat = Literal["iss_sub", "email"]


@dataclass(frozen=True, slots=True)
class LogoutEndpoint:
    """Where one application wants to be told, and how it wants people named."""

    url: str
    client_id: str
    subject: SubjectFormat = "iss_sub"


class UniversalLogout:
    """Listens to the org's directory; sends through the same outbox as the event hooks, whose
    switches apply.
    """

    def __init__(self, server: IdentityProviderServer, outbox: Outbox, *, clock: Clock) -> None:
        self.endpoints: list[LogoutEndpoint] = []
        self._server = server
        self._outbox = outbox
        self._clock = clock
        server.directory.listeners.append(self.on_event)

    async def on_event(self, event: DirectoryEvent) -> None:
        if event.change is Change.SESSIONS_CLEARED and event.person is not None:
            for endpoint in self.endpoints:
                self._outbox.put("universal logout", partial(self._compose, endpoint, event.person))

    def _compose(self, endpoint: LogoutEndpoint, person: Person) -> Post:
        now, issuer = int(self._clock()), self._server.issuer
        claims = {
            "iss": issuer,
            "sub": endpoint.client_id,
            "aud": endpoint.url,
            "iat": now,
            "exp": now + TOKEN_LIFETIME_S,
            "jti": str(uuid.uuid4()),
        }
        token = self._server.faults.sign(
            TokenDraft("logout", claims, self._server.key, {"typ": "global-token-revocation+jwt"})
        )
        named = (
            {"format": "iss_sub", "iss": issuer, "sub": person.id}
            if endpoint.subject == "iss_sub"
            else {"format": "email", "email": person.email}
        )
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        return Post(endpoint.url, json.dumps({"sub_id": named}).encode(), headers)
