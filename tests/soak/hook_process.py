"""A hooks process of its own, to be killed: the shipped listener, inbox, applier and outbox, and a
revoker that writes down what it is told.

``python -m tests.soak.hook_process STATE_DIR PORT WEBHOOK_URL``; each line of ``STATE_DIR/said`` is
one call of the revoker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from demo.net import bind, serve
from gateway.core.hook_target import HookTarget, WebhookTarget
from gateway.core.model import ProviderKind, Secret
from gateway.core.revocation import RevocationRequest, RevocationStatus
from gateway.database.engine import open_database
from gateway.database.group_commit import GroupCommitter
from gateway.hooks.activity import ActivityCounter
from gateway.hooks.applier import Applier
from gateway.hooks.group_names import GroupNames
from gateway.hooks.inbox import Inbox
from gateway.hooks.issuer_keys import IssuerKeys
from gateway.hooks.receive import application
from gateway.hooks.receive.services import HookServices
from gateway.hooks.removal_limit import Brake, BrakeLimits
from gateway.hooks.scim.store import ScimStore
from gateway.hooks.webhooks.outbox import Outbox
from gateway.keys import ring as key_ring
from tests.database.fixtures import config_with

SECRET, WEBHOOK_SECRET = "soak-hook-secret-0123456789", "soak-webhook-secret"
TARGET = HookTarget(
    tenant="acme",
    provider="acme-okta",
    kind=ProviderKind.OKTA,
    issuer="http://127.0.0.1:1",
    secrets=(Secret(SECRET),),
    directory_id=None,
    client_id=None,
    client_secret=None,
    api_token=None,
    api_url=None,
    audience=None,
    groups_used=None,
    allowed_groups=None,
)


class OneTenant:
    def __init__(self, webhook: str) -> None:
        self._webhook = WebhookTarget("acme", webhook, (Secret(WEBHOOK_SECRET),))

    def find(self, tenant: str, provider: str) -> HookTarget | None:
        return TARGET if (tenant, provider) == TARGET.key else None

    def of(self, tenant: str) -> list[HookTarget]:
        return [TARGET] if tenant == TARGET.tenant else []

    async def all(self) -> list[HookTarget]:
        return [TARGET]

    def webhook(self, tenant: str) -> WebhookTarget | None:
        return self._webhook if tenant == "acme" else None


class WritingRevoker:
    """One ``write`` per call: what the kernel took survives the death of this process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def revoke(self, request: RevocationRequest) -> RevocationStatus:
        return self._write("revoke", request)

    async def exempt(self, request: RevocationRequest) -> bool:
        return False

    async def lift(self, request: RevocationRequest) -> RevocationStatus:
        return self._write("lift", request)

    def _write(self, verb: str, request: RevocationRequest) -> RevocationStatus:
        line = json.dumps(
            [time.time(), verb, request.kind.value, request.who.idp_subject, request.reason]
        )
        os.write(self._file, line.encode() + b"\n")
        return RevocationStatus("r", request, 0.0, 0.0, (), 0.0, 0)

    async def status(self, revocation_id: str) -> RevocationStatus | None:
        return None

    def stream(self, *, after: str | None = None) -> Any:
        raise NotImplementedError


async def main(state: Path, port: int, webhook: str, database_url: str) -> None:
    config = config_with(state, database={"url": database_url})
    ring = key_ring.parse_key_ring((state / "keys.json").read_text("ascii"), source="keys.json")
    database = open_database(config, lambda: ring.database)
    await database.prepare()
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        committer = GroupCommitter(database)
        await stack.enter_async_context(committer.running())
        targets = OneTenant(webhook)
        inbox = Inbox(database, committer, holder=f"pid-{os.getpid()}", lease_s=3.0)
        outbox = Outbox(database, committer, targets=targets, http=http, clock=time.time)
        revoker = WritingRevoker(state / "said")
        applier = Applier(
            inbox,
            committer,
            names=GroupNames(database),
            targets=targets,
            revoker=revoker,
            people=None,
            directory=None,
            outbox=outbox,
            clock=time.time,
            apply_s=2.0,
            brake=Brake(database, BrakeLimits(unknown=1_000_000), clock=time.time),
        )
        await stack.enter_async_context(outbox.running())
        await stack.enter_async_context(applier.running())
        services = HookServices(
            targets=targets,
            accept=applier.accept,
            scim=ScimStore(database, committer, inbox, clock=time.time),
            stored=applier.wake,
            activity_counter=ActivityCounter(database, committer, clock=time.time),
            keys=IssuerKeys(http, monotonic=time.monotonic),
            url=None,
            clock=time.time,
        )
        runner = await serve(application(services), bind(port))
        stack.push_async_callback(runner.cleanup)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(
        main(
            Path(sys.argv[1]),
            int(sys.argv[2]),
            sys.argv[3],
            sys.argv[4] if len(sys.argv) > 4 else "embedded",
        )
    )
