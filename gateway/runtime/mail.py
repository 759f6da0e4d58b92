"""Mail, as the admin role sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.types import is_loopback_name
from gateway.mail.mailer import Mailer
from gateway.mail.outbox import MailOutbox
from gateway.mail.smtp import MailError, SmtpServer
from gateway.runtime.health import DependencyState

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter


async def open_mailer(
    config: Config, database: Database, committer: GroupCommitter, stack: AsyncExitStack
) -> Mailer:
    """Sending, where ``mail.host`` is set; ends with ``stack``. Raises ``ConfigError``."""
    settings = config.mail
    if settings.host is None or settings.sender is None:
        return Mailer(config, committer, None, None, clock=database.clock)
    server = SmtpServer(settings)
    outbox = MailOutbox(
        database,
        committer,
        server,
        sender=settings.sender,
        timeout_s=settings.timeout.total_seconds(),
        clock=database.clock,
    )
    await stack.enter_async_context(outbox.running())
    return Mailer(config, committer, outbox, server, clock=database.clock)


async def probe_mail(config: Config) -> DependencyState:
    """For `gateway config check`: whether the server takes mail from us. Nothing waits for it, so
    it is not needed to serve. Raises ``ConfigError``.
    """
    if config.mail.host is None:
        detail = "mail.host is not set: no mail is sent, and links are shown to be copied"
        return DependencyState("mail", ok=True, needed=False, detail=detail)
    try:
        reached = await SmtpServer(config.mail).probe()
    except MailError as error:
        return DependencyState("mail", ok=False, needed=False, detail=error.detail)
    warnings = ("mail.tls is none: links and codes pass the network in clear",) * (
        config.mail.tls == "none" and not is_loopback_name(config.mail.host)
    )
    return DependencyState("mail", ok=True, needed=False, detail=reached, warnings=warnings)
