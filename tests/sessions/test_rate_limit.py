"""Attempts per client and minute, against a real store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.sessions.rate_limit import AttemptCounter

if TYPE_CHECKING:
    from gateway.sessions.connection import RedisClient


async def test_a_client_is_refused_beyond_its_attempts_and_nobody_else(redis: RedisClient) -> None:
    now = 1_000_000.0
    attempts = AttemptCounter(redis, clock=lambda: now)
    assert [await attempts.hit("a", at_most=2) for _ in range(3)] == [True, True, False]
    assert await attempts.hit("b", at_most=2)
    assert await attempts.hit("a", at_most=2, kind="login")
    now += 60
    assert await attempts.hit("a", at_most=2)


async def test_a_short_window_ends_soon(redis: RedisClient) -> None:
    now = 1_000_000.0
    attempts = AttemptCounter(redis, clock=lambda: now)
    assert [await attempts.hit("a", at_most=1, window_s=10) for _ in range(2)] == [True, False]
    now += 10
    assert await attempts.hit("a", at_most=1, window_s=10)
