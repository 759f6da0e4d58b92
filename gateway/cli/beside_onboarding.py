"""What every ``gateway provision …`` command shares: the service beside a running gateway, its
audit record, its words.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from gateway.admin.redaction import redacted
from gateway.cli.database import configured_database, file_records, in_force_within
from gateway.database.audit import SqlAuditLog
from gateway.errors import GatewayError, UnavailableError
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import Busy, RunState
from gateway.provisioning.wiring import open_onboarding
from gateway.tenants.database import TenantDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from gateway.database.engine import Database
    from gateway.provisioning.preflight import PreflightProblem
    from gateway.provisioning.service import Onboarding
    from gateway.provisioning.steps import Work

T = TypeVar("T")
ACTOR = "cli"
IN_FORCE_S = 10.0
"""How long a command waits for a running gateway to publish what it wrote."""


@asynccontextmanager
async def opened(config_path: str) -> AsyncIterator[tuple[Onboarding, Database]]:
    """The service over the gateway's own stores."""
    async with configured_database(config_path) as (config, database):
        tenants = TenantDatabase(database, config)
        files = file_records(config)

        async def in_force(tenant: str) -> None:
            """A gateway that runs beside publishes what SQL holds; without one there is nobody to
            obey.
            """
            if not await in_force_within(tenants, (tenant,), IN_FORCE_S):
                msg = (
                    "stored, and not yet published: no gateway with the admin role seems to be "
                    "running"
                )
                raise UnavailableError(msg)

        async with open_onboarding(
            config, database, tenants, files=lambda: files, in_force=in_force
        ) as onboarding:
            yield onboarding, database


async def audited(
    database: Database,
    action: str,
    tenant: str,
    work: Callable[[], Awaitable[T]],
    *,
    before: object = None,
    after: Callable[[], Awaitable[Mapping[str, object]]] | None = None,
) -> T:
    """``before`` and ``after``: what the change was made from and led to, besides its run;
    ``after`` is asked where it was made.
    """
    audit = SqlAuditLog(database, clock=database.clock)
    entry = await audit.begin(
        actor=ACTOR, action=action, tenant=tenant, target=tenant, request_id=""
    )
    try:
        outcome = await work()
    except GatewayError:
        await audit.finish(entry, outcome="failed", before=None, after=None)
        raise
    # What ``verify`` found has no run unless it was mended.
    ended = getattr(outcome, "fixed", outcome)
    good = isinstance(ended, Done | RunState) or (ended is None and outcome is not None)
    led_to = await after() if good and after is not None else {}
    await audit.finish(
        entry,
        outcome="done" if good else "refused",
        before=redacted(before),
        after=redacted({"run": getattr(ended, "run", None), **led_to}),
    )
    return outcome


async def clients_of(onboarding: Onboarding, tenant: str) -> dict[str, object]:
    """For the record: the app clients of a tenant."""
    held = await onboarding.provisioning.registrar.credentials(tenant)
    return {"clients": list(held.client_ids) if held is not None else []}


def telling(*, as_json: bool) -> Callable[[Work, str], None]:
    """A line per step as it ends, on stderr, so that standard output stays the result."""

    def say(work: Work, state: str) -> None:
        if not as_json:
            click.echo(f"  {state:10} {work.action.replace('_', ' ')} {work.resource}", err=True)

    return say


def why_not(outcome: Failed | Busy | PreflightProblem) -> str:
    if isinstance(outcome, Busy):
        return (
            f"run {outcome.run} of this tenant is "
            f"{'being taken back' if outcome.interrupted else 'going on'}"
        )
    if isinstance(outcome, Failed):
        left = {
            RunState.ROLLED_BACK: "nothing of it is left",
            RunState.RUNNING: "a gateway with the admin role finishes it",
        }.get(outcome.state, "a gateway with the admin role takes back what is left")
        return f"{outcome.code}: {outcome.message} ({left})"
    return outcome.message
