"""What of setup links the admin API is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.setup.letters import SetupLetters
from gateway.setup.links import SetupLinks
from gateway.setup.model import Approval

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.mail.mailer import Mailer


@dataclass(frozen=True, slots=True)
class SetupServices:
    """``origin``: of the login host, where the pages of links are; ``approval``: of links that do
    not say it.
    """

    links: SetupLinks
    letters: SetupLetters
    origin: str
    approval: Approval = Approval.REQUIRED


def setup_services(config: Config, database: Database, mailer: Mailer) -> SetupServices | None:
    """None where setup links are off."""
    if not config.setup.enabled or config.login_host is None:
        return None
    origin = config.origin(config.login_host)
    return SetupServices(
        SetupLinks(database, clock=database.clock),
        SetupLetters(mailer, origin, config.setup.support),
        origin,
        Approval(config.setup.approval),
    )
