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
    from gateway.provisioning.renewal import Renewal
    from gateway.provisioning.service import Onboarding


@dataclass(frozen=True, slots=True)
class SetupServices:
    """``origin``: of the login host, where the pages of links are; ``approval``: of links that do
    not say it.
    """

    links: SetupLinks
    letters: SetupLetters
    origin: str
    approval: Approval = Approval.REQUIRED
    proof_required: bool = False
    """Whether a tenant proves its domains before its document names them."""
    renewal: Renewal | None = None
    """None where no user pool is administered."""


def _console(config: Config) -> str:
    """Where operators approve; "" without a console."""
    host = config.console.host
    return "" if host is None else f"{config.origin(host)}/console"


def setup_services(
    config: Config, database: Database, mailer: Mailer, onboarding: Onboarding | None
) -> SetupServices | None:
    """None where setup links are off."""
    if not config.setup.enabled or config.login_host is None:
        return None
    origin = config.origin(config.login_host)
    return SetupServices(
        SetupLinks(database, clock=database.clock),
        SetupLetters(mailer, origin, config.setup.support, _console(config)),
        origin,
        Approval(config.setup.approval),
        config.domains.proof == "required",
        None if onboarding is None else onboarding.renewal,
    )
