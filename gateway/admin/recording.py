"""What becomes of an admin request on record: its claim of an Idempotency-Key and its audit record,
begun and ended in one transaction each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from aiohttp import web

from gateway.admin.idempotency_records import StoredAnswer
from gateway.admin.problem import Code, Problem, problem_response
from gateway.admin.redaction import redacted
from gateway.admin.route import Note
from gateway.errors import UnavailableError
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.admin.callers import Callers
    from gateway.admin.idempotency import IdempotencyRecords
    from gateway.admin.reads import Reads
    from gateway.database.audit import AuditLog

log = logging.getLogger(__name__)

RENEW_CLAIM_S = 5.0
"""How often a request in flight renews its Idempotency-Key: several times before its process counts
as dead.
"""


@dataclass(frozen=True, slots=True)
class Edge:
    """What every request needs, whatever it asks for."""

    callers: Callers
    audit: AuditLog
    idempotency: IdempotencyRecords
    new_request_id: Callable[[], str]
    reads: Reads | None = None
    """None records no reads."""
    operators_tenant: str | None = None
    """Whose people are operators of the console; None without a console."""


class Begun(TypedDict):
    """The beginning of an audit record."""

    actor: str
    action: str
    tenant: str | None
    target: str
    request_id: str


@dataclass(slots=True)
class Progress:
    """How far a request came: decides what becomes of its idempotency claim and audit record."""

    claim: tuple[str, str] | None = None
    entry: int | None = None
    note: Note = field(default_factory=Note)


def begin_within(
    edge: Edge, begun: Begun, entries: list[int]
) -> Callable[[AsyncConnection], Awaitable[None]]:
    """Put it on record in the transaction that claims the Idempotency-Key: one commit for both."""

    async def begin(connection: AsyncConnection) -> None:
        entries.append(await edge.audit.begin_within(connection, **begun))

    return begin


async def renew(edge: Edge, claim: tuple[str, str]) -> None:
    while True:
        await asyncio.sleep(RENEW_CLAIM_S)
        with contextlib.suppress(UnavailableError):
            await edge.idempotency.renew(*claim)


SETTLE_S = 0.4
"""How long the answer to a request that failed because a store is away waits for that to be put on
record: the store is asked, and not waited for.
"""


async def settle(
    edge: Edge, progress: Progress, response: web.StreamResponse, *, request_id: str
) -> web.StreamResponse:
    """Close the audit record and the idempotency claim. What was changed is only told once it is on
    record; what was refused or failed is told as it was.
    """
    recording = asyncio.create_task(_record(edge, progress, response))
    try:
        if response.status == 503:
            await asyncio.wait({recording}, timeout=SETTLE_S)
            if not recording.done():
                # It goes on beside: where the store comes back in time, it is on record all the
                # same.
                recording.add_done_callback(_forgotten)
                return response
        await recording
    except UnavailableError as error:
        if response.status >= 400:
            log.warning(
                "admin_outcome_unrecorded",
                extra=fields(request_id=request_id, status=response.status, error=str(error)),
            )
            return response
        detail = f"the change was applied, but writing the audit log failed: {error}"
        return problem_response(Problem(Code.UNAVAILABLE, detail), request_id=request_id)
    return response


async def _record(edge: Edge, progress: Progress, response: web.StreamResponse) -> None:
    """The end of both in one transaction: whoever creates something has a record."""
    if progress.entry is not None:
        outcome = (
            ("dry_run" if progress.note.dry_run else "done")
            if response.status < 400
            else f"refused:{response.status}"
            if response.status < 500
            else f"failed:{response.status}"
        )
        await edge.audit.finish(
            progress.entry,
            outcome=outcome,
            before=redacted(progress.note.before),
            after=redacted(progress.note.after),
            target=progress.note.target,
            tenant=progress.note.tenant,
            also=_settled(edge, progress, response),
        )


def _settled(
    edge: Edge, progress: Progress, response: web.StreamResponse
) -> Callable[[AsyncConnection], Awaitable[None]] | None:
    """What becomes of the claim of an Idempotency-Key. What was refused had no effect, and may be
    granted when it is sent again: only success is final.
    """
    if progress.claim is None:
        return None
    owner, key = progress.claim
    if response.status >= 400:
        return lambda connection: edge.idempotency.release_within(connection, owner, key)
    if not (isinstance(response, web.Response) and isinstance(response.body, bytes)):
        return None
    headers = {
        name: value
        for name, value in response.headers.items()
        if name in {"Content-Type", "ETag", "Location"}
    }
    answer = StoredAnswer(response.status, headers, response.body)
    return lambda connection: edge.idempotency.store_within(connection, owner, key, answer)


def _forgotten(recording: asyncio.Task[None]) -> None:
    """Nobody awaits it any more."""
    if not recording.cancelled() and (error := recording.exception()) is not None:
        log.warning("admin_outcome_unrecorded", extra=fields(error=str(error)))
