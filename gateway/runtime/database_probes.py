"""What the admin role's database and publisher say of themselves, for ``/readyz`` and ``gateway
config check``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.database.migrate import Age, problem
from gateway.runtime.health import DependencyState

if TYPE_CHECKING:
    from gateway.database.engine import Database
    from gateway.tenants.publisher import Publisher


async def probe_database(database: Database) -> DependencyState:
    """It answers a question of no weight."""
    start_time = time.perf_counter()
    await database.ping()
    return DependencyState(
        "database", ok=True, detail=f"answers in {(time.perf_counter() - start_time) * 1000:.1f} ms"
    )


async def probe_session(database: Database) -> DependencyState:
    """For `gateway config check`: whether a pooler stands between that does not fit. Raises as
    ``check_session``.
    """
    await database.check_session()
    return DependencyState(
        "database_session", ok=True, detail="settings of a session hold in its next transaction"
    )


async def probe_schema(database: Database) -> DependencyState:
    """For `gateway config check`: whether this release works with the database's schema."""
    schema = await database.schema()
    reason = problem(schema)
    if schema.age is Age.EMPTY:
        return DependencyState("database_schema", ok=True, detail=reason)
    return DependencyState(
        "database_schema",
        ok=not reason,
        wrong=bool(reason),
        detail=reason or f"revision {schema.revision}, which this release needs",
    )


async def probe_database_keys(database: Database) -> DependencyState:
    """For `gateway config check`: whether the key ring opens what is encrypted in SQL."""
    if (await database.schema()).age is not Age.CURRENT:
        return DependencyState(
            "database_keys", ok=True, detail="not asked: the schema is another one"
        )
    check = await database.check_keys()
    return DependencyState(
        "database_keys",
        ok=not check.problem,
        wrong=bool(check.problem),
        detail=check.problem
        or ("nothing is encrypted yet" if not check.cells else f"{check.cells} values open"),
    )


def publisher_state(publisher: Publisher) -> DependencyState:
    """What keeps the newest files and rows from being served; the last good ones are."""
    if publisher.problems:
        return DependencyState(
            "publisher", ok=False, needed=False, detail="; ".join(publisher.problems)[:1000]
        )
    return DependencyState(
        "publisher", ok=True, needed=False, detail=f"snapshot {publisher.generation}"
    )
