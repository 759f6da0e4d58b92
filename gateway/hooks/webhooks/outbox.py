"""Outgoing webhooks: the app of a tenant hears who was deprovisioned and who is back.

Rules:
- A message is written in the transaction that settles the event it tells of. Its id and body never
  change afterwards.
- Signed as the Standard Webhooks specification says: ``webhook-id``, ``webhook-timestamp``,
  ``webhook-signature`` (``v1,`` and base64 of HMAC-SHA-256 over ``id.timestamp.body``), one
  signature for each secret while one is being rotated.
- One person's messages go out in order: the next only after the one before was taken or given up.
- A 2xx takes a message. Everything else is tried again with growing pauses for a day and a half,
  then kept as failed for replay.
- Redirects are not followed: the address that the tenant configured is the address that hears, and
  ``http`` is guarded (``gateway.http.ssrf_guard``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
from sqlalchemy import and_, case, exists, func, select, update

from gateway.background import background_task, fault
from gateway.core.hook_target import WebhookTarget
from gateway.core.model import Secret
from gateway.core.webhook_body import body_of, content_type
from gateway.database.engine import insert_new
from gateway.database.schema import webhooks_outbox
from gateway.errors import PeerError, UnavailableError
from gateway.http.connection_error import why
from gateway.log import fields
from gateway.metrics import WEBHOOK_DELIVERIES, begin_at_zero
from gateway.tracing.spans import Kind, span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.api import HookTargets
    from gateway.hooks.effects import Notice
    from gateway.tracing.spans import Span

TIMEOUT_S = 10.0
LEASE_S = 30.0
"""A message is held while it is being sent: longer than ``TIMEOUT_S``, so that two replicas never
send one at once.
"""
PARALLEL = 32
PER_TENANT = 4
"""Of them, one tenant's: an application that is slow, or silent until ``TIMEOUT_S``, does not hold
up the others'.
"""
POLL_S = 1.0
PAUSES_S = (
    1.0,
    5.0,
    30.0,
    120.0,
    600.0,
    1800.0,
    3600.0,
    7200.0,
    14400.0,
    28800.0,
    43200.0,
    28800.0,
)
"""After each failure; together about a day and a half."""
SECRET_PREFIX = "whsec_"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way."""

    id: str
    tenant: str
    lane: str
    body: str
    attempts: int
    target: WebhookTarget | None = None
    """Of a tenant that is gone."""


def signing_key(secret: Secret) -> bytes:
    """``whsec_`` and base64, as the specification writes secrets; any other text signs as its
    UTF-8.
    """
    text = secret.reveal()
    if text.startswith(SECRET_PREFIX):
        with contextlib.suppress(ValueError):
            return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    return text.encode()


def signature(secrets: tuple[Secret, ...], *, message_id: str, timestamp: int, body: str) -> str:
    """Value of ``webhook-signature``: space-separated, one for each secret."""
    content = f"{message_id}.{timestamp}.{body}".encode()
    return " ".join(
        "v1,"
        + base64.b64encode(hmac.digest(signing_key(s), content, hashlib.sha256)).decode("ascii")
        for s in secrets
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change comes from. ``provider``: "" where it concerns none."""

    tenant: str
    provider: str
    source: str
    event: str
    """The sender's own name of it."""


@dataclass(frozen=True, slots=True)
class News:
    """What an app is to hear. ``lane``: of whom, messages of one are sent in their order.
    ``message_id``: of what may be added again, and is one message then. ``now``: UTC epoch seconds.
    """

    notice: Notice
    origin: Origin
    lane: str
    now: float
    revocation: str = ""
    message_id: str = ""


def message_id_of(*parts: str) -> str:
    """The id of the one message that can come of this."""
    return f"msg_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def render(notice: Notice, origin: Origin, *, now: float, revocation: str) -> dict[str, Any]:
    """What happened to whom, by every name that the app may know the person by."""
    subject = notice.subject
    document: dict[str, Any] = {
        "type": notice.type,
        "timestamp": datetime.fromtimestamp(now, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "data": {
            "tenant": origin.tenant,
            "provider": origin.provider,
            "cause": notice.cause,
            "source": origin.source,
            "source_event": origin.event,
            "event_time": notice.event_time,
            "subject": {
                "idp_subject": subject.idp_subject,
                "oid": subject.oid,
                "email": subject.email,
            },
            "users": [asdict(person) for person in notice.people],
            "identifiers": identifiers(notice),
            "group": {"id": notice.group.id, "name": notice.group.name}
            if notice.group is not None
            else None,
            "revocation": revocation,
        },
    }
    if notice.profile is not None:
        document["data"]["profile"] = asdict(notice.profile)
    if notice.connection is not None:
        document["data"]["connection"] = asdict(notice.connection)
    if notice.domain:
        document["data"]["domain"] = {"name": notice.domain}
    return document


def identifiers(notice: Notice) -> dict[str, list[str]]:
    """Every name that is known of the person, by kind; what a SCIM record is called (login,
    external id) is among ``idp_subject``.
    """
    by_kind: dict[str, dict[str, None]] = {
        kind: {} for kind in ("user", "idp_subject", "oid", "email")
    }
    for kind, value in notice.subject.names:
        by_kind[kind][value] = None
    for person in notice.people:
        for kind, value in asdict(person).items():
            by_kind[kind] |= {value: None} if value else {}
    if notice.user:
        by_kind["user"][notice.user] = None
    return {kind: list(values) for kind, values in by_kind.items()}


class Register(Protocol):
    """Who hears of every notice, whether an app does or not."""

    async def told(
        self, connection: AsyncConnection, notice: Notice, origin: Origin, *, now: float
    ) -> None: ...


class Outbox:
    """Messages of all tenants, in SQL. ``running`` sends them."""

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        *,
        targets: HookTargets,
        http: aiohttp.ClientSession,
        clock: Callable[[], float],
        register: Register | None = None,
    ) -> None:
        begin_at_zero(WEBHOOK_DELIVERIES, ["sent", "retried", "failed"])
        self._database = database
        self._committer = committer
        self._targets = targets
        self._http = http
        self._clock = clock
        self._register = register
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    def silent(self, tenant: str) -> bool:
        """Whether this tenant's app hears nothing."""
        return self._targets.webhook(tenant) is None

    def wants(self, tenant: str, event: str) -> bool:
        """Whether this tenant's app is sent messages of the type."""
        target = self._targets.webhook(tenant)
        return target is not None and target.wants(event)

    async def add(self, connection: AsyncConnection, *news: News) -> None:
        """In the transaction of the caller: in the register of people, and as messages where the
        tenants' apps want them, in this order and by one statement.
        """
        rows: dict[str, dict[str, Any]] = {}
        for one in news:
            if self._register is not None:
                await self._register.told(connection, one.notice, one.origin, now=one.now)
            target = self._targets.webhook(one.origin.tenant)
            if target is None or not target.wants(one.notice.type):
                continue
            id_ = one.message_id or f"msg_{uuid.uuid4().hex[:32]}"
            if id_ not in rows:
                rows[id_] = self._row(one, id_, target)
        if rows:
            await connection.execute(
                insert_new(self._database, webhooks_outbox).on_conflict_do_nothing(
                    index_elements=["id"]
                ),
                list(rows.values()),
            )

    def _row(self, one: News, id_: str, target: WebhookTarget) -> dict[str, Any]:
        document = render(one.notice, one.origin, now=one.now, revocation=one.revocation)
        body = body_of(document, target, message_id=id_)
        return {
            "id": id_,
            "tenant": one.origin.tenant,
            "lane": one.lane,
            "event": one.notice.type,
            "created_at": one.now,
            "state": "new",
            "next_at": one.now,
            "payload": self._database.crypt.seal(
                body, table="webhooks_outbox", row=id_, column="payload"
            ),
            "attempts": 0,
            "held_until": 0.0,
            "error": "",
        }

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            active: dict[asyncio.Task[None], str] = {}
            while True:
                self._wake.clear()
                messages: list[Message] = []
                try:
                    if len(active) < PARALLEL:
                        messages = await self._claim(
                            PARALLEL - len(active), Counter(active.values())
                        )
                except UnavailableError as error:
                    log.warning("webhook_outbox_unavailable", extra=fields(error=str(error)))
                except Exception as error:  # noqa: BLE001 - logged
                    fault("webhook_outbox_fault", error)
                for message in messages:
                    task = group.create_task(self._guarded(message))
                    active[task] = message.tenant
                    task.add_done_callback(lambda done: active.pop(done, None))
                if not messages:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(POLL_S):
                            await self._wake.wait()

    async def _claim(self, limit: int, busy: Mapping[str, int]) -> list[Message]:
        now = self._clock()
        async with self._database.read() as connection:
            due_rows = (await connection.execute(_due(now, limit, busy))).all()
        if not due_rows:
            return []

        async def work(connection: AsyncConnection) -> list[Message]:
            message = webhooks_outbox.c
            # A message that another process is taking, or that somebody's transaction holds, is
            # passed over.
            unlocked = await connection.execute(
                select(message.number, message.state, message.held_until, message.attempts)
                .where(message.number.in_([row.number for row in due_rows]))
                .with_for_update(skip_locked=True)
            )
            as_it_was = {("new", row.number, row.held_until, row.attempts): row for row in due_rows}
            there = {(row.state, row.number, row.held_until, row.attempts) for row in unlocked}
            rows = [row for was, row in as_it_was.items() if was in there]
            if not rows:
                return []
            await connection.execute(
                update(webhooks_outbox)
                .where(message.number.in_([row.number for row in rows]))
                .values(held_until=now + LEASE_S)
            )
            messages = [self._opened(row) for row in rows]
            return [one for one in messages if one is not None]

        return await self._committer.run(work)

    def _opened(self, row: Any) -> Message | None:
        """None where it does not open here: tried again after the lease; it keeps nobody else's
        from being sent.
        """
        try:
            body = self._database.crypt.open(
                row.payload, table="webhooks_outbox", row=row.id, column="payload"
            ).reveal()
            return Message(
                row.id,
                row.tenant,
                row.lane,
                body,
                row.attempts,
                self._target_of_gone(row),
            )
        except Exception as error:  # noqa: BLE001 - no key for it, or another version wrote it: logged
            fault("webhook_fault", error, tenant=row.tenant, id=row.id)
            return None

    def _target_of_gone(self, row: Any) -> WebhookTarget | None:
        if row.target is None:
            return None
        document = json.loads(
            self._database.crypt.open(
                row.target, table="webhooks_outbox", row=row.id, column="target"
            ).reveal()
        )
        return WebhookTarget(row.tenant, document["url"], tuple(map(Secret, document["secrets"])))

    async def _guarded(self, message: Message) -> None:
        try:
            await self.send(message)
        except UnavailableError as error:
            # Sent perhaps, recorded not: after the lease the same id and body go out again.
            log.warning(
                "webhook_unsettled",
                extra=fields(tenant=message.tenant, id=message.id, error=str(error)),
            )
        except Exception as error:  # noqa: BLE001 - logged
            fault("webhook_fault", error, tenant=message.tenant, id=message.id)
        self._wake.set()

    async def send(self, message: Message) -> None:
        """One attempt, and what it came to. Raises ``UnavailableError`` if that could not be
        written.
        """
        target = message.target or self._targets.webhook(message.tenant)
        error = (
            "the tenant has no webhook any more"
            if target is None
            else await self._post(target, message)
        )
        now = self._clock()
        values: dict[str, Any] = {
            "attempts": message.attempts + 1,
            "held_until": 0.0,
            "error": error[:400],
        }
        if not error:
            values |= {"state": "sent", "sent_at": now}
        elif target is None or message.attempts >= len(PAUSES_S):
            values |= {"state": "failed"}
        else:
            values |= {"next_at": now + PAUSES_S[message.attempts]}
        outcome = str(values.get("state", "retried"))

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                update(webhooks_outbox)
                .where(webhooks_outbox.c.id == message.id, webhooks_outbox.c.state == "new")
                .values(**values)
            )

        await self._written(work)
        WEBHOOK_DELIVERIES.labels(outcome).inc()
        log.log(
            logging.WARNING if error else logging.INFO,
            "webhook",
            extra=fields(
                tenant=message.tenant,
                id=message.id,
                outcome=outcome,
                error=error or None,
                attempts=message.attempts + 1,
            ),
        )

    async def _written(self, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """As long as nobody else may take the message: what was sent and is not on record goes out
        again.
        """
        until = asyncio.get_running_loop().time() + LEASE_S - TIMEOUT_S
        while True:
            try:
                await self._committer.run(work)
            except UnavailableError:
                if asyncio.get_running_loop().time() >= until:
                    raise
                await asyncio.sleep(POLL_S)
            else:
                return

    async def _post(self, target: WebhookTarget, message: Message) -> str:
        """Why it was not taken; empty when it was."""
        timestamp = int(self._clock())
        headers = {
            "Content-Type": content_type(message.body),
            "User-Agent": "cognito-gateway",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(
                target.secrets, message_id=message.id, timestamp=timestamp, body=message.body
            ),
        }
        with span("webhook.send", Kind.CLIENT, parent="") as trace_span:
            trace_span.set("gateway.tenant", message.tenant)
            trace_span.set("gateway.webhook.id", message.id)
            trace_span.set("http.request.method", "POST")
            trace_span.set("http.request.resend_count", message.attempts or None)
            if trace_span.traceparent:
                headers["traceparent"] = trace_span.traceparent
            error = await self._answer(target, message, headers, trace_span)
            if error:
                trace_span.failed("not_taken")
        return error

    async def _answer(
        self, target: WebhookTarget, message: Message, headers: Mapping[str, str], made: Span
    ) -> str:
        try:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with self._http.post(
                target.url,
                data=message.body.encode(),
                headers=headers,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                made.set("http.response.status_code", response.status)
                return "" if 200 <= response.status < 300 else f"answered {response.status}"
        except PeerError as error:
            return f"{error.code}: {error}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return why(error)


def _due(now: float, limit: int, busy: Mapping[str, int]) -> Select[Any]:
    """The head of each person's line, due, and held by nobody; tenants in turn. ``busy``: how many
    of a tenant's are being sent.
    """
    earlier = webhooks_outbox.alias()
    waits_for_another = exists().where(
        and_(
            earlier.c.tenant == webhooks_outbox.c.tenant,
            earlier.c.lane == webhooks_outbox.c.lane,
            earlier.c.state == "new",
            earlier.c.number < webhooks_outbox.c.number,
        )
    )
    heads = (
        select(
            webhooks_outbox.c.number,
            webhooks_outbox.c.tenant,
            func.row_number()
            .over(partition_by=webhooks_outbox.c.tenant, order_by=webhooks_outbox.c.number)
            .label("turn"),
        )
        .where(
            webhooks_outbox.c.state == "new",
            webhooks_outbox.c.next_at <= now,
            webhooks_outbox.c.held_until < now,
            ~waits_for_another,
        )
        .subquery()
    )
    room = (
        case(
            {tenant: PER_TENANT - sending for tenant, sending in busy.items()},
            value=heads.c.tenant,
            else_=PER_TENANT,
        )
        if busy
        else PER_TENANT
    )
    return (
        select(webhooks_outbox)
        .join(heads, heads.c.number == webhooks_outbox.c.number)
        .where(heads.c.turn <= room)
        .order_by(heads.c.turn, webhooks_outbox.c.number)
        .limit(limit)
    )
