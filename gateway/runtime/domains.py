"""The watch over domains, as the admin role runs it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.domains.exchange import Server
from gateway.domains.lookup import Lookup
from gateway.domains.records import DomainRecords
from gateway.domains.service import Domains
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.keys.file import KeyFile
    from gateway.mail.mailer import Mailer
    from gateway.runtime.hooks_role import HookRole
    from gateway.tenants.publisher import Publisher


async def watched_domains(
    config: Config,
    ring: KeyFile,
    database: Database,
    hooks: HookRole,
    publisher: Publisher,
    mailer: Mailer,
    stack: AsyncExitStack,
) -> Domains:
    """Started; ends with ``stack``."""
    leader = hooks.leader("domains")

    async def resign() -> None:
        with contextlib.suppress(UnavailableError):
            await leader.resign()

    domains = Domains(
        DomainRecords(database, clock=database.clock),
        Lookup(
            [_server(text) for text in config.domains.resolvers],
            networks=config.hooks.private_networks,
        ),
        mailer,
        hooks.outbox,
        records=lambda: publisher.records,
        file_records=lambda: publisher.file_records,
        keys=lambda: tuple(key.material for key in ring().database),
        leads=leader.lead,
        clock=database.clock,
    )
    stack.push_async_callback(resign)
    await stack.enter_async_context(domains.running())
    return domains


def _server(text: str) -> Server:
    """As the configuration has it: an address, or an IPv4 address with a port."""
    address, _, port = text.partition(":")
    return Server(text) if text.count(":") != 1 else Server(address, int(port))
