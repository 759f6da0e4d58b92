"""What the console itself puts on record, beside the changes that the admin API does."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.core.scopes import Scope
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.console.operator import Operator
    from gateway.console.sign_in import Person
    from gateway.database.audit import AuditLog
    from gateway.sessions.console_links import ConsoleLinks

DENIED_EVERY_S: Final = 600.0
"""A page that is refused again and again is on record once in so long."""
_MAX_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class ConsoleRecord:
    """``clock``: UTC epoch seconds. All methods raise ``UnavailableError``: what is not on record
    is not done.
    """

    audit: AuditLog
    links: ConsoleLinks
    clock: Callable[[], float]
    new_request_id: Callable[[], str]
    _seen: OrderedDict[str, float] = field(default_factory=OrderedDict)

    async def signed_in(self, operator: Operator) -> None:
        """Once for each sign-in. The first with every scope ends the one-time links."""
        person, is_complete = operator.person, operator.may_everywhere(Scope.OPERATOR)
        sign_in = f"{person.actor}\n{person.auth_time}"
        name = f"{sign_in}\n{is_complete}"
        if name in self._seen:
            return
        if is_complete:
            await self.links.close()
        if await self.links.is_first(sign_in):
            try:
                await self.write(person, "signed_in", after={"email": person.email})
            except UnavailableError:
                await self.links.forget(sign_in)
                raise
        self._remember(name)

    async def denied(self, operator: Operator, path: str, scope: Scope) -> None:
        """Somebody who is known lacked the scope of the page with this path."""
        name = f"{operator.person.actor}\n{path}"
        if self.clock() - self._seen.get(name, 0.0) < DENIED_EVERY_S:
            return
        await self.write(operator.person, "denied", target=path, after={"scope": str(scope)})
        self._remember(name)

    async def write(
        self,
        person: Person,
        action: str,
        *,
        target: str = "",
        tenant: str | None = None,
        after: object = None,
    ) -> None:
        entry = await self.audit.begin(
            actor=person.actor,
            action=f"console.{action}",
            tenant=tenant,
            target=target,
            request_id=self.new_request_id(),
        )
        await self.audit.finish(entry, outcome="done", before=None, after=after)

    def _remember(self, name: str) -> None:
        self._seen[name] = self.clock()
        self._seen.move_to_end(name)
        if len(self._seen) > _MAX_REMEMBERED:
            self._seen.popitem(last=False)
