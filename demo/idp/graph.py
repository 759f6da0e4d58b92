"""The Graph of one Entra-like tenant, at the tenant's own origin: token, subscriptions, people,
groups, deltas.

Source: Microsoft Graph documentation; application permissions User.Read.All and Group.Read.All are
taken as granted to every registered application.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession, web

from demo.idp.delivery import THROTTLED_S
from demo.idp.directory import Status
from demo.idp.graph_delta import Deltas
from demo.idp.graph_errors import GraphError, missing
from demo.idp.graph_subscriptions import Subscriptions
from demo.idp.past import Past
from demo.idp.provider import refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.clock import Clock
    from demo.idp.directory import Person
    from demo.idp.face import RegisteredApp
    from demo.idp.provider import IdentityProviderServer

SCOPE = "https://graph.microsoft.com/.default"
TOKEN_LIFETIME_S = 3599

Answer = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
"""Given the request and the application that makes it."""


class Graph:
    """Adds Graph to an Entra-like server. Faults of the endpoint ``graph`` strike every call of
    it.
    """

    def __init__(
        self, server: IdentityProviderServer, http: ClientSession, *, tenant_id: str, clock: Clock
    ) -> None:
        self.url = f"{server.origin}/v1.0"
        self.subscriptions = Subscriptions(tenant_id, http, clock=clock)
        self._past = Past(server.directory, self.subscriptions.outbox.switches, clock=clock)
        self.deltas = Deltas(server.directory, server.origin, clock=clock, past=self._past)
        self._server = server
        self._directory = server.directory
        self._clock = clock
        self._tokens: dict[str, tuple[str, float]] = {}
        self.reads_applications = False
        """Whether the directory granted Application.Read.All."""
        self.secret_ends: dict[str, float] = {}
        """Application → when its secret ends (UTC epoch seconds); it works on after that."""
        self.other_secrets: list[dict[str, Any]] = []
        server.grants["client_credentials"] = self._token
        server.directory.listeners += [self.deltas.on_event, self.subscriptions.on_event]
        self._add_routes(server.app)

    def _add_routes(self, app: web.Application) -> None:
        for method, path, answer in (
            ("POST", "/subscriptions", self._create),
            ("GET", "/subscriptions", self._list),
            ("GET", "/subscriptions/{id}", self._show),
            ("PATCH", "/subscriptions/{id}", self._renew),
            ("DELETE", "/subscriptions/{id}", self._delete),
            ("POST", "/subscriptions/{id}/reauthorize", self._reauthorize),
            ("GET", "/users/delta", self._users_delta),
            ("GET", "/groups/delta", self._groups_delta),
            ("GET", "/users/{id}", self._user),
            ("GET", "/users/{id}/memberOf", self._member_of),
            ("POST", "/users/{id}/checkMemberGroups", self._check_member_groups),
            ("GET", "/directory/deletedItems/{id}", self._deleted_item),
            ("GET", "/groups/{id}", self._group),
            ("GET", "/groups/{id}/members", self._members),
            ("GET", "/applications(appId='{id}')", self._application),
        ):
            app.router.add_route(
                method, "/v1.0" + path, self._server.faults.endpoint("graph", self._guarded(answer))
            )

    # -- authorisation

    async def _token(self, app: RegisteredApp, form: Mapping[str, str]) -> web.StreamResponse:
        if form.get("scope") != SCOPE:
            return refused(
                "invalid_scope",
                (
                    "AADSTS70011: The provided value for the input parameter 'scope' is not "
                    f"valid: {form.get('scope')}."
                ),
            )
        token = secrets.token_urlsafe(48)
        self._tokens[token] = (app.client_id, self._clock() + TOKEN_LIFETIME_S)
        body = {
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME_S,
            "ext_expires_in": TOKEN_LIFETIME_S,
            "access_token": token,
        }
        return web.json_response(body)

    def _guarded(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            self._past.look()
            if self.subscriptions.outbox.switches.take_throttle():
                body = {"error": {"code": "TooManyRequests", "message": "Too many requests"}}
                return web.json_response(
                    body, status=429, headers={"Retry-After": str(THROTTLED_S)}
                )
            try:
                return await answer(request, self._caller(request))
            except GraphError as refusal:
                return refusal.response()

        return handler

    def _caller(self, request: web.Request) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        app_id, expires_at = self._tokens.get(token, ("", 0.0))
        if (
            scheme.lower() != "bearer"
            or expires_at <= self._clock()
            or app_id not in self._server.apps
        ):
            raise GraphError(
                401, "InvalidAuthenticationToken", "Access token is empty, invalid or expired."
            )
        return app_id

    # -- subscriptions

    async def _create(self, request: web.Request, caller: str) -> web.StreamResponse:
        created = await self.subscriptions.create(caller, await _json(request))
        return web.json_response(created.shown(), status=201)

    async def _list(self, request: web.Request, caller: str) -> web.StreamResponse:
        return web.json_response(
            {"value": [found.shown() for found in self.subscriptions.all_live(caller)]}
        )

    async def _show(self, request: web.Request, caller: str) -> web.StreamResponse:
        return web.json_response(self.subscriptions.live(request.match_info["id"], caller).shown())

    async def _renew(self, request: web.Request, caller: str) -> web.StreamResponse:
        return web.json_response(
            self.subscriptions.renew(request.match_info["id"], caller, await _json(request)).shown()
        )

    async def _delete(self, request: web.Request, caller: str) -> web.StreamResponse:
        del self.subscriptions.by_id[self.subscriptions.live(request.match_info["id"], caller).id]
        return web.Response(status=204)

    async def _reauthorize(self, request: web.Request, caller: str) -> web.StreamResponse:
        """Authorises again, and leaves the expiry as it is."""
        self.subscriptions.live(request.match_info["id"], caller).reauthorization_due = False
        return web.Response(status=204)

    # -- people and groups

    async def _users_delta(self, request: web.Request, caller: str) -> web.StreamResponse:
        return web.json_response(self.deltas.answer("users", request.query))

    async def _groups_delta(self, request: web.Request, caller: str) -> web.StreamResponse:
        return web.json_response(self.deltas.answer("groups", request.query))

    def _person(self, request: web.Request) -> Person:
        ref = request.match_info["id"]
        found = self._directory.people.get(ref) or self._directory.by_email(ref)
        if found is None or self._past.of(found).deleted:
            raise missing(ref)
        return found

    async def _user(self, request: web.Request, caller: str) -> web.StreamResponse:
        """Without ``$select`` a user has no ``accountEnabled``: it is not among the default
        properties.
        """
        person = self._person(request)
        every = {
            "id": person.id,
            "displayName": person.name,
            "userPrincipalName": person.email,
            "mail": person.email,
            "accountEnabled": self._past.of(person).status is Status.ACTIVE,
        }
        wanted = request.query.get("$select", "id,displayName,userPrincipalName,mail").split(",")
        shown = {name: value for name, value in every.items() if name in wanted}
        return web.json_response({"@odata.context": f"{self.url}/$metadata#users/$entity", **shown})

    async def _deleted_item(self, request: web.Request, caller: str) -> web.StreamResponse:
        """The recycle bin: people who were deleted softly."""
        found = self._directory.people.get(request.match_info["id"])
        if found is None or not self._past.of(found).deleted:
            raise missing(request.match_info["id"])
        return web.json_response(
            {
                "@odata.context": f"{self.url}/$metadata#directoryObjects/$entity",
                "@odata.type": "#microsoft.graph.user",
                "id": found.id,
            }
        )

    async def _member_of(self, request: web.Request, caller: str) -> web.StreamResponse:
        groups = self._directory.groups_of(self._person(request))
        return web.json_response(
            {
                "value": [
                    {"@odata.type": "#microsoft.graph.group", "id": g.id, "displayName": g.name}
                    for g in groups
                ]
            }
        )

    async def _check_member_groups(self, request: web.Request, caller: str) -> web.StreamResponse:
        person, asked = self._person(request), (await _json(request)).get("groupIds")
        if not isinstance(asked, list) or len(asked) > 20:
            raise GraphError(
                400, "Request_BadRequest", "groupIds must be a list of at most 20 ids."
            )
        return web.json_response(
            {"value": [ref for ref in asked if ref in self._past.of(person).group_ids]}
        )

    async def _group(self, request: web.Request, caller: str) -> web.StreamResponse:
        group = self._directory.groups.get(request.match_info["id"])
        if group is None:
            raise missing(request.match_info["id"])
        return web.json_response(
            {"id": group.id, "displayName": group.name, "securityEnabled": True}
        )

    async def _members(self, request: web.Request, caller: str) -> web.StreamResponse:
        ref = request.match_info["id"]
        if ref not in self._directory.groups:
            raise missing(ref)
        seen = ((person, self._past.of(person)) for person in self._directory.people.values())
        people = [person for person, then in seen if ref in then.group_ids and not then.deleted]
        return web.json_response(
            {
                "value": [
                    {"@odata.type": "#microsoft.graph.user", "id": p.id, "mail": p.email}
                    for p in people
                ]
            }
        )

    async def _application(self, request: web.Request, caller: str) -> web.StreamResponse:
        """``passwordCredentials``: the secret itself is never shown, only how it begins."""
        if not self.reads_applications:
            raise GraphError(
                403,
                "Authorization_RequestDenied",
                "Insufficient privileges to complete the operation.",
            )
        app = self._server.apps.get(request.match_info["id"])
        if app is None:
            raise missing(request.match_info["id"])
        ends = self.secret_ends.get(app.client_id)
        shown = [] if ends is None else [self._password(app.client_secret, ends)]
        return web.json_response({"passwordCredentials": [*self.other_secrets, *shown]})

    @staticmethod
    def _password(secret: str, ends: float) -> dict[str, Any]:
        return {
            "customKeyIdentifier": None,
            "displayName": "gateway",
            "endDateTime": f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "hint": secret[:3],
            "keyId": str(uuid.uuid4()),
            "secretText": None,
            "startDateTime": "2026-01-01T00:00:00Z",
        }


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError as malformed:
        raise GraphError(400, "BadRequest", "Unable to read JSON request payload.") from malformed
    if not isinstance(body, dict):
        raise GraphError(400, "BadRequest", "Unable to read JSON request payload.")
    return body
