"""Events are lost, and the next reading finds every one: the Okta-like log and the Graph-like
delta, while a share of all events is never sent.

``python -m tests.soak.lost_events [--people 60] [--rounds 10] [--loss 0.3] [--seed 1]``. Each round
people leave and rejoin groups, are suspended and reactivated; then one interval passes. After it,
what stands must be what the directories say, for everybody.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.hooks.living import INTERVAL_S, living_hooks
from tests.hooks.world import SECRET

if TYPE_CHECKING:
    from demo.idp.directory import Person
    from gateway.database.engine import Database
    from tests.hooks.living import Living

GROUP = "app-users"
PROVIDERS = ("acme-okta", "globex-entra")
SETTLE_S = 10.0
"""Longer than a look-up waits after a refusal."""


@dataclass
class Outcome:
    """``wrong_before``: people who stood wrong just before the readings, because of what was
    lost.
    """

    people: int = 0
    changes: int = 0
    lost: int = 0
    wrong_before: int = 0
    rounds: int = 0

    def line(self) -> str:
        return (
            f"{self.people} people, {self.rounds} rounds, {self.changes} changes, {self.lost} "
            f"events lost: {self.wrong_before} stood wrong before the readings, 0 after"
        )


async def run(database: Database, *, people: int, rounds: int, loss: float, seed: int) -> Outcome:
    """Raises ``AssertionError`` where somebody stands wrong after a reading."""
    chance, outcome = random.Random(seed), Outcome(rounds=rounds)
    async with living_hooks(database) as living:
        everybody = [(p, _hire(living, p, n)) for n in range(people) for p in (PROVIDERS[n % 2],)]
        outcome.people = len(everybody)
        await living.okta.register(f"{living.world.url}/hooks/okta/acme/acme-okta", secret=SECRET)
        await living.round()
        outboxes = (living.okta.outbox, living.graph.subscriptions.outbox)
        for outbox in outboxes:
            outbox.switches.loss = loss
        for number in range(rounds):
            for provider, person in everybody:
                if chance.random() < 0.6:
                    outcome.changes += 1
                    living.clock.advance(1)
                    await _change(living, provider, person, chance)
            for outbox in outboxes:
                await outbox.idle()
            await _settled(living)
            outcome.wrong_before += len(
                {who for _, who in living.refused() ^ _truth(living, everybody)}
            )
            living.clock.advance(INTERVAL_S + 1)
            await living.reconciliation.round()
            await _settled(living)
            stands, truth = living.refused(), _truth(living, everybody)
            assert stands == truth, (
                f"round {number}: refused for nothing {sorted(stands - truth)}, not "
                f"refused {sorted(truth - stands)}"
            )
        outcome.lost = sum(len(outbox.lost) for outbox in outboxes)
    return outcome


def _hire(living: Living, provider: str, number: int) -> Person:
    domain = "acme.test" if provider == "acme-okta" else "globex.test"
    found: Person = living.directory(provider).add_person(
        f"person{number}@{domain}", name=f"Person {number}", groups=(GROUP,)
    )
    return found


async def _change(living: Living, provider: str, person: Person, chance: random.Random) -> None:
    directory: Any = living.directory(provider)
    group = living.group(GROUP, provider)
    member, active = group in directory.groups_of(person), directory.can_sign_in(person)
    if chance.random() < 0.5:
        await (directory.remove_from_group if member else directory.add_to_group)(person, group)
    elif provider == "acme-okta":
        await (directory.suspend if active else directory.unsuspend)(person)
    else:
        await (directory.deactivate if active else directory.activate)(person)


async def _settled(living: Living) -> None:
    """Look-ups wait for the directory to settle: the clock is ours."""
    async with asyncio.timeout(120):
        looks = 0
        while (await living.world.inbox.backlog())[0]:
            if looks % 25 == 0:
                # Not faster than the lanes' leases are used.
                living.clock.advance(SETTLE_S)
            looks += 1
            living.world.applier.wake()
            await asyncio.sleep(0.02)


def _truth(living: Living, everybody: list[tuple[str, Person]]) -> set[tuple[str, str]]:
    """What the directories say now, in the words of ``Living.refused``."""
    found: set[tuple[str, str]] = set()
    for provider, person in everybody:
        directory = living.directory(provider)
        if living.group(GROUP, provider) not in directory.groups_of(person):
            found.add((GROUP, person.id))
        if not directory.can_sign_in(person):
            found.add(("block", person.id))
    return found


if __name__ == "__main__":
    import argparse
    import sys
    import tempfile
    from pathlib import Path

    from gateway.database.engine import open_database
    from tests.database.fixtures import config_with, database_keys

    async def main(**options: Any) -> str:
        with tempfile.TemporaryDirectory() as folder:
            database = open_database(config_with(Path(folder)), database_keys())
            await database.prepare()
            try:
                return (await run(database, **options)).line()
            finally:
                await database.close()

    parser = argparse.ArgumentParser(prog="scripts/soak lost-events", description=__doc__)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--loss", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    sys.stdout.write(asyncio.run(main(**vars(parser.parse_args()))) + "\n")
