"""Okta event hooks: the one-time verification and the deliveries, in Okta's exact shape.

Source: Okta developer documentation, "Event hooks": the header that the administrator chose carries
the secret verbatim; the receiver has three seconds; one retry on a timeout or a 5xx, none on a 4xx;
no order, no promise.
"""

from __future__ import annotations

import json
import re
import secrets
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from demo.idp.console import Panel
from demo.idp.delivery import Outbox, Post, Retry
from demo.idp.directory import DirectoryEvent, okta_id
from demo.idp.okta_log import SystemLog, okta_time
from demo.idp.okta_universal_logout import UniversalLogout

if TYPE_CHECKING:
    from demo.clock import Clock
    from demo.idp.provider import IdentityProviderServer

DEADLINE_S = 3.0
_SEARCHED = re.compile(r'profile\.name eq ("(?:[^"\\]|\\.)*")')
NOT_ELIGIBLE = frozenset({"user.lifecycle.delete.completed"})
"""In the System Log, and no hook can ask for it."""


@dataclass(slots=True)
class EventHook:
    """A registered hook; ``types=None`` stands for every eligible type. Nothing is sent before it
    is verified.
    """

    url: str
    header: str
    secret: str = field(repr=False)
    id: str = field(default_factory=lambda: okta_id("who"))
    types: frozenset[str] | None = None
    verified: bool = False

    def wants(self, event_type: str) -> bool:
        return (
            self.verified
            and event_type not in NOT_ELIGIBLE
            and (self.types is None or event_type in self.types)
        )


class OktaEvents:
    """Listens to the org's directory, keeps its System Log, and sends its hooks and universal
    logouts.
    """

    def __init__(
        self, server: IdentityProviderServer, http: ClientSession, *, clock: Clock
    ) -> None:
        self.hooks: list[EventHook] = []
        self.outbox = Outbox(
            http,
            Retry(DEADLINE_S, (0.0,), lambda status: status == 0 or status >= 500),
            clock=clock,
        )
        self.log = SystemLog(server.origin, clock=clock, switches=self.outbox.switches)
        self.universal_logout = UniversalLogout(server, self.outbox, clock=clock)
        self._origin = server.origin
        self._http = http
        self._clock = clock
        server.directory.listeners.append(self.on_event)
        self._directory = server.directory
        server.app.router.add_get("/api/v1/logs", server.faults.endpoint("logs", self.log.answer))
        server.app.router.add_get("/api/v1/groups", server.faults.endpoint("groups", self._groups))

    async def _groups(self, request: web.Request) -> web.StreamResponse:
        """``search=profile.name eq "…" or …`` (Okta developer documentation, "Groups API"); other
        searches find nothing.
        """
        refused = self.log.refused(request)
        if refused is not None:
            return refused
        names = [json.loads(name) for name in _SEARCHED.findall(request.query.get("search", ""))]
        found = [group for group in self._directory.groups.values() if group.name in names]
        return web.json_response(
            [
                {
                    "id": group.id,
                    "type": "OKTA_GROUP",
                    "profile": {"name": group.name, "description": None},
                }
                for group in found
            ]
        )

    async def register(
        self,
        url: str,
        *,
        secret: str,
        header: str = "Authorization",
        types: frozenset[str] | None = None,
    ) -> EventHook:
        """Create and verify a hook. It stays unverified, and silent, if the receiver does not echo
        the challenge.
        """
        hook = EventHook(url, header, secret, types=types)
        self.hooks.append(hook)
        await self.verify(hook)
        return hook

    async def verify(self, hook: EventHook) -> bool:
        """The one-time verification: a GET whose challenge must come back as JSON."""
        challenge = secrets.token_urlsafe(32)
        headers = {
            "x-okta-verification-challenge": challenge,
            hook.header: hook.secret,
            "Accept": "application/json",
        }
        try:
            timeout = ClientTimeout(total=DEADLINE_S)
            async with self._http.get(
                hook.url, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                body = json.loads(await answer.text()) if answer.status == 200 else None
        except (ClientError, TimeoutError, ValueError):
            body = None
        hook.verified = isinstance(body, dict) and body.get("verification") == challenge
        return hook.verified

    async def panel(self) -> Panel:
        """For the console: who is told."""
        return Panel(
            "hooks",
            "Event hooks",
            tuple(
                (hook.url, hook.header, "verified" if hook.verified else "not verified")
                for hook in self.hooks
            ),
        )

    async def on_event(self, event: DirectoryEvent) -> None:
        recorded = self.log.record(event)
        for hook in self.hooks:
            if hook.wants(recorded["eventType"]):
                self.outbox.put(recorded["eventType"], partial(self._compose, hook, [recorded]))

    def send_batch(self, hook: EventHook, events: list[dict[str, Any]]) -> None:
        """Several events in one envelope, as Okta does under load (and as a test of a receiver
        wants).
        """
        self.outbox.put(f"batch of {len(events)}", partial(self._compose, hook, events))

    def _compose(self, hook: EventHook, events: list[dict[str, Any]]) -> Post:
        """Each envelope has an id of its own: a duplicate is recognised by the event's uuid."""
        envelope = {
            "eventType": "com.okta.event_hook",
            "eventTypeVersion": "1.0",
            "cloudEventsVersion": "0.1",
            "contentType": "application/json",
            "source": f"{self._origin}/api/v1/eventHooks/{hook.id}",
            "eventId": str(uuid.uuid4()),
            "eventTime": okta_time(self._clock()),
            "data": {"events": events},
        }
        headers = {"Content-Type": "application/json", hook.header: hook.secret}
        return Post(hook.url, json.dumps(envelope).encode(), headers)
