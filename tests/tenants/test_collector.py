"""How much the collector looks at in one go, counted."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.tenants import collector
from gateway.tenants.collector import large_work
from gateway.tenants.offload import in_background

if TYPE_CHECKING:
    from collections.abc import Iterator

SOME, MANY = 60_000, 3_000_000


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    # Python looks at everything only when a quarter is new: of what a test's process holds already,
    # nothing counts.
    gc.freeze()
    gc.collect()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@contextmanager
def looks() -> Iterator[list[tuple[int, int]]]:
    """Generation, and how many objects it and the younger ones hold, of each look but the
    smallest.
    """
    seen: list[tuple[int, int]] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and (generation := info["generation"]):
            held = sum(len(gc.get_objects(generation=young)) for young in range(generation + 1))
            seen.append((generation, held))

    gc.callbacks.append(note)
    try:
        yield seen
    finally:
        gc.callbacks.remove(note)


def made(count: int) -> list[list[int]]:
    """All of them stay."""
    return [[number] for number in range(count)]


def test_a_look_is_at_fifteen_thousand_objects_at_most() -> None:
    gc.collect()
    gc.set_threshold(collector.YOUNG, collector.MIDDLE, collector.OLD)
    with looks() as seen:
        kept = made(SOME)
    assert len(kept) == SOME
    assert {generation for generation, _ in seen} == {1}
    assert max(held for _, held in seen) <= (collector.MIDDLE + 2) * collector.YOUNG + 100


async def test_nothing_has_it_look_at_everything_while_large_work_goes_on() -> None:
    gc.set_threshold(500, 1, 1)
    with looks() as seen:
        kept = await in_background(made, SOME)
        with large_work():
            kept += made(SOME)
            kept += await in_background(made, SOME)
            kept += made(SOME)
        assert {generation for generation, _ in seen} == {1}
        assert gc.get_threshold() == (500, 1, 1)
        kept += made(SOME)
    assert {generation for generation, _ in seen} == {1, 2}


async def test_large_work_that_fails_or_is_cancelled_is_over() -> None:
    gc.set_threshold(500, 1, 1)
    with pytest.raises(ZeroDivisionError), large_work():
        raise ZeroDivisionError

    async def endless() -> None:
        with large_work():
            await asyncio.Event().wait()

    one, other = asyncio.create_task(endless()), asyncio.create_task(endless())
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.wait([one])
    assert gc.get_threshold() == (500, 1, collector._NEVER)
    other.cancel()
    await asyncio.wait([other])
    assert gc.get_threshold() == (500, 1, 1)


def test_a_process_that_answers_checks_begins_with_nothing_to_look_at() -> None:
    text = (
        "import gc; from gateway.tenants.collector import look_at_little; look_at_little();"
        "print(*gc.get_threshold(), gc.get_freeze_count() > 1_000, len(gc.get_objects()) < 100)"
    )
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    thresholds = f"{collector.YOUNG} {collector.MIDDLE} {collector.OLD}"
    assert run.stdout.strip() == f"{thresholds} True True"
