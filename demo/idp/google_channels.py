"""Push channels of the stand-in Directory API: opened, expired, stopped, and their messages.

Source: https://developers.google.com/workspace/admin/directory/v1/guides/push and the discovery
document directory_v1. One kind of change for each channel; users only, never groups or members.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from demo.idp.console import Panel
from demo.idp.delivery import Outbox, Post, Retry
from demo.idp.directory import Change, DirectoryEvent, Person
from demo.idp.google_errors import GoogleError
from demo.idp.graph_time import graph_time

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from demo.clock import Clock

LONGEST_S = 6 * 3600
"""Whatever is asked for: what callers see since 2026."""
UNASKED_S = 2 * 3600
MAX_ID, MAX_TOKEN = 64, 256
EVENTS = frozenset({"add", "update", "delete", "undelete", "makeAdmin"})
_REPEATED = frozenset({500, 502, 503, 504})
_TOLD = {
    Change.SUSPENDED: "update",
    Change.UNSUSPENDED: "update",
    Change.DEACTIVATED: "update",
    Change.ACTIVATED: "update",
    Change.DELETED: "delete",
}


@dataclass(slots=True)
class Channel:
    """One channel; ``number`` of its last message."""

    id: str
    event: str
    address: str
    token: str = field(repr=False)
    expires_at: float
    resource: str
    uri: str
    number: int = 1


class Channels:
    """All channels of one customer, and the outbox of their messages."""

    def __init__(self, http: ClientSession, *, clock: Clock) -> None:
        self.by_id: dict[str, Channel] = {}
        self.outbox = Outbox(
            http, Retry(10.0, (0.2, 1.0, 5.0), lambda status: status in _REPEATED), clock=clock
        )
        self.stopped: list[str] = []
        self._clock = clock

    def live(self) -> list[Channel]:
        return [one for one in self.by_id.values() if one.expires_at > self._clock()]

    def open(self, event: str, body: dict[str, Any], *, uri: str) -> dict[str, Any]:
        """What ``users.watch`` answers; a ``sync`` message follows."""
        channel, token, address = body.get("id"), body.get("token", ""), body.get("address")
        if event not in EVENTS:
            raise GoogleError(400, "invalid", f"Invalid value for: event: {event}")
        if not isinstance(channel, str) or not 0 < len(channel) <= MAX_ID:
            raise GoogleError(400, "required", "entity.id")
        if channel in self.by_id:
            raise GoogleError(400, "channelIdNotUnique", f"Channel id {channel} not unique")
        if body.get("type") != "web_hook":
            raise GoogleError(400, "invalid", "entity.type")
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise GoogleError(400, "invalid", "entity.token")
        if not isinstance(address, str) or not _is_secure(address):
            raise GoogleError(400, "push.webhookUrlNotHttps", "WebHook callback must be HTTPS")
        params = body.get("params")
        asked = params.get("ttl", UNASKED_S) if isinstance(params, dict) else UNASKED_S
        expires_at = self._clock() + min(LONGEST_S, int(asked))
        made = Channel(channel, event, address, token, expires_at, secrets.token_urlsafe(20), uri)
        self.by_id[channel] = made
        self._put(made, "sync", None)
        return {
            "kind": "api#channel",
            "id": made.id,
            "resourceId": made.resource,
            "resourceUri": uri,
            "token": token,
            "expiration": str(int(expires_at * 1000)),
        }

    def stop(self, body: dict[str, Any]) -> None:
        found = self.by_id.get(str(body.get("id")))
        if found is None or found.resource != body.get("resourceId"):
            raise GoogleError(404, "notFound", f"Channel '{body.get('id')}' not found")
        del self.by_id[found.id]
        self.stopped.append(found.id)

    async def on_event(self, event: DirectoryEvent) -> None:
        if event.person is not None and event.change in _TOLD:
            self.tell(_TOLD[event.change], event.person)

    def tell(self, kind: str, person: Person) -> None:
        """To whoever asked for this kind of change."""
        for channel in self.live():
            if channel.event == kind:
                # Numbers grow and have gaps.
                channel.number += 1 + secrets.randbelow(3)
                body = {
                    "kind": "admin#directory#user",
                    "id": person.id,
                    "etag": f'"{secrets.token_urlsafe(12)}"',
                    "primaryEmail": person.email,
                }
                self._put(channel, kind, body)

    def _put(self, channel: Channel, state: str, body: dict[str, Any] | None) -> None:
        number = channel.number
        self.outbox.put(
            f"{state} {body['id'] if body else channel.id}",
            partial(self._compose, channel, state, body, number),
        )

    @staticmethod
    def _compose(channel: Channel, state: str, body: dict[str, Any] | None, number: int) -> Post:
        headers = {
            "X-Goog-Channel-ID": channel.id,
            "X-Goog-Channel-Token": channel.token,
            "X-Goog-Channel-Expiration": graph_time(channel.expires_at),
            "X-Goog-Resource-ID": channel.resource,
            "X-Goog-Resource-URI": channel.uri,
            "X-Goog-Message-Number": str(number),
            "X-Goog-Resource-State": state,
        }
        if body is not None:
            headers["Content-Type"] = "application/json; charset=UTF-8"
        return Post(channel.address, json.dumps(body).encode() if body else b"", headers)

    async def panel(self) -> Panel:
        """For the console: who is told of what, and until when."""
        rows = (
            (
                one.event,
                one.address,
                graph_time(one.expires_at),
                "live" if one.expires_at > self._clock() else "expired",
            )
            for one in self.by_id.values()
        )
        return Panel("channels", "Directory API channels", tuple(rows))


def _is_secure(address: str) -> bool:
    """https; http on loopback too, because the demo has no certificates."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    loopback = host in {"localhost", "127.0.0.1"} or host.endswith(".localhost")
    return parts.scheme == "https" or (parts.scheme == "http" and loopback)
