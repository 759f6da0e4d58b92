"""How each primary of the store does: would a check of somebody who has a session be answered? For
``/readyz``, the gauges and the log.

Rules:
- What is asked is what a check needs: a primary that takes a write, as many replicas as
  ``redis.min_replicas`` that confirm it, buckets that were brought up to the record, and a tenant
  snapshot here that is new enough.
- It is asked in the background, so that whoever wants to know is answered at once, whatever hangs.
- A state is logged when it changes, and not again.
- Their time comes with the answer: how far this machine's wall clock is from it is told too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from gateway.errors import UnavailableError, UnconfirmedError
from gateway.log import fields
from gateway.metrics import STORE_PRIMARIES
from gateway.sessions.clock_offset import ClockOffset, offset_s
from gateway.sessions.connection import Script, unavailable
from gateway.sessions.keyspace import BUCKETS, prefix
from gateway.sessions.lease_client import steady

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from gateway.sessions.connection import RedisClient

READY: Final = Script.load("ready")
LOOK_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.25
"""While something is wrong: what is mended is wanted back."""
ANSWER_S: Final = 2.0
"""For one primary; the others are asked meanwhile."""
KNOWN_S: Final = 10.0
"""How long a look is believed; the longest takes ``ANSWER_S`` and the Cluster's word where the
primaries are.
"""
ASKED_AT_ONCE: Final = 64
"""Buckets in one look at a single primary. In a Cluster, where each is a command of its own,
``ASKED_OF_SHARD``.
"""
ASKED_OF_SHARD: Final = 4
AT_ONCE: Final = 2
"""Commands to one primary. Its own: what strangers make the others wait for says nothing about a
lease.
"""

_log = logging.getLogger(__name__)
_steady = steady()
"""One that counts while the machine is suspended: an answer that waited meanwhile took long."""


class State(StrEnum):
    """Of one primary; label ``state`` of ``gateway_store_primaries``."""

    ANSWERING = "answering"
    NO_SPARE = "no_spare"
    """Answering, and without a replica that it could lose: after a fail-over nothing could be
    confirmed.
    """
    NO_REPLICA = "no_replica"
    """Too few replicas confirm what is written: no lease is renewed, nobody signs in, every check
    there is 503.
    """
    NOT_RESTORED = "not_restored"
    """Buckets wait for an admin role to bring them up to the record in SQL; checks there are
    503.
    """
    OUTDATED = "outdated"
    """This process has not applied a tenant snapshot that takes something away; its checks there
    are 503.
    """
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Primary:
    """``name`` is an address in a Cluster, else ``redis``; ``answers`` tells whether checks of at
    least some buckets there are answered.
    """

    name: str
    state: State
    detail: str
    answers: bool = False
    clock_offset_s: float | None = None
    """This machine's wall clock less the primary's; None where this look does not tell."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """To one look at one primary."""

    online: int
    """Replicas."""
    demanded: dict[int, int | None]
    """The generation that each bucket demands; None where it was not restored."""
    time: float
    """The server's, in UTC epoch seconds."""


async def buckets_by_primary(redis: RedisClient) -> dict[str, list[int]]:
    """Every bucket, by the primary that has it. Raises ``UnavailableError`` where a Cluster does
    not tell.
    """
    by_primary = await redis.by_primary({bucket: prefix(bucket) for bucket in range(BUCKETS)})
    return by_primary if redis.clustered else {"redis": by_primary[""]}


class Primaries:
    """One per process that serves ``/readyz``."""

    def __init__(
        self,
        redis: RedisClient,
        *,
        generation: Callable[[], int],
        in_use: Callable[[], Collection[int]],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``generation``: of the tenant snapshot that this process answers by. ``in_use``: buckets
        that people's checks ask for; these are asked about first.
        """
        self.found: tuple[Primary, ...] = ()
        """As of the last look; empty before the first."""
        self.found_at = -inf
        self._redis = redis.apart(at_once=AT_ONCE)
        self._generation = generation
        self._in_use = in_use
        self.clock = ClockOffset("redis")
        """Of the primary that is furthest from this machine."""
        self._offsets: dict[str, float] = {}
        """By primary, as last known."""
        self._monotonic, self._wall = monotonic, wall
        self._sleep = sleep
        self._turn = 0
        self._doubted: set[int] = set()
        """Buckets that were not answering when they were last asked about: they are asked about
        again.
        """
        self._behind: set[int] = set()
        """Of these, those that demanded a newer tenant snapshot than was served."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await self._sleep(
                LOOK_S
                if all(primary.state is State.ANSWERING for primary in self.found)
                else LOOK_AGAIN_S
            )

    async def look(self) -> tuple[Primary, ...]:
        """Ask all at once; takes 2.5 s at most each. Never raises for what a store does."""
        try:
            places = await buckets_by_primary(self._redis)
        except UnavailableError as error:
            primaries = [Primary("redis", State.UNAVAILABLE, str(error))]
        else:
            primaries = list(
                await asyncio.gather(
                    *(self._ask(name, buckets) for name, buckets in places.items())
                )
            )
        self._turn += 1
        self._tell(tuple(primaries))
        return self.found

    def _tell(self, found: tuple[Primary, ...]) -> None:
        before = {primary.name: primary.state for primary in self.found}
        for primary in found:
            was = before.get(primary.name, State.ANSWERING)
            if primary.state is not was:
                level = logging.INFO if primary.state is State.ANSWERING else logging.WARNING
                _log.log(
                    level,
                    "store_state",
                    extra=fields(
                        primary=primary.name,
                        state=primary.state.value,
                        was=was.value,
                        detail=primary.detail,
                    ),
                )
        count = Counter(primary.state for primary in found)
        for state in State:
            STORE_PRIMARIES.labels(state.value).set(count[state])
        self.found, self.found_at = found, self._monotonic()
        self._compare(found)

    def _compare(self, found: Collection[Primary]) -> None:
        offsets = {
            primary.name: self._offsets.get(primary.name)
            if primary.clock_offset_s is None
            else primary.clock_offset_s
            for primary in found
        }
        self._offsets = {name: offset for name, offset in offsets.items() if offset is not None}
        if self._offsets:
            name, offset = max(self._offsets.items(), key=lambda item: abs(item[1]))
            self.clock.measured(offset, server=name if self._redis.clustered else "")

    def known(self) -> tuple[Primary, ...]:
        """What the last look found, if that is not too long ago to mean anything; else nothing."""
        return self.found if self._monotonic() - self.found_at < KNOWN_S else ()

    async def _ask(self, name: str, buckets: Sequence[int]) -> Primary:
        asked_at = _steady()
        try:
            sample = self._sample(buckets)
            async with asyncio.timeout(ANSWER_S):
                answers = await self._answers(sample)
        except TimeoutError:
            return Primary(name, State.UNAVAILABLE, f"no answer within {ANSWER_S:g} s")
        except UnavailableError as error:
            return self._refused(name, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the asking: then the process would not be ready for ever
            mistaken = Primary(name, State.UNAVAILABLE, f"cannot be asked: {type(error).__name__}")
            if mistaken not in self.found:
                _log.exception("store_state_unknown", extra=fields(primary=name))
            return mistaken
        answered_at, wall = _steady(), self._wall()
        offset = offset_s(answers.time, asked_at=asked_at, answered_at=answered_at, wall=wall)
        primary = self._judged(name, answers, took_s=answered_at - asked_at)
        return replace(primary, clock_offset_s=offset)

    def _judged(self, name: str, found: _Answers, *, took_s: float) -> Primary:
        demanded = found.demanded
        empty_buckets = {bucket for bucket, generation in demanded.items() if generation is None}
        behind = {
            bucket
            for bucket, generation in demanded.items()
            if generation is not None and generation > self._generation()
        }
        # Behind for some milliseconds is everybody, each time that something is taken away.
        outdated, self._behind = (
            behind if behind & self._behind else set(),
            (self._behind - demanded.keys()) | behind,
        )
        self._doubted = (self._doubted - demanded.keys()) | empty_buckets | behind
        answers = len(empty_buckets) + len(outdated) < len(demanded)
        if empty_buckets:
            detail = (
                f"{len(empty_buckets)} of {len(demanded)} buckets that were asked about wait to be "
                "restored from SQL: an admin role does that, and needs SQL for it"
            )
            return Primary(name, State.NOT_RESTORED, detail, answers)
        if outdated:
            max_generation = max(generation or 0 for generation in demanded.values())
            return Primary(
                name,
                State.OUTDATED,
                (
                    f"{len(outdated)} of {len(demanded)} buckets want tenant snapshot "
                    f"{max_generation}; {self._generation()} is served here"
                ),
                answers,
            )
        summary = f"answers in {took_s * 1000:.1f} ms"
        if not self._redis.replicas:
            return Primary(name, State.ANSWERING, summary, answers)
        summary += f"; {found.online} replicas, {self._redis.replicas} must confirm"
        if found.online <= self._redis.replicas:
            return Primary(
                name,
                State.NO_SPARE,
                (
                    f"{summary}: none to spare, so that after a fail-over every check is 503 "
                    "until another joins"
                ),
                answers,
            )
        return Primary(name, State.ANSWERING, summary, answers)

    def _refused(self, name: str, error: UnavailableError) -> Primary:
        cause = error.__cause__
        if isinstance(error, UnconfirmedError) or (
            isinstance(cause, ResponseError) and str(cause).startswith("NOREPLICAS")
        ):
            detail = (
                f"fewer than {self._redis.replicas or 'min-replicas-to-write'} replicas confirm "
                f"what is written, so nothing can be promised: {error}"
            )
            return Primary(name, State.NO_REPLICA, detail)
        return Primary(name, State.UNAVAILABLE, str(error))

    def _sample(self, buckets: Sequence[int]) -> list[int]:
        """Some in turn, so that all come up; before them what people use and what did not
        answer.
        """
        room = ASKED_AT_ONCE if not self._redis.clustered else ASKED_OF_SHARD
        here = set(buckets)
        first = [
            *islice(sorted(self._doubted & here), room // 2),
            *islice(sorted(here.intersection(self._in_use())), room // 4),
        ]
        start = self._turn * room % len(buckets)
        return list(dict.fromkeys([*first, *buckets[start : start + room]]))[:room]

    async def _answers(self, sample: Sequence[int]) -> _Answers:
        """Without buckets that are just being moved to another primary."""
        keys = [f"{prefix(bucket)}h" for bucket in sample]
        if self._redis.clustered:
            answers = await self._redis.run_together_durably(READY, [([key], []) for key in keys])
            here = {
                bucket: answer
                for bucket, answer in zip(sample, answers, strict=True)
                if not isinstance(answer, Exception)
            }
            if not here:
                with unavailable(READY.name, self._redis.target):
                    raise answers[0]
            sample, replies = list(here), list[Any](here.values())
        else:
            replies = [await self._redis.run_durably(READY, keys, [])]
        if not all(identity for identity, *_ in replies):
            msg = "Redis: the server is no primary"
            raise UnavailableError(msg)
        demanded = [
            None if generation == b"" else int(generation)
            for _, _, rows, _ in replies
            for generation in rows
        ]
        return _Answers(
            min(int(online) for _, online, *_ in replies),
            dict(zip(sample, demanded, strict=True)),
            max(int(now_us) for *_, now_us in replies) / 1_000_000,
        )
