"""One run: the deployment, its clients, the schedule of faults, and the report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from tests.soak.chaos import checker
from tests.soak.chaos.clients import PEOPLE, PROBE_USER, TENANTS, Asked, Clients, Ingress
from tests.soak.chaos.deployment import AUTHS, Deployment
from tests.soak.chaos.faults import KINDS, named, schedule
from tests.soak.chaos.history import (
    AllHealed,
    Check,
    FaultInjected,
    History,
    InPool,
    ProviderEvent,
    Recovered,
    now,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.soak.chaos.certificates import Certificates
    from tests.soak.chaos.checker import Violation
    from tests.soak.chaos.faults import Planned
    from tests.soak.chaos.history import Line

LOOPS: Final = 4
"""Of clients that log in and end it again."""
FIRST_LOGINS_S: Final = 120.0
QUIET_S: Final = 1.0
"""Between a recovery and the next fault."""
FINISH_S: Final = 60.0
"""For what clients had begun when the time was over."""
SETTLE_S: Final = 90.0
"""Until every event was applied and nothing is left in the pool."""
SHOWN: Final = 20
FOUND_BY: Final = {"acknowledge-without-waiting": "allowed after an acknowledgment"}
"""Mutant → the rule that it breaks."""


@dataclass(frozen=True, slots=True)
class Options:
    seconds: float
    seed: int
    bound_s: float
    kinds: tuple[str, ...] = ()
    mutant: str = ""
    loops: int = LOOPS


@dataclass(slots=True)
class Report:
    """What is printed, and written as ``report.json``."""

    seed: int
    folder: str
    injected: Counter[str] = field(default_factory=Counter)
    not_injected: dict[str, str] = field(default_factory=dict)
    recovery_s: list[tuple[str, float | None]] = field(default_factory=list)
    operations: dict[str, int] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def lines(self) -> list[str]:
        times = [seconds for _, seconds in self.recovery_s if seconds is not None]
        slowest = sorted(self.recovery_s, key=lambda one: -(one[1] or 1e9))[:5]
        return [
            f"seed {self.seed}; artifacts {self.folder}",
            f"faults injected: {self.injected.total()}: {_counted(self.injected)}",
            *(f"not injected: {kind}: {why}" for kind, why in self.not_injected.items()),
            f"operations: {_counted(self.operations)}",
            f"checks by status (0: no answer): {_counted(self.checks)}",
            f"restarts by the supervisor: {_counted(self.restarts)}",
            "recovery since healed: "
            + (
                f"p50 {statistics.median(times):.1f} s, max {max(times):.1f} s; slowest: "
                + ", ".join(f"{kind} {_seconds(seconds)}" for kind, seconds in slowest)
                if times
                else "none measured"
            ),
            f"violations: {checker.summary(self.violations)}",
            *(f"  {violation}" for violation in self.violations[:SHOWN]),
        ]


def _counted(numbers: dict[Any, int] | Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(numbers.items())) or "none"


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


class Run:
    """Everything of one run that is not a client's."""

    def __init__(
        self, deployment: Deployment, history: History, options: Options, report: Report
    ) -> None:
        self.deployment, self.history, self.options = deployment, history, options
        self.report = report
        self.clients = Clients(deployment, history, options.seed, loops=options.loops)
        self._numbers = 0

    def plan(self) -> list[Planned]:
        """The schedule: the same for a seed, however long it takes to get through it."""
        wanted = [named(each) for each in self.options.kinds] or list(KINDS)
        kinds = [kind for kind in wanted if self.deployment.small_disks or not kind.root]
        for kind in wanted:
            if kind not in kinds:
                self.report.not_injected[kind.name] = "needs root"
        chance = random.Random(f"{self.options.seed} schedule")
        return schedule(chance, kinds, count=max(3, round(self.options.seconds / 4)))

    async def go(self) -> None:
        planned = self.plan()
        say(f"seed {self.options.seed}; schedule, as far as the time goes:")
        for number, plan in enumerate(planned, 1):
            say(f"  {number:3} {plan}")
        await self._first_logins()
        ends = now() + self.options.seconds
        say("everybody is signed in")
        working = asyncio.create_task(self.clients.work())
        try:
            for plan in planned:
                if now() > ends:
                    break
                await self._strike(plan)
                if working.done():
                    await working  # it raises: clients go on until they are told to stop
                if self._found():
                    return  # nobody waits for what was begun: it would change nothing
                await asyncio.sleep(QUIET_S)
            self.clients.stopping.set()
            await asyncio.wait({working}, timeout=FINISH_S)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        await self._end()

    def _found(self) -> bool:
        """Whether the mutant was: what else is missing by now may still come."""
        rule = FOUND_BY.get(self.options.mutant)
        return rule is not None and any(
            violation.rule == rule for violation in checker.violations(self.history.lines)
        )

    async def _first_logins(self) -> None:
        gate = asyncio.Semaphore(4)

        async def one(user: Any) -> None:
            async with gate:
                await self.clients.log_in_at_last(user)

        async with asyncio.timeout(FIRST_LOGINS_S):
            # A provider tells of nobody whom it has never provisioned, when they are deactivated.
            await self.clients.provision_by_scim()
            await self.clients.settled()
            await asyncio.gather(*map(one, self.clients.users))

    async def _strike(self, plan: Planned) -> None:
        self._numbers += 1
        began = now()
        async with contextlib.AsyncExitStack() as stack:
            for fault in plan.faults:
                await stack.enter_async_context(fault.kind.inject(self.deployment, fault.target))
            await asyncio.sleep(plan.seconds)
            healing = now()
        healed = now()
        for fault in plan.faults:
            kind = fault.kind.name
            self.report.injected[kind] += 1
            self.history.add(FaultInjected(self._numbers, kind, fault.target, began, healed))
        seconds, waited_for = await self._recover(healed)
        kinds = " and ".join(f"{f.kind.name} ({f.target})" for f in plan.faults)
        self.report.recovery_s.append((kinds, seconds))
        self.history.add(Recovered(self._numbers, kinds, seconds, self.options.bound_s, waited_for))
        say(
            f"fault {self._numbers:3} {kinds}: {healing - began:.1f} s, healed within "
            f"{healed - healing:.1f} s, recovered {_seconds(seconds)} later "
            f"(bound {self.options.bound_s:g} s)"
            + (f"; last waited for {waited_for}" if waited_for else "")
        )

    async def _recover(self, healed: float) -> tuple[float | None, str]:
        waited_for = ""
        while now() < healed + self.options.bound_s:
            missing = await self._missing()
            if not missing:
                return now() - healed, waited_for
            waited_for = missing
            await asyncio.sleep(0.2)
        return None, waited_for

    async def _missing(self) -> str:
        """What is not served yet; empty where all is."""
        for server in (self.deployment.postgres.primary, self.deployment.postgres.standby):
            if not server.alive():
                return f"{server.name}, which ended by itself: {server.log()[-300:].strip()}"
        for name, gateway in self.deployment.gateways.items():
            if not gateway.alive() or not await self.deployment.is_ready(name):
                return f"/readyz of {name}"
        for replica, name in enumerate(AUTHS):
            ingress = Ingress(self.deployment.gateways[name].ports["check"])
            try:
                for user in self.clients.users:
                    if user.stays:
                        session, cookie = next(iter(user.cookies.items()))
                        asked = Asked(session, cookie, user.tenant, user)
                        (check,) = await self.clients.check(ingress, replica, [asked])
                        if check.status != checker.ALLOW:
                            return f"a check by {name}: {check.status} {check.reason}"
            finally:
                ingress.close()
        body = {"tenant": "acme", "email": PROBE_USER, "kind": "end_sessions", "reason": "probe"}
        for _ in range(2):  # of either admin role
            status, answer, _ = await self.clients.admin("POST", "revocations", body)
            if status not in {200, 201}:
                detail = answer.get("detail", "") if isinstance(answer, dict) else ""
                return f"a revocation: {status} {detail}"
        return ""

    # --- the end ---------------------------------------------------------------------------------

    async def _end(self) -> None:
        say("the time is over: settling")
        events = await self._events()
        pool = await self._pool()
        self.history.add(AllHealed(now()))
        for replica, name in enumerate(AUTHS):
            ingress = Ingress(self.deployment.gateways[name].ports["check"])
            for user in self.clients.users:
                for session, cookie in user.cookies.items():
                    asked = [Asked(session, cookie, user.tenant, user)]
                    await self.clients.check(ingress, replica, asked)
            for gone in self.clients.ended:
                await self.clients.check(ingress, replica, [gone])
            ingress.close()
        for event in events:
            self.history.add(event)
        for one in pool:
            self.history.add(one)

    async def _events(self) -> list[ProviderEvent]:
        """Of Okta's log, once each was applied, or too much time has passed."""
        told = await self.deployment.ask_cloud("events", method="GET")
        accepted = Counter(what for what, status in told["sent"] if status == 200)
        deadline = now() + SETTLE_S
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                rows = await self.deployment.postgres.ask("SELECT event, state FROM hook_inbox")
                states: dict[str, list[str]] = {}
                for row in rows:
                    states.setdefault(row["event"], []).append(row["state"])
                found = [
                    ProviderEvent(uuid, what, accepted[what] > 0, tuple(states.get(uuid, ())))
                    for uuid, what in told["log"]
                    if what.startswith("user.lifecycle.")
                ]
                applied = all(set(one.states) & checker.APPLIED for one in found)
                if applied or now() > deadline:
                    return found
            await asyncio.sleep(0.5)

    async def _pool(self) -> list[InPool]:
        """Once the gateway knows nothing more of the customer that came and went."""
        deadline = now() + SETTLE_S
        while True:
            gone = await self.clients.offboard()
            there = await self.deployment.ask_cloud("pool", method="GET")
            found = [
                *(InPool("client", n, self.deployment.clients.get(n, "")) for n in there["client"]),
                *(
                    InPool("provider", n, n if n in TENANTS.values() else "")
                    for n in there["provider"]
                ),
            ]
            if (gone and all(one.owner for one in found)) or now() > deadline:
                return found
            await asyncio.sleep(0.5)


async def run(folder: Path, certificates: Certificates, options: Options) -> Report:
    """Raises whatever went wrong with the run itself."""
    report = Report(options.seed, str(folder))
    history = History(folder / "history.jsonl")
    try:
        say(f"starting; artifacts: {folder}")
        async with Deployment(
            folder, certificates, history, dict(PEOPLE), mutant=options.mutant
        ) as deployment:
            one = Run(deployment, history, options, report)
            await one.go()
            report.restarts = {n: g.restarts for n, g in deployment.gateways.items() if g.restarts}
        report.operations = dict(one.clients.counts)
    finally:
        history.close()
    report.checks = _by_status(history.lines)
    report.violations = checker.violations(history.lines)
    (folder / "report.json").write_text(json.dumps(report.lines(), indent=1))
    return report


def _by_status(lines: Sequence[Line]) -> dict[str, int]:
    return dict(Counter(str(line.status) for line in lines if isinstance(line, Check)))
