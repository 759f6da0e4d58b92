"""Runs provisionings that die on purpose: reads one cell per line, forks, and the child kills
itself at the point named.

A process of its own, forked for each cell before any event loop exists, so that imports are paid
for once.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session

from gateway.cognito.api import open_cognito
from gateway.cognito.pool import Pool
from gateway.cognito.pools import Pools
from gateway.database.engine import open_database
from gateway.keys import ring as keys
from gateway.provisioning.creations import interrupted
from gateway.provisioning.discovery import DiscoveryFetcher
from gateway.provisioning.journal import SqlJournal
from gateway.provisioning.registrar import RegistryOfProvisioning
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runner import Provisioning
from gateway.provisioning.service import Onboarding
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.database import TenantDatabase
from tests.provisioning.bench import READ_S, TIMING, Restrictions, config_for
from tests.provisioning.models import read_once

if TYPE_CHECKING:
    from gateway.core.json_types import Json
    from gateway.provisioning.runs import Action, RunState, StepState


@dataclass(slots=True)
class MortalJournal(SqlJournal):
    """``point`` is ``intend:2:after``: the second step's intention is written, and then nothing
    more happens.
    """

    point: str

    def __init__(self, journal: SqlJournal, point: str) -> None:
        for name in ("_database", "_holder", "_clock", "_hold_s"):
            object.__setattr__(self, name, getattr(journal, name))
        self.point = point

    def _perhaps_die(self, here: str) -> None:
        if here == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    async def intend(
        self,
        run: str,
        number: int,
        action: Action,
        resource: str,
        *,
        undo: Json,
        before: Json | None,
    ) -> None:
        self._perhaps_die(f"intend:{number}:before")
        await SqlJournal.intend(self, run, number, action, resource, undo=undo, before=before)
        self._perhaps_die(f"intend:{number}:after")

    async def settle(
        self,
        run: str,
        number: int,
        state: StepState,
        *,
        undo: Json | None = None,
        error: Json | None = None,
    ) -> None:
        self._perhaps_die(f"settle:{number}:before")
        await SqlJournal.settle(self, run, number, state, undo=undo, error=error)
        self._perhaps_die(f"settle:{number}:after")

    async def move(self, run: str, state: RunState, *, error: Json | None = None) -> None:
        self._perhaps_die(f"move:{state}:before")
        await SqlJournal.move(self, run, state, error=error)
        self._perhaps_die(f"move:{state}:after")


async def provision(cell: dict[str, Any]) -> None:
    config = config_for(Path(cell["state_dir"]), **cell["config"])
    ring = keys.load(config.key_file, create=False)
    database = open_database(config, lambda: ring.database)
    tenants = TenantDatabase(database, config)

    async def at_once(_tenant: str) -> None:
        pass

    async with AsyncExitStack() as stack:
        registrar = RegistryOfProvisioning(tenants, files=dict, in_force=at_once)
        journal = MortalJournal(
            SqlJournal(
                database, holder=secrets.token_hex(8), clock=time.time, hold_s=cell["hold_s"]
            ),
            cell["point"],
        )
        provisioning = Provisioning(
            Pools(
                {
                    name: Pool(
                        await stack.enter_async_context(
                            open_cognito(config, pool=name, read_s=READ_S, per_second=1000.0)
                        ),
                        config.cognito.quotas,
                        name=name,
                    )
                    for name in config.cognito.all_pools
                }
            ),
            journal,
            registrar,
            new_run=lambda: secrets.token_hex(6),
            clock=time.time,
            timing=TIMING,
        )
        onboarding = Onboarding(
            config,
            RegistryRecords(tenants, files=dict, in_force=at_once),
            provisioning,
            DiscoveryFetcher(development=True),
            registrar.name_conflict,
            Restrictions(),
            lambda tenant: interrupted(database, tenant, now=time.time()),
        )
        match cell["kind"]:
            case "move":
                move = onboarding.pool_move
                moving = await move.propose(cell["tenant"], "b")
                await move.apply(moving, actor="crash")
            case "trial":
                await onboarding.move_trials.begin(cell["tenant"], "b", actor="crash")
            case "rotate":
                await onboarding.rotate(cell["tenant"], actor="crash")
            case "retire":
                await onboarding.retire(cell["tenant"], actor="crash")
            case kind:
                proposal = await onboarding.propose(
                    cell["tenant"],
                    ProvisionBody.model_validate(cell["body"]),
                    update=kind == "change",
                )
                await onboarding.apply(proposal, actor="crash")


def main() -> None:
    with read_once():
        botocore.session.get_session().create_client(
            "cognito-idp", region_name="eu-north-1"
        )  # which reads them, before it is forked
        for line in sys.stdin:
            pid = os.fork()
            if pid == 0:
                asyncio.run(provision(json.loads(line)))
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            print(
                json.dumps(
                    {"killed": os.WIFSIGNALED(status), "code": os.waitstatus_to_exitcode(status)}
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
