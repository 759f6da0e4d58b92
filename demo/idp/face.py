"""What makes the OpenID provider core look like one vendor, and the values that both share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

if TYPE_CHECKING:
    from demo.idp.directory import Person
    from demo.jose import Claims


@dataclass(frozen=True, slots=True)
class RegisteredApp:
    """An application registered at the IdP."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    logout_uris: tuple[str, ...] = ()
    groups_claim: bool = True
    """Okta: the groups-claim filter; Entra: the optional claim "groups"."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a vendor puts its endpoints, from the origin on."""

    issuer: str
    authorize: str
    token: str
    jwks: str
    userinfo: str
    logout: str
    signout: str = ""
    """Where a person signs out without a client, if that is another address."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An OAuth error and its text."""

    error: str
    description: str


Grant = Callable[[RegisteredApp, Mapping[str, str]], Awaitable[web.StreamResponse]]
"""Answers a token request of an authenticated application."""


class Face(Protocol):
    """What makes the core look like one vendor."""

    brand: str
    paths: Paths

    def new_client_id(self) -> str: ...

    def refuse_scopes(self, app: RegisteredApp, scopes: tuple[str, ...]) -> Refusal | None: ...

    def id_claims(
        self, app: RegisteredApp, person: Person, scopes: tuple[str, ...], auth_time: int
    ) -> Claims: ...

    def userinfo_claims(
        self, app: RegisteredApp, person: Person, scopes: tuple[str, ...]
    ) -> Claims: ...

    def locked_out(self, person: Person) -> str: ...

    def discovery(self, origin: str) -> Claims: ...
