"""Work beside a block: it goes on, it ends, and its faults are not lost."""

from __future__ import annotations

import asyncio

import pytest

from gateway.background import beside


async def test_it_goes_on_while_the_block_does_and_has_ended_after_it() -> None:
    turns, cleaned = [0], []

    async def work() -> None:
        try:
            while True:
                turns[0] += 1
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async with beside(work(), name="work"):
        while turns[0] < 3:  # noqa: ASYNC110 - what is waited for is the other task's turns
            await asyncio.sleep(0)
    assert cleaned == [True]


async def test_what_it_raised_is_raised_at_the_end() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        async with beside(work(), name="work"):
            await asyncio.sleep(0)


async def test_a_block_that_fails_ends_it_too() -> None:
    never, ended = asyncio.Event(), []

    async def work() -> None:
        try:
            await never.wait()
        finally:
            ended.append(True)

    async def block() -> None:
        async with beside(work(), name="work"):
            await asyncio.sleep(0)
            raise KeyError

    with pytest.raises(KeyError):
        await block()
    assert ended == [True]
