"""The one place where a setup link asks the admin API, for the operations of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.admin.keys import AdminKey
from gateway.admin.permissions import PERMISSIONS
from gateway.setup.operations import operations_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.admin.in_process import ApiAnswer, InProcessApi
    from gateway.setup.model import SetupLink

_BY_ITS_MAKER: Final = frozenset({"provision", "reprovision"})
"""Done with what the link's maker had to have: they create the tenant in the operator's words. All
else is done as by a key that is bound to the tenant.
"""


class OutOfReachError(Exception):
    """A page asked for more than the link is for: a fault of the page."""


class Reach:
    """``link`` is what its browser works with now."""

    def __init__(self, api: InProcessApi, link: SetupLink) -> None:
        self._api, self._link = api, link

    def may(self, operation: str) -> bool:
        return operation in operations_of(self._link)

    async def ask(
        self,
        operation: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
    ) -> ApiAnswer:
        """Of the link's tenant, whatever ``path`` says. Raises ``OutOfReachError``."""
        if not self.may(operation):
            raise OutOfReachError(operation)
        link = self._link
        caller = AdminKey(
            link.actor,
            link.claimed_by,
            frozenset({PERMISSIONS[operation][0]}),
            None if operation in _BY_ITS_MAKER else link.tenant,
            0,
            None,
            setup=True,
            draft=link.draft_of,
        )
        return await self._api.call(
            caller,
            operation,
            path={"tenant": link.tenant, **(path or {})} | {"tenant": link.tenant},
            query=query,
            body=body,
        )
