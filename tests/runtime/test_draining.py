"""How long a process waits at its end; what the kernel and the clients see of it is in
``test_listener.py``.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, cast

from gateway.http.listener import BACKLOG
from gateway.runtime.draining import LOOKS, drain

if TYPE_CHECKING:
    import pytest


class Idle:
    """A listener's part in it: ``asks`` requests come during each look."""

    def __init__(self, asks: int = 0) -> None:
        self.ending, self.answered, self.accepting, self.new = False, 0, True, 0
        self.bound = socket.socket()
        self.asks = asks

    async def sleep(self, _: float) -> None:
        self.answered += self.asks

    def accept(self) -> int:
        return 0

    def stop(self) -> None:
        self.accepting = False
        self.bound.close()


class Crowded(Idle):
    """Its queue cannot be closed, as where the system knows no such filter, and is never empty."""

    name = "check"

    def __init__(self) -> None:
        super().__init__()
        self.bound.close()
        self.came = 0

    def accept(self) -> int:
        self.came += 16
        assert self.came < 100_000, "it would never end"
        return 16


async def looks(listener: Idle, *, owns: bool = False) -> int:
    count = 0

    async def sleep(seconds: float) -> None:
        nonlocal count
        count += 1
        await listener.sleep(seconds)

    await drain([cast("Any", listener)], owns=lambda: owns, sleep=sleep)
    assert listener.ending and not listener.accepting
    return count


async def test_it_does_not_wait_for_an_ingress_that_never_stops_asking() -> None:
    assert await looks(Idle(asks=1)) == LOOKS


async def test_where_nobody_asks_nobody_waits() -> None:
    assert await looks(Idle()) == 1


async def test_a_queue_that_cannot_be_closed_is_said_and_does_not_keep_the_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = Crowded()
    await looks(listener, owns=True)
    assert listener.came <= BACKLOG + 16
    assert [record.message for record in caplog.records] == ["queue_left_open"]
