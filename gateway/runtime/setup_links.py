"""Setup links, as the admin role has them, and the end of their providers for tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.errors import UnavailableError
from gateway.setup.services import setup_services
from gateway.setup.trials import Trials

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.mail.mailer import Mailer
    from gateway.provisioning.service import Onboarding
    from gateway.runtime.hooks_role import HookRole
    from gateway.setup.services import SetupServices


async def setup_links(
    config: Config,
    database: Database,
    hooks: HookRole,
    onboarding: Onboarding | None,
    mailer: Mailer,
    stack: AsyncExitStack,
) -> SetupServices | None:
    """None where setup links are off. Started; ends with ``stack``."""
    setup = setup_services(config, database, mailer, onboarding)
    if setup is None or setup.renewal is None:
        return setup
    leader = hooks.leader("setup_trials")

    async def resign() -> None:
        with contextlib.suppress(UnavailableError):
            await leader.resign()

    stack.push_async_callback(resign)
    trials = Trials(setup.links, setup.renewal, leader.lead, database.clock)
    await stack.enter_async_context(trials.running())
    return setup
