"""Change notifications: subscriptions with their handshake and expiry, and what is sent to them.

Source: Microsoft Graph documentation, "Receive change notifications", "subscription resource type".
Group removals carry ``"@removed": "deleted"`` as a string, unlike delta queries; a user
notification says that something changed and not what; a soft deletion is an update.
"""

from __future__ import annotations

import json
import re
import secrets
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout

from demo.idp.console import Panel
from demo.idp.delivery import Outbox, Post, Retry
from demo.idp.directory import Change, DirectoryEvent
from demo.idp.graph_errors import GraphError
from demo.idp.graph_time import epoch, graph_time

if TYPE_CHECKING:
    from demo.clock import Clock

MAX_LIFETIME_MINUTES = 41760
MAX_SUBSCRIPTIONS = 100
HANDSHAKE_S = 10.0
MAX_CLIENT_STATE = 128
_RESOURCE = re.compile(r"/?(users|groups)(?:/([0-9a-fA-F-]{36}))?(/members)?", re.IGNORECASE)
_USER_UPDATED = frozenset(
    {Change.SUSPENDED, Change.UNSUSPENDED, Change.DEACTIVATED, Change.ACTIVATED, Change.DELETED}
)
_MEMBERSHIP = frozenset({Change.GROUP_ADDED, Change.GROUP_REMOVED})


@dataclass(slots=True)
class Subscription:
    """One subscription of one application."""

    app_id: str
    resource: str
    change_types: frozenset[str]
    notification_url: str
    expires_at: float
    client_state: str | None = field(default=None, repr=False)
    lifecycle_url: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    reauthorization_due: bool = False
    """Set by ``require_reauthorization``; until it is answered nothing but lifecycle notifications
    are sent.
    """

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "resource": self.resource,
            "applicationId": self.app_id,
            "changeType": ",".join(sorted(self.change_types)),
            "clientState": None,
            "notificationUrl": self.notification_url,
            "lifecycleNotificationUrl": self.lifecycle_url,
            "expirationDateTime": graph_time(self.expires_at),
            "creatorId": self.app_id,
            "latestSupportedTlsVersion": "v1_2",
        }

    def wants(self, kind: str, ref: str, change_type: str, *, members: bool) -> bool:
        """Whether a change of this object is this subscription's business."""
        parsed = _RESOURCE.fullmatch(self.resource)
        if parsed is None or change_type not in self.change_types or parsed[1].lower() != kind:
            return False
        return (parsed[2] is None or parsed[2].lower() == ref) and (members or not parsed[3])


class Subscriptions:
    """All subscriptions of one directory, and the outbox of their notifications."""

    def __init__(self, tenant_id: str, http: ClientSession, *, clock: Clock) -> None:
        self.by_id: dict[str, Subscription] = {}
        # The vendor backs off for up to four hours; four quick attempts show a receiver the same.
        self.outbox = Outbox(
            http,
            Retry(HANDSHAKE_S, (0.2, 1.0, 5.0), lambda status: not 200 <= status < 300),
            clock=clock,
        )
        self._tenant_id = tenant_id
        self._http = http
        self._clock = clock

    def live(self, subscription_id: str, app_id: str) -> Subscription:
        """A subscription of this application that has not expired; any other is as if it had never
        been.
        """
        found = self.by_id.get(subscription_id)
        if found is None or found.app_id != app_id or found.expires_at <= self._clock():
            raise GraphError(404, "ResourceNotFound", "The object was not found.")
        return found

    def all_live(self, app_id: str) -> list[Subscription]:
        now = self._clock()
        return [
            found
            for found in self.by_id.values()
            if found.app_id == app_id and found.expires_at > now
        ]

    async def create(self, app_id: str, body: dict[str, Any]) -> Subscription:
        """Judge the request, shake hands with both addresses, and keep it."""
        created = self._parsed(app_id, body)
        if len(self.all_live(app_id)) >= MAX_SUBSCRIPTIONS:
            raise GraphError(
                403, "Forbidden", "Subscription quota exceeded for the application in the tenant."
            )
        for url in (created.notification_url, created.lifecycle_url):
            if url is not None:
                await self._shake_hands(url)
        self.by_id[created.id] = created
        return created

    def renew(self, subscription_id: str, app_id: str, body: dict[str, Any]) -> Subscription:
        """A new expiry is also a new authorisation. Addresses cannot be changed later, the
        lifecycle one least of all.
        """
        found = self.live(subscription_id, app_id)
        if set(body) - {"expirationDateTime", "notificationUrl"}:
            raise _invalid("Only expirationDateTime and notificationUrl can be updated.")
        found.expires_at = self._expiry(body.get("expirationDateTime"))
        found.reauthorization_due = False
        return found

    def _parsed(self, app_id: str, body: dict[str, Any]) -> Subscription:
        types = frozenset(str(body.get("changeType", "")).split(","))
        if not types <= {"created", "updated", "deleted"}:
            raise _invalid("changeType must be created, updated or deleted.")
        resource = str(body.get("resource", ""))
        parsed = _RESOURCE.fullmatch(resource)
        if parsed is None or (parsed[3] and (parsed[1].lower() != "groups" or not parsed[2])):
            raise _invalid(f"Resource {resource!r} is not supported for change notifications.")
        state = body.get("clientState")
        if state is not None and (not isinstance(state, str) or len(state) > MAX_CLIENT_STATE):
            raise _invalid("clientState must be text of at most 128 characters.")
        return Subscription(
            app_id=app_id,
            resource=resource,
            change_types=types,
            notification_url=_address(body.get("notificationUrl"), "notificationUrl"),
            lifecycle_url=_address(body["lifecycleNotificationUrl"], "lifecycleNotificationUrl")
            if body.get("lifecycleNotificationUrl")
            else None,
            client_state=state,
            expires_at=self._expiry(body.get("expirationDateTime")),
        )

    def _expiry(self, text: Any) -> float:
        try:
            wanted = epoch(str(text))
        except ValueError as malformed:
            raise _invalid("expirationDateTime is not a time.") from malformed
        now = self._clock()
        # A minute of grace: the caller's clock is not ours.
        if not now < wanted <= now + MAX_LIFETIME_MINUTES * 60 + 60:
            raise _invalid(
                f"Subscription expiration can only be {MAX_LIFETIME_MINUTES} minutes in the future."
            )
        return wanted

    async def _shake_hands(self, url: str) -> None:
        token = (
            "Validation: Testing client application reachability for subscription Request-Id: "
            f"{uuid.uuid4()} +&<{secrets.token_hex(4)}>"
        )
        target = f"{url}{'&' if '?' in url else '?'}validationToken={quote(token, safe='')}"
        try:
            headers = {"Content-Type": "text/plain; charset=utf-8"}
            timeout = ClientTimeout(total=HANDSHAKE_S)
            async with self._http.post(
                target, data=b"", headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                fits = (
                    answer.status == 200
                    and answer.content_type == "text/plain"
                    and await answer.text() == token
                )
        except (ClientError, TimeoutError) as failure:
            raise GraphError(
                400, "ValidationError", "Subscription validation request timed out."
            ) from failure
        if not fits:
            raise GraphError(
                400,
                "ValidationError",
                (
                    "Subscription validation request failed. Response must exactly match "
                    "validationToken query parameter."
                ),
            )

    async def panel(self) -> Panel:
        """For the console: who is told of what, and until when."""
        now = self._clock()
        rows = (
            (
                found.resource,
                found.notification_url,
                graph_time(found.expires_at),
                "live" if found.expires_at > now else "expired",
            )
            for found in self.by_id.values()
        )
        return Panel("subscriptions", "Graph subscriptions", tuple(rows))

    # -- notifications

    async def on_event(self, event: DirectoryEvent) -> None:
        """Turn a change of the directory into what each subscription hears of it."""
        if event.change in _MEMBERSHIP and event.group is not None and event.person is not None:
            member: dict[str, Any] = {"id": event.person.id}
            if event.change is Change.GROUP_REMOVED:
                member["@removed"] = "deleted"
            self._notify(
                "groups", event.group.id, "updated", {"members@delta": [member]}, members=True
            )
        elif event.change is Change.GROUP_RENAMED and event.group is not None:
            self._notify("groups", event.group.id, "updated", {}, members=False)
        elif event.change is Change.GROUP_DELETED and event.group is not None:
            self._notify("groups", event.group.id, "deleted", {}, members=False)
        elif event.person is not None and event.change in _USER_UPDATED:
            self._notify("users", event.person.id, "updated", {}, members=False)
        elif event.person is not None and event.change is Change.PURGED:
            self._notify("users", event.person.id, "deleted", {}, members=False)

    def _notify(
        self, kind: str, ref: str, change_type: str, extra: dict[str, Any], *, members: bool
    ) -> None:
        for subscription in self.by_id.values():
            alive = subscription.expires_at > self._clock() and not subscription.reauthorization_due
            if alive and subscription.wants(kind, ref, change_type, members=members):
                what = f"{kind} {change_type} {ref}"
                self.outbox.put(
                    what, partial(self._compose, subscription, kind, ref, change_type, extra)
                )

    def _compose(
        self,
        subscription: Subscription,
        kind: str,
        ref: str,
        change_type: str,
        extra: dict[str, Any],
    ) -> Post:
        name = {"users": "User", "groups": "Group"}[kind]
        item = {
            "changeType": change_type,
            "clientState": subscription.client_state,
            "resource": f"{name}s/{ref}",
            "resourceData": {
                "@odata.type": f"#Microsoft.Graph.{name}",
                "@odata.id": f"{name}s/{ref}",
                "id": ref,
                "organizationId": self._tenant_id,
                **extra,
            },
            **self._common(subscription),
        }
        return _post(subscription.notification_url, item)

    def require_reauthorization(self, subscription: Subscription) -> None:
        """Send ``reauthorizationRequired`` and fall silent until the subscription is renewed or
        reauthorised.
        """
        subscription.reauthorization_due = True
        if subscription.lifecycle_url is not None:
            item = {
                "clientState": subscription.client_state,
                "lifecycleEvent": "reauthorizationRequired",
                **self._common(subscription),
            }
            self.outbox.put(
                "reauthorizationRequired", partial(_post, subscription.lifecycle_url, item)
            )

    def _common(self, subscription: Subscription) -> dict[str, Any]:
        return {
            "subscriptionId": subscription.id,
            "subscriptionExpirationDateTime": graph_time(subscription.expires_at),
            "tenantId": self._tenant_id,
        }


def _post(url: str, item: dict[str, Any]) -> Post:
    return Post(
        url,
        json.dumps({"value": [item]}).encode(),
        {"Content-Type": "application/json; charset=utf-8"},
    )


def _address(value: Any, name: str) -> str:
    """https; http on loopback too, because the demo has no certificates."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
    except ValueError as malformed:
        raise _invalid(f"{name} is not an address.") from malformed
    host = (parts.hostname or "") if parts else ""
    loopback = host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost")
    if (
        parts is None
        or not host
        or (parts.scheme != "https" and not (parts.scheme == "http" and loopback))
    ):
        raise _invalid(f"{name} must be an https address.")
    return str(value)


def _invalid(message: str) -> GraphError:
    return GraphError(400, "InvalidRequest", message)
