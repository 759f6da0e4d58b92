"""Exactly once: a hooks process killed with SIGKILL at random points under deliveries with
duplicates and reorderings.

The sender repeats what was not acknowledged, as Okta's retry and the backfill together do.
Afterwards every event's effect is there, the standing is the one that the reducer gives for the set
of events, and a webhook was repeated only under its own id and body.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sqlite3
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from demo.net import bind, serve
from demo.processes import die_with_parent, free_port
from gateway.config.model import EMBEDDED_DATABASE
from gateway.hooks.ordering import AccountState, reduce
from gateway.hooks.sources import okta
from gateway.keys import ring as key_ring
from tests.hooks.samples import okta_delivery, okta_event, raw
from tests.soak.hook_process import SECRET

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE = 40
KINDS = ("user.lifecycle.suspend", "user.lifecycle.unsuspend", "user.session.clear")


@dataclass
class Outcome:
    """What was seen. Milliseconds; ``to_applied`` is from the sender's first attempt to the
    revoker's call, restarts included.
    """

    deliveries: int = 0
    attempts: int = 0
    kills: int = 0
    ack_ms: list[float] = field(default_factory=list)
    to_applied_ms: list[float] = field(default_factory=list)
    webhooks: int = 0
    messages: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        def percentile(values: list[float], n: int) -> str:
            return f"{statistics.quantiles(values, n=100)[n - 1]:.1f}" if len(values) > 1 else "–"

        return (
            f"{self.deliveries} deliveries ({self.attempts} attempts) in "
            f"{self.seconds:.1f} s, {self.kills} kills; acknowledged p50 "
            f"{percentile(self.ack_ms, 50)} ms, "
            f"p99 {percentile(self.ack_ms, 99)} ms, max {max(self.ack_ms):.1f} ms; applied "
            f"p50 {percentile(self.to_applied_ms, 50)} ms, p99 "
            f"{percentile(self.to_applied_ms, 99)} ms; "
            f"{self.messages} messages in {self.webhooks} webhook requests"
        )


async def run(
    state: Path, *, deliveries: int, kills: int, seed: int, parallel: int = 16
) -> Outcome:
    """Raises ``AssertionError`` for whatever is not as promised."""
    chance = random.Random(seed)
    await asyncio.to_thread(_prepare, state)
    outcome = Outcome(deliveries=deliveries, kills=kills)
    events = _events(deliveries, chance)
    received: list[tuple[str, bytes]] = []

    async def webhook(request: web.Request) -> web.Response:
        received.append((request.headers["webhook-id"], await request.read()))
        return web.Response(status=500 if chance.random() < 0.02 else 204)

    app = web.Application()
    app.router.add_post("/", webhook)
    receiver = bind()
    runner = await serve(app, receiver)
    process = Process(state, free_port(), receiver.url())
    started = time.monotonic()
    try:
        await process.start()
        order = [e for e in events for _ in range(2 if chance.random() < 0.2 else 1)]
        _shuffle_nearby(order, chance)
        left = asyncio.Queue[dict[str, Any]]()
        for event in order:
            left.put_nowait(event)
        first_sent: dict[str, float] = {}
        async with aiohttp.ClientSession() as http:
            senders = [
                asyncio.create_task(_send(http, process, left, first_sent, outcome))
                for _ in range(parallel)
            ]
            for n in range(kills):
                goal = len(order) * (n + 1) // (kills + 1)
                while len(order) - left.qsize() < goal:  # noqa: ASYNC110 - the moment of the kill is a matter of chance
                    await asyncio.sleep(0.005)
                await asyncio.sleep(chance.random() * 0.05)
                await process.kill()
                await process.start()
            await asyncio.gather(*senders)
            await _drained(state)
        outcome.seconds = time.monotonic() - started
    finally:
        await process.kill()
        await runner.cleanup()
    _judge(state, events, received, first_sent, outcome)
    return outcome


def _prepare(state: Path) -> None:
    state.mkdir(parents=True, exist_ok=True)
    (state / "keys.json").write_text(key_ring.dump(key_ring.generate()), "ascii")
    (state / "keys.json").chmod(0o600)


def _events(count: int, chance: random.Random) -> list[dict[str, Any]]:
    found = []
    for n in range(count):
        second, milli = divmod(n, 1000)
        published = (
            f"2026-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{milli:03}Z"
        )
        event = okta_event(
            chance.choice(KINDS),
            uuid=f"u-{n}",
            user=f"00u{chance.randrange(PEOPLE)}",
            published=published,
        )
        event["target"][0]["alternateId"] = "unknown"
        found.append(event)
    return found


def _shuffle_nearby(order: list[dict[str, Any]], chance: random.Random) -> None:
    for n in range(len(order)):
        other = min(len(order) - 1, n + chance.randrange(20))
        order[n], order[other] = order[other], order[n]


class Process:
    """The hooks process; started again on the same port with the same state."""

    def __init__(self, state: Path, port: int, webhook: str) -> None:
        self._state, self._port, self._webhook = state, port, webhook
        self.url = f"http://127.0.0.1:{port}"
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._state / "log").open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.soak.hook_process",
                str(self._state),
                str(self._port),
                self._webhook,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{self.url}/hooks/okta/acme/acme-okta"):
                        return
                assert self._running.returncode is None, (self._state / "log").read_text()
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self._running is not None and self._running.returncode is None:
            self._running.kill()
            await self._running.wait()


async def _send(
    http: aiohttp.ClientSession,
    process: Process,
    left: asyncio.Queue[dict[str, Any]],
    first_sent: dict[str, float],
    outcome: Outcome,
) -> None:
    while not left.empty():
        event = left.get_nowait()
        body = raw(okta_delivery(event, event_id=f"e-{random.getrandbits(64)}"))
        first_sent.setdefault(event["uuid"], time.time())
        while True:
            outcome.attempts += 1
            began = time.perf_counter()
            try:
                timeout = aiohttp.ClientTimeout(total=3)
                headers = {"Authorization": SECRET, "Content-Type": "application/json"}
                async with http.post(
                    f"{process.url}/hooks/okta/acme/acme-okta",
                    data=body,
                    headers=headers,
                    timeout=timeout,
                ) as response:
                    if response.status == 200:
                        outcome.ack_ms.append((time.perf_counter() - began) * 1000)
                        break
                    assert response.status == 503, response.status
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.02)


async def _drained(state: Path) -> None:
    """Until nothing waits: events applied (a dead holder's lanes after their lease), messages
    sent.
    """
    async with asyncio.timeout(180):
        while _query(  # noqa: ASYNC110 - another process finishes
            state,
            (
                "SELECT (SELECT count(*) FROM hook_inbox WHERE state = 'new') + (SELECT "
                "count(*) FROM webhooks_outbox WHERE state = 'new')"
            ),
        ) != [(0,)]:
            await asyncio.sleep(0.1)


def _query(state: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(
        sqlite3.connect(f"file:{state / EMBEDDED_DATABASE}?mode=ro", uri=True, timeout=30)
    ) as connection:
        return connection.execute(sql).fetchall()


def _judge(
    state: Path,
    events: list[dict[str, Any]],
    received: list[tuple[str, bytes]],
    first_sent: dict[str, float],
    outcome: Outcome,
) -> None:
    states = dict(_query(state, "SELECT event, state FROM hook_inbox"))
    assert states.keys() == {e["uuid"] for e in events}, "an event is lost"
    assert set(states.values()) <= {"applied", "applied_to_nobody", "ignored"}, (
        "an event was not applied"
    )
    said = [json.loads(line) for line in (state / "said").read_text().splitlines()]
    expected: dict[str, AccountState | None] = {}
    refusals: dict[str, int] = {}
    for event in okta.log_entries(events).events:
        assert event.subject is not None
        person = event.subject.idp_subject
        expected[person], _ = reduce(expected.get(person), event, time.time())
        refusals[person] = refusals.get(person, 0) + (event.type != "user.lifecycle.unsuspend")
    blocked: dict[str, bool] = {}
    calls: dict[str, int] = {}
    for _, verb, kind, person, _ in said:
        if verb == "revoke":
            calls[person] = calls.get(person, 0) + 1
        if kind == "block":
            blocked[person] = verb == "revoke"
    for person, standing in expected.items():
        assert blocked.get(person, False) == (standing is not None and standing.refused), (
            f"{person} stands wrong"
        )
        assert calls.get(person, 0) >= refusals[person], f"a refusal of {person} had no effect"
    bodies: dict[str, bytes] = {}
    told: dict[str, list[str]] = {}
    for message, body in received:
        if bodies.setdefault(message, body) != body:
            raise AssertionError(f"{message} was sent with another body")
    for body in bodies.values():
        document = json.loads(body)
        told.setdefault(document["data"]["subject"]["idp_subject"], []).append(document["type"])
    for person, types in told.items():
        assert all(a != b for a, b in itertools.pairwise(types)), (
            f"{person}: a message was made twice: {types}"
        )
        assert (types[-1] == "user.deprovisioned") == blocked.get(person, False), (
            f"{person}: the app believes something else"
        )
    assert {r[0] for r in _query(state, "SELECT id FROM webhooks_outbox")} == set(bodies), (
        "a message was never sent"
    )
    first_applied: dict[str, float] = {}
    for at, _, _, person, _ in said:
        first_applied.setdefault(person, at)
    outcome.to_applied_ms = _applied_after(state, first_sent)
    outcome.webhooks, outcome.messages = len(received), len(bodies)


def _applied_after(state: Path, first_sent: dict[str, float]) -> list[float]:
    rows = _query(state, "SELECT event, applied_at FROM hook_inbox WHERE applied_at IS NOT NULL")
    return [(at - first_sent[uuid]) * 1000 for uuid, at in rows]


if __name__ == "__main__":
    import argparse
    import tempfile
    from pathlib import Path

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(
            asyncio.run(
                run(
                    Path(folder) / "state",
                    deliveries=arguments.deliveries,
                    kills=arguments.kills,
                    seed=arguments.seed,
                )
            ).line()
        )
