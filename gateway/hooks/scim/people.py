"""Who SCIM records say somebody is: asked by whoever applies events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from gateway.core.canonical import canonical_id
from gateway.database.schema import scim_former_names, scim_resources
from gateway.hooks.event import Subject
from gateway.hooks.inbox import digest
from gateway.hooks.scim import resources as scim
from gateway.hooks.scim.names import formerly
from gateway.hooks.scim.rows import MAX_NAMESAKES, USER, external_digest, of_kind, shared_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.hook_target import HookTarget
    from gateway.hooks.scim.rows import ScimRows


class ScimPeople:
    """Methods raise ``UnavailableError``."""

    def __init__(self, rows: ScimRows) -> None:
        self._rows = rows

    async def people(self, target: HookTarget, records: Sequence[str]) -> Mapping[str, Subject]:
        """The people behind members' ids: one statement for those who are here, one for those who
        were deleted and have no other record.
        """
        mine = of_kind(target, USER)
        async with self._rows.database.read() as connection:
            rows = (
                await connection.execute(
                    select(scim_resources).where(scim_resources.c.id.in_(records), *mine)
                )
            ).all()
            subjects = {
                row.id: scim.subject(self._rows.stored(row).document, row.person) for row in rows
            }
            missing_ids = [record for record in records if record not in subjects]
            if missing_ids:
                former = scim_former_names.c
                query = (
                    select(former.person)
                    .distinct()
                    .where(
                        former.tenant == target.tenant,
                        former.provider == target.provider,
                        former.person.in_(missing_ids),
                    )
                )
                subjects |= {
                    person: Subject(record=person)
                    for person in (await connection.execute(query)).scalars()
                }
        return subjects

    async def namesakes(self, target: HookTarget, records: Sequence[str]) -> Sequence[Subject]:
        """Other records with the ``externalId`` of one of these, each with the names that both
        have; for one of these at most ``MAX_NAMESAKES``.
        """
        async with self._rows.database.read() as connection:
            mine = [
                self._rows.stored(row)
                for row in await connection.execute(
                    select(scim_resources).where(
                        scim_resources.c.id.in_(records), *of_kind(target, USER)
                    )
                )
            ]
            own = {digest_: one for one in mine if (digest_ := external_digest(target, one))}
            others = scim_resources.c.external_digest.in_(own), scim_resources.c.id.not_in(records)
            rows = (
                (
                    await connection.execute(
                        select(scim_resources)
                        .where(*of_kind(target, USER), *others)
                        .limit(MAX_NAMESAKES * len(own))
                    )
                ).all()
                if own
                else []
            )
        return [shared_names(self._rows.stored(row), own[row.external_digest]) for row in rows]

    async def is_another(self, target: HookTarget, ids: Sequence[str], *, record: str) -> bool:
        """Whether one of ``ids`` is the ``externalId`` of an active record of another person than
        ``record``'s.

        That it is one tells what this client sends there, so ``record`` is known by an id too, if
        it has one; else the address is all there is of it.
        """
        table, former = scim_resources.c, scim_former_names.c
        conditions = (
            table.external_digest.in_(
                [digest(target.tenant, target.provider, canonical_id(one)) for one in ids]
            ),
            table.person != record,
        )
        own = (
            select(table.id)
            .where(*of_kind(target, USER), table.person == record, table.external_digest != "")
            .limit(1)
        )
        former_query = (
            select(former.name)
            .where(*formerly(target), former.person == record, former.external == 1)
            .limit(1)
        )
        async with self._rows.database.read() as connection:
            if (await connection.execute(own)).first() is None and (
                await connection.execute(former_query)
            ).first() is None:
                return False
            rows = (
                await connection.execute(
                    select(scim_resources)
                    .where(*of_kind(target, USER), *conditions)
                    .limit(MAX_NAMESAKES)
                )
            ).all()
        return any(self._rows.stored(row).document["active"] for row in rows)
