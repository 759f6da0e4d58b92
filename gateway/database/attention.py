"""What needs somebody's attention: rows of all rooms that are in a state in which they stay until
somebody does something.

Rules:
- Only reads, and every query has a limit.
- Ids, states and times: no sealed column is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import Label, func, literal, select

from gateway.database.schema import (
    connections,
    credential_expiries,
    domains,
    hook_arrivals,
    hook_inbox,
    provision_runs,
    revocations,
    webhooks_outbox,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sqlalchemy import ColumnElement

    from gateway.database.engine import Database

    _Columns: TypeAlias = tuple[ColumnElement[Any], ...]

LIMIT: Final = 10
"""Rows of one kind: whoever has more looks at the list that the kind leads to."""
DAY_S: Final = 86_400.0
EXPIRES_WITHIN_S: Final = 30 * DAY_S
STOPPED_S: Final = 900.0
"""A run that is still under way after this, or waits to be taken back, is looked at."""
COUNTED_ONLY: Final = ("handshake", "request")
"""What ``hook_arrivals`` counts beside refusals."""
UNACKNOWLEDGED_S: Final = 60.0
"""Longer than any ``session.max_revocation_delay`` that makes sense."""


class Kind(StrEnum):
    """In the order in which they are shown: what leaves somebody in, first."""

    REVOCATION_UNACKNOWLEDGED = "revocation_unacknowledged"
    HOOK_FAILED = "hook_failed"
    HOOK_HELD = "hook_held"
    HOOK_REFUSED = "hook_refused"
    CONNECTION_FAILING = "connection_failing"
    CREDENTIAL_EXPIRES = "credential_expires"
    DOMAIN_LOST = "domain_lost"
    RUN_STOPPED = "run_stopped"
    MESSAGE_FAILED = "message_failed"
    SETUP_SUBMITTED = "setup_submitted"


_COUNTED: Final = frozenset(
    {Kind.HOOK_FAILED, Kind.HOOK_HELD, Kind.HOOK_REFUSED, Kind.MESSAGE_FAILED}
)
"""Of which a row is many: the newest time, and how many."""


@dataclass(frozen=True, slots=True)
class Concern:
    """``target``: a provider, domain, run, revocation or link; "": the tenant as such. ``at``:
    since when or, of what expires, when. ``count``: how many.
    """

    kind: Kind
    tenant: str
    target: str
    at: float
    count: int = 1


class AttentionRecords:
    """``clock``: UTC epoch seconds. Raises ``UnavailableError``."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def list(self, kinds: Collection[Kind], *, tenant: str | None) -> list[Concern]:
        """Of these kinds; of all tenants with None."""
        concerns: list[Concern] = []
        async with self._database.read() as connection:
            for kind, (columns, condition) in self._queries().items():
                if kind not in kinds:
                    continue
                query = select(*columns).where(condition)
                owner, target, at, _ = columns
                if tenant is not None:
                    query = query.where(owner == tenant)
                if kind in _COUNTED:
                    names = (owner,) if isinstance(target, Label) else (owner, target)
                    query = query.group_by(*names)
                order = at if kind is Kind.CREDENTIAL_EXPIRES else at.desc()
                rows = await connection.execute(query.order_by(order).limit(LIMIT))
                concerns += [
                    Concern(kind, row[0], str(row[1]), float(row[2]), int(row[3])) for row in rows
                ]
        return concerns

    def _queries(self) -> Mapping[Kind, tuple[_Columns, ColumnElement[bool]]]:
        """Of each kind: tenant, target, time and count, and which rows."""
        now = self._clock()
        inbox, outbox, run = hook_inbox.c, webhooks_outbox.c, provision_runs.c
        link, ends, domain, revocation = (
            connections.c,
            credential_expiries.c,
            domains.c,
            revocations.c,
        )
        arrival, nothing, one = hook_arrivals.c, literal("").label("target"), literal(1)
        return {
            Kind.REVOCATION_UNACKNOWLEDGED: (
                (revocation.tenant, revocation.id, revocation.received_at, one),
                revocation.acknowledged_at.is_(None)
                & (revocation.received_at > now - DAY_S)
                & (revocation.received_at < now - UNACKNOWLEDGED_S),
            ),
            Kind.HOOK_FAILED: (
                (inbox.tenant, nothing, func.max(inbox.received_at), func.count()),
                inbox.state == "failed",
            ),
            Kind.HOOK_HELD: (
                (inbox.tenant, nothing, func.max(inbox.received_at), func.count()),
                inbox.state == "held",
            ),
            Kind.HOOK_REFUSED: (
                (
                    arrival.tenant,
                    arrival.provider,
                    func.max(arrival.last_at),
                    func.sum(arrival.times),
                ),
                (arrival.minute >= int(now - DAY_S) // 60) & arrival.outcome.not_in(COUNTED_ONLY),
            ),
            Kind.CONNECTION_FAILING: (
                (
                    link.tenant,
                    link.provider,
                    func.coalesce(link.failing_since, link.checked_at),
                    one,
                ),
                link.state == "failing",
            ),
            Kind.CREDENTIAL_EXPIRES: (
                (ends.tenant, ends.provider, ends.expires_at, one),
                ends.expires_at < now + EXPIRES_WITHIN_S,
            ),
            Kind.DOMAIN_LOST: (
                (
                    domain.tenant,
                    domain.domain,
                    func.coalesce(domain.missing_since, domain.added_at),
                    one,
                ),
                domain.state.in_(("missing", "lost")),
            ),
            Kind.RUN_STOPPED: (
                (run.tenant, run.id, run.started_at, one),
                run.state.in_(("running", "undoing", "settling"))
                & (run.started_at < now - STOPPED_S),
            ),
            Kind.MESSAGE_FAILED: (
                (outbox.tenant, nothing, func.max(outbox.created_at), func.count()),
                outbox.state == "failed",
            ),
        }
