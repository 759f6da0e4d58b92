"""What has to hold of every history, whatever went wrong on the way. As Jepsen's checkers, over
``history``: a rule is a function from the history to its violations.

``python -m tests.soak.chaos.checker HISTORY`` checks a file again.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.soak.chaos.history import (
    AllHealed,
    Answered,
    Check,
    Ended,
    InPool,
    Lifted,
    ProviderEvent,
    Recovered,
    SessionStarted,
    Webhook,
    WebhookOwed,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.soak.chaos.history import Line

ALLOW, DENY, UNAVAILABLE = 200, frozenset({401, 403}), 503
STATUSES: Final = {
    "check": frozenset({200, 401, 403, 503}),
    "public": frozenset({200, 302, 303, 400, 401, 403, 404, 429, 502, 503, 504}),
    "admin": frozenset({200, 201, 202, 204, 400, 404, 409, 412, 428, 429, 502, 503}),
    "hooks": frozenset({200, 201, 202, 204, 400, 401, 404, 409, 429, 503}),
}
"""Of each listener: what its documents define. Behind a stand-in that lies, 502 is one of them."""
GRANT_WITHIN_S: Final = 30.0
"""A change that only grants is not waited for: so long may a replica deny by what was before."""
APPLIED = frozenset({"applied", "applied_to_nobody", "ignored"})


@dataclass(frozen=True, slots=True)
class Violation:
    rule: str
    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.at:.3f}: {self.what}"


class Account:
    """The history, by what the rules ask it for."""

    def __init__(self, history: Sequence[Line]) -> None:
        self.history = history
        self.checks = [line for line in history if isinstance(line, Check)]
        self.sessions = {line.session: line for line in history if isinstance(line, SessionStarted)}
        self.lifted = {line.operation: line for line in history if isinstance(line, Lifted)}
        self._ended: dict[tuple[str, str, str], list[Ended]] = defaultdict(list)
        for line in history:
            if isinstance(line, Ended):
                self._ended[line.scope, line.tenant, line.value].append(line)

    def ended(self, session: SessionStarted) -> Iterator[Ended]:
        """What concerns this session, whenever it was."""
        tenant = session.tenant
        yield from self._ended["session", tenant, session.session]
        yield from self._ended["user", tenant, session.user]
        yield from self._ended["tenant", tenant, ""]
        for group in session.groups:
            yield from self._ended["group", tenant, group]

    def of_sessions(self) -> Iterator[tuple[Check, SessionStarted]]:
        """Checks of a session at a host of its own tenant."""
        for check in self.checks:
            session = self.sessions.get(check.session)
            if session is not None and check.host_tenant == session.tenant:
                yield check, session


def revocation(account: Account) -> Iterator[Violation]:
    """No check sent after an acknowledgment allows what was ended."""
    for check, session in account.of_sessions():
        if check.status != ALLOW:
            continue
        for ended in account.ended(session):
            if ended.acknowledged is not None and _must_deny(account, ended, session, check):
                yield Violation(
                    "allowed after an acknowledgment",
                    check.at,
                    f"{check.session} of {session.user} by replica {check.replica}, sent "
                    f"{check.sent - ended.acknowledged:.3f} s after {ended.operation} "
                    f"({ended.means}, {ended.scope})",
                )


def _must_deny(account: Account, ended: Ended, session: SessionStarted, check: Check) -> bool:
    assert ended.acknowledged is not None
    if check.sent <= ended.acknowledged:
        return False
    if ended.ends_sessions and session.at < ended.sent:
        return True
    if not ended.lasting:
        return False
    lifted = account.lifted.get(ended.operation)
    return lifted is None or check.at < lifted.sent


def wrong_logout(account: Account) -> Iterator[Violation]:
    """Nobody is denied of whom nobody asked it, and at the end they are all allowed."""
    healed = min((a.at for a in account.history if isinstance(a, AllHealed)), default=float("inf"))
    for check, session in account.of_sessions():
        if check.status in DENY and not any(
            _may_deny(account, ended, session, check) for ended in account.ended(session)
        ):
            yield Violation(
                "wrong logout",
                check.at,
                f"{check.session} of {session.user} by replica {check.replica}: {check.status} "
                f"{check.reason}, {check.sent - session.at:.3f} s after the login",
            )
        elif check.sent > healed and check.status not in {ALLOW, *DENY}:
            yield Violation(
                "not served after recovery",
                check.at,
                f"{check.session} by replica {check.replica}: {check.status} {check.reason}",
            )


def _may_deny(account: Account, ended: Ended, session: SessionStarted, check: Check) -> bool:
    if check.at < ended.sent:
        return False
    if ended.ends_sessions and session.began < max(ended.acknowledged or 0.0, ended.perhaps_until):
        return True
    if not ended.lasting:
        return False
    lifted = account.lifted.get(ended.operation)
    return lifted is None or lifted.at is None or check.sent < lifted.at + GRANT_WITHIN_S


def identity(account: Account) -> Iterator[Violation]:
    """Who is allowed is the owner of the session, in its tenant, at a host of that tenant."""
    for check in account.checks:
        if check.status != ALLOW:
            continue
        session = account.sessions.get(check.session)
        if session is None:
            yield Violation("allowed without a session", check.at, f"replica {check.replica}")
        elif (check.email, check.tenant) != (session.email, session.tenant):
            yield Violation(
                "wrong identity",
                check.at,
                f"{check.session} of {session.email} in {session.tenant} was named "
                f"{check.email} in {check.tenant} by replica {check.replica}",
            )
        elif check.host_tenant != session.tenant:
            yield Violation(
                "wrong tenant",
                check.at,
                f"{check.session} of {session.tenant} at a host of {check.host_tenant}",
            )


def retry_after(account: Account) -> Iterator[Violation]:
    """Every 503 says when to ask again."""
    for line in account.history:
        if isinstance(line, Check | Answered) and line.status == 503 and not line.retry_after:
            what = line.reason if isinstance(line, Check) else f"{line.listener}, {line.what}"
            yield Violation("503 without Retry-After", line.at, what)


def statuses(account: Account) -> Iterator[Violation]:
    """Nothing is answered but what the documents define; no answer at all is the network's."""
    for line in account.history:
        if not isinstance(line, Check | Answered) or line.status == 0:
            continue
        listener = "check" if isinstance(line, Check) else line.listener
        if line.status not in STATUSES[listener]:
            what = line.reason if isinstance(line, Check) else line.what
            yield Violation("undefined status", line.at, f"{listener}: {line.status} {what}")


def events(account: Account) -> Iterator[Violation]:
    """Each event is there once, and was applied, accepted or found by reconciliation; each webhook
    that is owed was sent, and a repetition of it is the same.
    """
    end = max((_time_of(line) for line in account.history), default=0.0)
    bodies: dict[str, set[str]] = defaultdict(set)
    told: list[Webhook] = []
    for line in account.history:
        if isinstance(line, ProviderEvent):
            if len(line.states) > 1:
                yield Violation("event twice", end, f"{line.event} ({line.what}): {line.states}")
            elif not set(line.states) & APPLIED:
                said = "accepted" if line.accepted else "sent"
                yield Violation(
                    "event lost", end, f"{line.event} ({line.what}), {said}: {line.states or '-'}"
                )
        elif isinstance(line, Webhook):
            bodies[line.message].add(line.digest)
            told.append(line)
    for message, digests in bodies.items():
        if len(digests) > 1:
            yield Violation("webhook changed", end, message)
    for line in account.history:
        if isinstance(line, WebhookOwed) and not any(
            line.about in one.about and one.at >= line.since for one in told
        ):
            yield Violation("webhook lost", end, f"about {line.about}, since {line.since:.3f}")


def orphans(account: Account) -> Iterator[Violation]:
    """Whatever is in the pool is somebody's."""
    for line in account.history:
        if isinstance(line, InPool) and not line.owner:
            yield Violation("orphan in the pool", 0.0, f"{line.kind} {line.name}")


def recovery(account: Account) -> Iterator[Violation]:
    """All is served again within the bound."""
    for line in account.history:
        if isinstance(line, Recovered) and (line.seconds is None or line.seconds > line.bound):
            seconds = "not" if line.seconds is None else f"{line.seconds:.1f} s"
            yield Violation(
                "recovery too slow",
                0.0,
                f"fault {line.number} ({line.kind}): {seconds}, bound {line.bound:g} s; "
                f"{line.waited_for}",
            )


def _time_of(line: Line) -> float:
    return float(getattr(line, "at", None) or 0.0)


RULES: Final[tuple[Callable[[Account], Iterator[Violation]], ...]] = (
    revocation,
    wrong_logout,
    identity,
    retry_after,
    statuses,
    events,
    orphans,
    recovery,
)


def violations(history: Sequence[Line]) -> list[Violation]:
    account = Account(history)
    return sorted(chain.from_iterable(rule(account) for rule in RULES), key=lambda v: v.at)


def summary(found: Iterable[Violation]) -> str:
    counted = Counter(violation.rule for violation in found)
    return ", ".join(f"{number} × {rule}" for rule, number in counted.most_common()) or "none"


def main() -> int:
    found = violations(read(Path(sys.argv[1]).read_text("ascii").splitlines()))
    for violation in found:
        print(violation)
    print(f"violations: {summary(found)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
