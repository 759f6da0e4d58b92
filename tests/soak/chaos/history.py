"""What was asked, when, and what came of it: one JSON line for each operation, in the order in
which they completed. All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Scope = Literal["session", "user", "group", "tenant"]


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A login. ``began`` is when the browser set out, ``at`` when it had its cookie."""

    session: str
    user: str
    email: str
    tenant: str
    groups: tuple[str, ...]
    began: float
    at: float


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``session`` is empty for a cookie that is nobody's, ``status`` 0 where no answer
    came. ``host_tenant`` owns the host that was asked for; ``email`` and ``tenant`` are what the
    identity headers said.
    """

    session: str
    replica: int
    host_tenant: str
    sent: float
    at: float
    status: int
    reason: str = ""
    email: str = ""
    tenant: str = ""
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """Whatever takes access away: a revocation, a block, a logout, a removal at the identity
    provider, a narrower tenant.

    ``acknowledged`` is None until it was promised. What was tried and not promised may still take
    effect, until ``perhaps_until``. ``lasting``: also against sessions that begin later, until
    ``Lifted``. ``ends_sessions`` is False for a policy, which denies and leaves sessions as they
    are.
    """

    operation: str
    means: str
    scope: Scope
    tenant: str
    value: str
    sent: float
    acknowledged: float | None
    perhaps_until: float
    lasting: bool = False
    ends_sessions: bool = True


@dataclass(frozen=True, slots=True)
class Lifted:
    """The end of a lasting ``Ended``."""

    operation: str
    sent: float
    at: float | None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that is no check: of which listener, to what."""

    listener: Literal["public", "admin", "hooks"]
    what: str
    at: float
    status: int
    retry_after: bool


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """An event of an identity provider at the end of the run: whether it was accepted when it was
    sent, and the state of each row that the gateway has of it.
    """

    event: str
    what: str
    accepted: bool
    states: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Webhook:
    """One request that an application received."""

    message: str
    digest: str
    about: str
    at: float


@dataclass(frozen=True, slots=True)
class WebhookOwed:
    """Somebody was removed of whom the application has to hear."""

    about: str
    since: float


@dataclass(frozen=True, slots=True)
class InPool:
    """An app client or provider of the pool at the end; ``owner`` is empty for an orphan."""

    kind: str
    name: str
    owner: str


@dataclass(frozen=True, slots=True)
class FaultInjected:
    """``until`` is when it was healed."""

    number: int
    kind: str
    target: str
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class Recovered:
    """Since the fault was healed until all was served again; None where it was not within the
    bound.
    """

    number: int
    kind: str
    seconds: float | None
    bound: float
    waited_for: str = ""


@dataclass(frozen=True, slots=True)
class AllHealed:
    """From here on every session that nobody ended has to be allowed by every replica."""

    at: float


Line = (
    SessionStarted
    | Check
    | Ended
    | Lifted
    | Answered
    | ProviderEvent
    | Webhook
    | WebhookOwed
    | InPool
    | FaultInjected
    | Recovered
    | AllHealed
)
_TYPES: Final[dict[str, type[Line]]] = {
    kind.__name__: kind
    for kind in (
        SessionStarted,
        Check,
        Ended,
        Lifted,
        Answered,
        ProviderEvent,
        Webhook,
        WebhookOwed,
        InPool,
        FaultInjected,
        Recovered,
        AllHealed,
    )
}


class History:
    """Grows in memory and in a file."""

    def __init__(self, path: Path) -> None:
        self.lines: list[Line] = []
        self._file = path.open("w", encoding="ascii", buffering=1)

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self._file.write(f"{encode(line)}\n")

    def close(self) -> None:
        self._file.close()


def encode(line: Line) -> str:
    return json.dumps({"type": type(line).__name__, **dataclasses.asdict(line)})


def read(lines: Iterable[str]) -> list[Line]:
    """What ``History`` wrote. Raises ``KeyError`` or ``TypeError`` for anything else."""
    return [_decoded(json.loads(line)) for line in lines]


def _decoded(fields: dict[str, object]) -> Line:
    kind = _TYPES[str(fields.pop("type"))]
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()})  # type: ignore[arg-type]  # JSON has no types to check


now = time.monotonic
