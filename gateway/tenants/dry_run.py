"""What storing a tenant document would change, and whom of the people who are signed in it would
shut out. Changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.core.model import AppClient, Secret
from gateway.errors import UnavailableError
from gateway.tenants.api import PersonEffect, Rejected, SettingChange, TenantRehearsal
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.folder_plan import Change, differences
from gateway.tenants.impact import effects
from gateway.tenants.offload import in_background
from gateway.tenants.secrets import complete, keep, keepable, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.config.model import Config
    from gateway.core.model import Tenant
    from gateway.sessions.api import SessionDirectory, SessionView
    from gateway.tenants.database import TenantDatabase
    from gateway.tenants.document import TenantDocument
    from gateway.tenants.impact import Effect
    from gateway.tenants.snapshot_record import Record

MAX_SESSIONS = 2000
"""Sessions of one tenant that are looked at."""
_PAGE = 200
MAX_DECISIONS = 100_000
"""Sessions times places of one rehearsal, about a second: with many rules fewer sessions are looked
at.
"""


class TenantRehearsals:
    """``files``: tenants of the GitOps folder as they are now."""

    def __init__(
        self,
        database: TenantDatabase,
        config: Config,
        directory: SessionDirectory,
        *,
        files: Callable[[], Mapping[str, Record]],
    ) -> None:
        self._database, self._config, self._directory, self._files = (
            database,
            config,
            directory,
            files,
        )

    async def rehearse(
        self, document: TenantDocument, *, etag: str | None
    ) -> TenantRehearsal | Rejected:
        tenant = await self._database.get(document.id)
        try:
            target = (
                complete(document)
                if tenant is None
                else keep(document, keepable(tenant.document, document))
            )
        except ValueError as error:
            return Rejected("invalid_body", str(error))
        version = int(etag) if etag is not None and etag.isdecimal() else None
        changes = differences(tenant.document if tenant is not None else None, target)
        change = Change(
            "update" if tenant is not None else "create", target.id, version, target, changes
        )
        rejection = await self._database.rehearse([change], files=self._files().values())
        if rejection is not None:
            return rejection
        settings = tuple(SettingChange(c.key, c.before, c.after) for c in changes)
        if tenant is None:
            return TenantRehearsal(show(target), settings, 0, ())
        places = (
            sum(
                len(rule.methods or "1")
                for rule in (*tenant.document.rules, *target.rules, *target.shadow_rules)
            )
            + 1
        )
        try:
            people = (await sessions_of(self._directory, target.id))[
                : max(1, MAX_DECISIONS // places)
            ]
        except UnavailableError as error:
            return TenantRehearsal(show(target), settings, 0, (), unknown=str(error))
        credentials = await self._database.credentials(target.id)
        password_client = None if credentials is None else credentials.password_client
        before, after = (
            compiled(document, self._config, password_client=password_client)
            for document in (tenant.document, target)
        )
        current_effects = await in_background(effects, before, after, people)
        later: tuple[Effect, ...] = ()
        if after.shadow_rules:
            taken_over = replace(after, rules=after.shadow_rules)
            later = await in_background(effects, after, taken_over, people)
        return TenantRehearsal(
            show(target), settings, len(people), _told(current_effects), shadow=_told(later)
        )


def _told(found: Iterable[Effect]) -> tuple[PersonEffect, ...]:
    return tuple(PersonEffect(e.email, e.gains, e.where, e.reason) for e in found)


_SOME: Final = AppClient("", Secret(""))


def compiled(
    document: TenantDocument,
    config: Config,
    *,
    password_client: AppClient | None = _SOME,
) -> Tenant:
    """As it would be served, its secrets apart. ``password_client``: the managed one, None where it
    is still to be made.
    """
    return compile_tenant(
        document,
        config,
        client_id=document.client_id or "",
        client_secret=Secret(""),
        password_client=password_client,
    )


async def sessions_of(directory: SessionDirectory, tenant: str) -> list[SessionView]:
    """At most about ``MAX_SESSIONS``. Raises ``UnavailableError``."""
    views: list[SessionView] = []
    position: str | None = None
    while len(views) < MAX_SESSIONS:
        page = await directory.page(
            tenant=tenant, user=None, email=None, position=position, limit=_PAGE
        )
        views += page.items
        position = page.position
        if position is None:
            break
    return views
