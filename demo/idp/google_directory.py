"""The Directory API of one Google Workspace customer, at the customer's own origin: token endpoint,
users, groups, members, channels.

Source: Google's discovery document directory_v1, the guides "Using OAuth 2.0 for Server to Server
Applications", "Limits and Quotas" and "Push Notifications". It is as unkind as the original:
quotas come as 403 and 429, page tokens end, reads show what was (``stale_s``), messages are lost,
a deleted user is 404 and in a list of its own, and ``users`` is absent from an answer without any.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from demo.idp.directory import Change, DirectoryEvent, Status
from demo.idp.google_channels import Channels
from demo.idp.google_errors import GoogleError, missing
from demo.idp.graph_time import graph_time
from demo.idp.past import Past

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import ClientSession

    from demo.clock import Clock
    from demo.idp.directory import Group, Person
    from demo.idp.provider import IdentityProviderServer
    from demo.jose import SigningKey

AUDIENCE = "https://oauth2.googleapis.com/token"
SCOPES = frozenset(
    f"https://www.googleapis.com/auth/admin.directory.{what}.readonly"
    for what in ("user", "group", "group.member")
)
TOKEN_LIFETIME_S = 3599
PAGE_TOKEN_S = 3 * 86_400
RESTORABLE_S = 20 * 86_400
BASE = "/admin/directory/v1"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class ServiceAccount:
    """``scopes``: what the customer's administrator entered for its client id; ``admin``: it has an
    admin role of its own, and acts for nobody.
    """

    email: str
    key_id: str
    key: SigningKey = field(repr=False)
    scopes: frozenset[str] = SCOPES
    admin: bool = False

    def key_file(self) -> str:
        """What Google's console gives its owner once."""
        pem = self.key.private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode()
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "demo",
                "private_key_id": self.key_id,
                "private_key": pem,
                "client_email": self.email,
                "client_id": "100000000000000000001",
                "token_uri": AUDIENCE,
            }
        )


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a page token stands for."""

    ids: tuple[str, ...]
    until: float


class GoogleDirectory:
    """Adds the Directory API to a Google-like server. Faults of the endpoints ``directory`` and
    ``google-token`` strike every call of them.
    """

    def __init__(
        self, server: IdentityProviderServer, http: ClientSession, *, clock: Clock
    ) -> None:
        self.channels = Channels(http, clock=clock)
        self.accounts: dict[str, ServiceAccount] = {}
        self.admins: set[str] = set()
        """Addresses of the administrators whom a service account may act for."""
        self.aliases: dict[str, list[str]] = {}
        """By user id."""
        self.archived: set[str] = set()
        self.nested: dict[str, set[str]] = {}
        """Groups that are members of a group, by its id."""
        self.of_everybody: set[str] = set()
        """Groups that have the whole customer as a member."""
        self.page_size = 500
        self.calls: list[str] = []
        self._past = Past(server.directory, self.channels.outbox.switches, clock=clock)
        self._server = server
        self._directory = server.directory
        self._clock = clock
        self._tokens: dict[str, float] = {}
        self._pages: dict[str, _Rest] = {}
        self._deleted_at: dict[str, float] = {}
        server.directory.listeners += [self._on_event, self.channels.on_event]
        self._add_routes(server.app)

    def _add_routes(self, app: web.Application) -> None:
        wrap = self._server.faults.endpoint
        app.router.add_post("/token", wrap("google-token", self._token))
        for method, path, answer in (
            ("GET", f"{BASE}/users", self._users),
            ("POST", f"{BASE}/users/watch", self._watch),
            ("GET", f"{BASE}/users/{{user}}", self._user),
            ("GET", f"{BASE}/groups", self._groups),
            ("GET", f"{BASE}/groups/{{group}}", self._group),
            ("GET", f"{BASE}/groups/{{group}}/members", self._members),
            ("GET", f"{BASE}/groups/{{group}}/hasMember/{{user}}", self._has_member),
            ("POST", "/admin/directory_v1/channels/stop", self._stop),
        ):
            app.router.add_route(method, path, wrap("directory", self._guarded(answer)))

    # -- what an administrator does, beyond the directory's own

    def add_account(self, key: SigningKey, **settings: Any) -> ServiceAccount:
        made = ServiceAccount(
            f"gateway-{secrets.token_hex(4)}@demo.iam.gserviceaccount.com",
            secrets.token_hex(20),
            key,
            **settings,
        )
        self.accounts[made.email] = made
        return made

    def archive(self, person: Person) -> None:
        self.archived.add(person.id)
        self.channels.tell("update", person)

    def rename(self, person: Person, email: str) -> None:
        """The former address stays as an alias, as Google keeps it."""
        self.aliases.setdefault(person.id, []).append(person.email)
        person.email = email
        self.channels.tell("update", person)

    def undelete(self, person: Person) -> None:
        person.deleted = False
        self._deleted_at.pop(person.id, None)
        self._past.look()
        self.channels.tell("undelete", person)

    def expire_page_tokens(self) -> None:
        self._pages.clear()

    async def _on_event(self, event: DirectoryEvent) -> None:
        if event.person is not None and event.change is Change.DELETED:
            self._deleted_at[event.person.id] = event.at

    # -- authorization

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return _refused(400, "unsupported_grant_type", "Invalid grant_type")
        assertion = str(form.get("assertion", ""))
        try:
            kid = jwt.get_unverified_header(assertion).get("kid")
            account = next(one for one in self.accounts.values() if one.key_id == kid)
            claims = jwt.decode(
                assertion,
                account.key.private.public_key(),
                algorithms=["RS256"],
                audience=AUDIENCE,
                issuer=account.email,
                options={"verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, StopIteration):
            return _refused(400, "invalid_grant", "Invalid JWT Signature.")
        now = self._clock()
        issued, until = claims.get("iat", 0), claims.get("exp", 0)
        if not (issued - 300 <= now <= until) or until - issued > 3600:
            return _refused(
                400,
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
                "timeframe. Check your iat and exp values in the JWT claim.",
            )
        if not set(str(claims.get("scope", "")).split()) <= account.scopes:
            return _refused(
                401,
                "unauthorized_client",
                "Client is unauthorized to retrieve access tokens using this method, or client "
                "not authorized for any of the scopes requested.",
            )
        if "sub" not in claims and not account.admin:
            # A token it gets, for itself: it may then see nothing.
            return self._issued("nobody")
        if "sub" in claims:
            person = self._directory.by_email(str(claims["sub"]))
            if person is None or person.email not in self.admins or not self._is_active(person):
                return _refused(400, "invalid_grant", "Invalid email or User ID")
        return self._issued("admin")

    def _issued(self, who: str) -> web.StreamResponse:
        token = f"ya29.{who}.{secrets.token_urlsafe(32)}"
        self._tokens[token] = self._clock() + TOKEN_LIFETIME_S
        return web.json_response(
            {"access_token": token, "expires_in": TOKEN_LIFETIME_S, "token_type": "Bearer"}
        )

    def _guarded(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            self._past.look()
            self.calls.append(request.path.removeprefix(BASE))
            try:
                self._throttle()
                self._authorize(request)
                return await answer(request)
            except GoogleError as refusal:
                return refusal.response()

        return handler

    def _throttle(self) -> None:
        switches = self.channels.outbox.switches
        if switches.take_throttle():
            if switches.throttled % 2:
                raise GoogleError(
                    429, "rateLimitExceeded", "Rate Limit Exceeded", domain="usageLimits"
                )
            raise GoogleError(
                403, "userRateLimitExceeded", "User Rate Limit Exceeded", domain="usageLimits"
            )

    def _authorize(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self._tokens.get(token, 0.0) <= self._clock():
            raise GoogleError(401, "authError", "Invalid Credentials")
        if token.startswith("ya29.nobody."):
            raise GoogleError(403, "forbidden", "Not Authorized to access this resource/api")

    # -- users

    def _is_active(self, person: Person) -> bool:
        return (
            person.status is Status.ACTIVE and not person.deleted and person.id not in self.archived
        )

    async def _users(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if not query.get("customer") and not query.get("domain"):
            raise GoogleError(400, "badRequest", "Bad Request")
        deleted = query.get("showDeleted") == "true"
        now = self._clock()
        ids = [
            person.id
            for person in self._directory.people.values()
            if self._past.of(person).deleted is deleted
            and (not deleted or self._deleted_at.get(person.id, now) > now - RESTORABLE_S)
        ]
        shown, token = self._cut(query, ids, most=500)
        return web.json_response(
            _page(
                "admin#directory#users",
                "users",
                [self._shown(self._directory.people[one], query) for one in shown],
                token,
            )
        )

    async def _user(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(
            self._shown(self._person(request.match_info["user"]), request.query)
        )

    def _person(self, reference: str) -> Person:
        """By id, address or alias."""
        found = self._directory.people.get(reference) or self._directory.by_email(reference)
        if found is None:
            owner = next((i for i, known in self.aliases.items() if reference in known), "")
            found = self._directory.people.get(owner)
        if found is None or self._past.of(found).deleted:
            raise missing("userKey")
        return found

    def _shown(self, person: Person, query: Mapping[str, str]) -> dict[str, Any]:
        then = self._past.of(person)
        given, _, family = person.name.partition(" ")
        every: dict[str, Any] = {
            "kind": "admin#directory#user",
            "id": person.id,
            "primaryEmail": person.email,
            "name": {"givenName": given, "familyName": family, "fullName": person.name},
            "suspended": then.status is not Status.ACTIVE,
            "archived": person.id in self.archived,
            "isAdmin": person.email in self.admins,
            "orgUnitPath": "/",
        }
        if aliases := self.aliases.get(person.id):
            every["aliases"] = aliases
        if then.deleted:
            every["deletionTime"] = graph_time(self._deleted_at.get(person.id, self._clock()))
        fields = query.get("fields", "")
        inner = fields.partition("users(")[2].rstrip(")") if "users(" in fields else fields
        return {k: v for k, v in every.items() if not inner or k in inner.split(",")}

    # -- groups

    async def _groups(self, request: web.Request) -> web.StreamResponse:
        if not request.query.get("customer") and not request.query.get("userKey"):
            raise GoogleError(400, "badRequest", "Bad Request")
        shown, token = self._cut(request.query, list(self._directory.groups), most=200)
        return web.json_response(
            _page(
                "admin#directory#groups",
                "groups",
                [_group(self._directory.groups[one]) for one in shown],
                token,
            )
        )

    def _found_group(self, request: web.Request) -> Group:
        reference = request.match_info["group"]
        found = self._directory.groups.get(reference) or next(
            (g for g in self._directory.groups.values() if _address(g) == reference), None
        )
        if found is None:
            raise missing("groupKey")
        return found

    async def _group(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(_group(self._found_group(request)))

    def _inside(self, group: str, *, nested: bool) -> list[str]:
        """Ids of the users in a group, and with ``nested`` of those in its groups."""
        groups = {group}
        if nested:
            waiting = [group]
            while waiting:
                for one in self.nested.get(waiting.pop(), set()) - groups:
                    groups.add(one)
                    waiting.append(one)
        return [
            person.id
            for person in self._directory.people.values()
            if (then := self._past.of(person)).group_ids & groups and not then.deleted
        ]

    async def _members(self, request: web.Request) -> web.StreamResponse:
        group = self._found_group(request)
        nested = request.query.get("includeDerivedMembership") == "true"
        ids = self._inside(group.id, nested=nested)
        ids += sorted(self.nested.get(group.id, set()))
        ids += ["C0demo"] if group.id in self.of_everybody else []
        shown, token = self._cut(request.query, ids, most=200)
        return web.json_response(
            _page("admin#directory#members", "members", [self._member(one) for one in shown], token)
        )

    def _member(self, identifier: str) -> dict[str, Any]:
        base = {"kind": "admin#directory#member", "id": identifier, "role": "MEMBER"}
        if identifier in self._directory.groups:
            return base | {
                "type": "GROUP",
                "email": _address(self._directory.groups[identifier]),
                "status": "ACTIVE",
            }
        if identifier == "C0demo":
            return base | {"type": "CUSTOMER"}
        person = self._directory.people[identifier]
        status = "ACTIVE" if self._is_active(person) else "SUSPENDED"
        return base | {"type": "USER", "email": person.email, "status": status}

    async def _has_member(self, request: web.Request) -> web.StreamResponse:
        group = self._found_group(request)
        person = self._person(request.match_info["user"])
        return web.json_response({"isMember": person.id in self._inside(group.id, nested=True)})

    def _cut(
        self, query: Mapping[str, str], ids: Sequence[str], *, most: int
    ) -> tuple[list[str], str]:
        """The page, and the token of the next one. A token stands for a list as it was."""
        given = query.get("pageToken")
        if given is not None:
            rest = self._pages.get(given)
            if rest is None or rest.until <= self._clock():
                raise GoogleError(400, "invalid", "Invalid Input: pageToken")
            present = {*self._directory.people, *self._directory.groups, "C0demo"}
            ids = [one for one in rest.ids if one in present]
        size = min(int(query.get("maxResults", "100")), most, self.page_size)
        if len(ids) <= size:
            return list(ids), ""
        token = secrets.token_urlsafe(24)
        self._pages[token] = _Rest(tuple(ids[size:]), self._clock() + PAGE_TOKEN_S)
        return list(ids[:size]), token

    # -- channels

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if not request.query.get("customer") and not request.query.get("domain"):
            raise GoogleError(400, "badRequest", "Bad Request")
        uri = f"https://admin.googleapis.com{BASE}/users?alt=json"
        answer = self.channels.open(request.query.get("event", ""), await request.json(), uri=uri)
        return web.json_response(answer)

    async def _stop(self, request: web.Request) -> web.StreamResponse:
        self.channels.stop(await request.json())
        return web.Response(status=204)


def _address(group: Group) -> str:
    return f"{group.name.lower().replace(' ', '-')}@groups.test"


def _group(group: Group) -> dict[str, Any]:
    return {
        "kind": "admin#directory#group",
        "id": group.id,
        "email": _address(group),
        "name": group.name,
    }


def _page(kind: str, name: str, entries: list[dict[str, Any]], token: str) -> dict[str, Any]:
    page: dict[str, Any] = {"kind": kind, "etag": f'"{secrets.token_urlsafe(12)}"'}
    if entries:
        page[name] = entries
    if token:
        page["nextPageToken"] = token
    return page


def _refused(status: int, error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=status)
