"""One request of one operator, as a page's handler sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.admin.permissions import PERMISSIONS
from gateway.console.outcome import PREFIX, Failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.admin.in_process import ApiAnswer, InProcessApi
    from gateway.console.draft import Drafts
    from gateway.console.operator import Operator
    from gateway.console.record import ConsoleRecord
    from gateway.console.work import Work
    from gateway.core.scopes import Scope


@dataclass(frozen=True, slots=True)
class Visit:
    """``path``: parameters of the address; ``query`` and ``form``: the last value of each name.
    ``now`` is UTC epoch seconds.
    """

    operator: Operator
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    now: float
    address: str
    """Path and query, as the browser asked."""
    api: InProcessApi
    drafts: Drafts
    record: ConsoleRecord
    work: Work

    async def ask(
        self,
        operation: str,
        *,
        tenant: str | None = None,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str | None] | None = None,
        body: object | None = None,
        if_match: str | None = None,
    ) -> ApiAnswer:
        """One operation of the admin API. ``tenant``: whose it is about; parameters without a value
        are left out.
        """
        return await self.api.call(
            self.operator.caller(PERMISSIONS[operation][0], tenant),
            operation,
            path=path,
            query={name: value for name, value in (query or {}).items() if value},
            body=body,
            if_match=if_match,
        )

    async def list_tenants(self, query: Mapping[str, str | None]) -> ApiAnswer:
        return await self.api.call(
            self.operator.lister(),
            "list_tenants",
            query={name: value for name, value in query.items() if value},
        )

    def may(self, operation: str) -> bool:
        """Whether to show the way to it, for at least one tenant. The API decides."""
        return self.operator.may(self.scope_of(operation)) and self.api.serves(operation)

    def scope_of(self, operation: str) -> Scope:
        return PERMISSIONS[operation][0]

    def text(self, name: str) -> str:
        """A field of the query, trimmed; "" without."""
        return self.query.get(name, "").strip()


def failed(answer: ApiAnswer) -> Failed:
    return Failed(answer.status, answer.code, answer.detail)


def address(path: str, **parameters: str | None) -> str:
    """Of a page; parameters without a value are left out."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"{PREFIX}{path}{'?' + query if query else ''}"


def epoch_of(day: str) -> str | None:
    """Of the beginning of a day (UTC); None for what is none."""
    try:
        return str(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None
