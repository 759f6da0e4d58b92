"""The watch over connections to identity providers, as the admin role runs it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.errors import UnavailableError
from gateway.expiry.letters import ExpiryLetters
from gateway.expiry.look import Looker
from gateway.expiry.records import ConnectionRecords
from gateway.expiry.watch import ConnectionWatch
from gateway.provisioning.metadata_reload import reload_metadata
from gateway.provisioning.wiring import discovery_over

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.mail.mailer import Mailer
    from gateway.provisioning.service import Onboarding
    from gateway.runtime.hooks_role import HookRole
    from gateway.tenants.publisher import Publisher


async def watched_connections(
    config: Config,
    database: Database,
    hooks: HookRole,
    onboarding: Onboarding | None,
    publisher: Publisher,
    mailer: Mailer,
    stack: AsyncExitStack,
) -> ConnectionWatch:
    """Started; ends with ``stack``. Without ``onboarding``, SAML providers are not looked at."""
    leader = hooks.leader("connections")

    async def reload(tenant: str, provider: str, pool: str) -> bool:
        return onboarding is not None and await reload_metadata(
            onboarding.provisioning, tenant, provider, pool=pool
        )

    async def resign() -> None:
        with contextlib.suppress(UnavailableError):
            await leader.resign()

    watch = ConnectionWatch(
        Looker(
            discovery_over(config),
            hooks.graph,
            pool=None if onboarding is None else onboarding.provisioning.pools.named,
            reload=reload,
            development=config.development,
            clock=database.clock,
        ),
        ConnectionRecords(
            database,
            hooks.committer,
            hooks.outbox,
            letters=ExpiryLetters(mailer, lambda: publisher.records),
            clock=database.clock,
        ),
        records=lambda: publisher.records,
        leads=leader.lead,
        clock=database.clock,
    )
    stack.push_async_callback(resign)
    await stack.enter_async_context(watch.running())
    return watch
