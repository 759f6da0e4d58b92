"""Lists, and single rows that can be looked at and done again: the same for every kind of row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from gateway.admin.parsing import read_cursor, write_cursor
from gateway.admin.problem import Code, Problem
from gateway.admin.route import Answer
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import BaseModel

    from gateway.admin.route import Call, PageQuery
    from gateway.core.json_types import Json
    from gateway.core.paging import Page
    from gateway.hooks.views import DeliveryView, MessageView, Records

T = TypeVar("T")
V = TypeVar("V", "DeliveryView", "MessageView")


class ReadPage(Protocol[T]):
    """``position``: of the last row of the page before."""

    def __call__(self, *, position: str | None, limit: int) -> Awaitable[Page[T]]: ...


async def list_page(
    operation: str,
    query: PageQuery,
    read: ReadPage[T],
    *,
    row: Callable[[T], BaseModel],
    model: Callable[..., BaseModel],
) -> Answer:
    """One page of the list ``operation``, as ``model`` with ``items`` and ``next``."""
    page = await read(position=read_cursor(operation, query.cursor), limit=query.limit)
    return Answer(
        model(items=[row(item) for item in page.items], next=write_cursor(operation, page.position))
    )


@dataclass(frozen=True, slots=True)
class RecordHandlers(Generic[V]):
    """Handlers of ``records``' single rows. ``parameter``: of the path, the row's id. ``whole``: a
    row with what it said.
    """

    records: Records[V]
    parameter: str
    row: Callable[[V], BaseModel]
    whole: Callable[[V, Json | None], BaseModel]

    async def get(self, call: Call) -> Answer:
        record = await self._find(call)
        return Answer(self.whole(record, await self.records.said(record.id)))

    async def replay(self, call: Call) -> Answer:
        record = await self._find(call)
        call.note.before = {"state": record.state, "attempts": record.attempts}
        replayed = await self.records.replay(record.id)
        if isinstance(replayed, Rejected):
            raise Problem(Code(replayed.code), replayed.message)
        return Answer(self.row(replayed))

    async def _find(self, call: Call) -> V:
        record = await self.records.find(call.path[self.parameter])
        if record is None:
            raise Problem(Code.NOT_FOUND)
        call.own(record.tenant)
        return record
