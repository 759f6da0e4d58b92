"""A log whose reader is slow, stuck or gone: nobody waits for it, and what is lost is counted."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway import log, log_writer
from gateway.log_writer import BackgroundHandler, LogWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIPE_BYTES = 4096
"""The smallest pipe of Linux."""
PATIENCE_S = 60.0
"""Longer than a busy machine keeps a thread waiting; only what would wait without end is caught."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end is cut short only where that is what is tested."""
    monkeypatch.setattr(log_writer, "FLUSH_S", PATIENCE_S)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    ends = [reader, writer]
    try:
        yield reader, writer
    finally:
        for end in ends:
            os.close(end)


def read_until(reader: int, enough: Callable[[bytes], bool]) -> bytes:
    """In a thread of the test's own: the writer's blocks until somebody reads."""
    read = b""
    while not enough(read):
        read += os.read(reader, 65536)
    return read


def test_every_line_arrives_in_order_however_slow_the_reader_is() -> None:
    with pipe() as (reader, descriptor):
        dropped: list[int] = []
        writer = LogWriter(descriptor, dropped=dropped.append, notice=str)
        lines = [f"{n} {'é' * (n % 7)}{'x' * (n % 5000)}\n" for n in range(500)]
        for line in lines:
            writer.put(line, important=False)
        assert read_until(reader, lambda read: read.count(b"\n") == len(lines)).decode() == "".join(
            lines
        )
        assert writer.flush() and dropped == []


def test_what_does_not_fit_is_dropped_counted_and_told_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_writer, "MAX_WAITING", 40_000)
    monkeypatch.setattr(log_writer, "RESERVED", 10_000)
    with pipe() as (reader, descriptor):
        dropped: list[int] = []
        writer = LogWriter(
            descriptor, dropped=dropped.append, notice=lambda lines: f"missing {lines}\n"
        )
        began = time.monotonic()
        for n in range(10_000):
            writer.put(f"check {n:093d}\n", important=False)
        for n in range(10):
            writer.put(f"error {n:093d}\n", important=True)
        assert time.monotonic() - began < PATIENCE_S, "nobody waited for each of the lines"
        assert sum(dropped) > 9_000
        # The place where lines are missing is known at once: errors still had room, and come behind
        # it.
        read = read_until(reader, lambda read: b"error " + b"0" * 92 + b"9\n" in read).decode()
        following, missing = 0, 0
        for line in read.splitlines()[:-10]:
            what, number = line.split()
            assert what == "missing" or int(number) == following
            following += int(number) if what == "missing" else 1
            missing += int(number) if what == "missing" else 0
        assert (following, missing) == (10_000, sum(dropped))
        assert read.splitlines()[-10:] == [f"error {n:093d}" for n in range(10)]


def test_what_was_lost_at_the_end_is_told_once_it_flows_though_nobody_logs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_writer, "MAX_WAITING", 20_000)
    monkeypatch.setattr(log_writer, "RESERVED", 0)
    with pipe() as (reader, descriptor):
        writer = LogWriter(
            descriptor, dropped=lambda _: None, notice=lambda lines: f"missing {lines}\n"
        )
        for _ in range(1_000):
            writer.put("x" * 99 + "\n", important=False)

        def told(read: bytes) -> int:
            return (
                sum(
                    int(line.split()[1]) if line.startswith("missing") else 1
                    for line in read.decode().splitlines()
                )
                if read.endswith(b"\n")
                else 0
            )

        assert told(read_until(reader, lambda read: told(read) >= 1_000)) == 1_000


def test_an_end_does_not_wait_for_a_stuck_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "FLUSH_S", 0.2)
    with pipe() as (reader, descriptor):
        writer = LogWriter(descriptor, dropped=lambda _: None, notice=str)
        writer.put("x" * 3 * PIPE_BYTES, important=False)
        assert not writer.flush()
        monkeypatch.setattr(log_writer, "FLUSH_S", PATIENCE_S)
        began = time.monotonic()
        assert not writer.flush(), "the second does not wait again"
        assert time.monotonic() - began < PATIENCE_S / 2
        read_until(reader, lambda read: len(read) == 3 * PIPE_BYTES)


def test_lines_are_lost_without_a_reader_and_nobody_is_troubled() -> None:
    reader, descriptor = os.pipe()
    os.close(reader)
    dropped = threading.Event()
    writer = LogWriter(descriptor, dropped=lambda _: dropped.set(), notice=str)
    writer.put("line\n", important=False)
    assert dropped.wait(PATIENCE_S)
    assert writer.flush()
    os.close(descriptor)


def test_a_finalizer_that_logs_while_a_line_is_put_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Garbage is collected at any time, also while the writer is being told of a line."""
    writers: list[LogWriter] = []

    class Collecting(queue.SimpleQueue[str | int]):
        def put(self, item: str | int, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT002 - the library's
            if item == "line\n":
                writers[0].put("of a finalizer\n", important=False)
            super().put(item, block, timeout)

    monkeypatch.setattr(queue, "SimpleQueue", Collecting)
    with pipe() as (reader, descriptor):
        writers.append(LogWriter(descriptor, dropped=lambda _: None, notice=str))
        putting = threading.Thread(
            target=writers[0].put, args=("line\n",), kwargs={"important": False}, daemon=True
        )
        putting.start()
        putting.join(PATIENCE_S)
        assert not putting.is_alive(), "it waits for itself"
        assert read_until(reader, lambda read: read.count(b"\n") == 2) == b"of a finalizer\nline\n"


def test_lines_of_several_processes_on_one_pipe_do_not_mix() -> None:
    with pipe() as (reader, descriptor):
        writers = [LogWriter(descriptor, dropped=lambda _: None, notice=str) for _ in range(3)]
        for n in range(300):
            for name, writer in zip("abc", writers, strict=True):
                writer.put(name * (50 + n) + "\n", important=False)
        lines = read_until(reader, lambda read: read.count(b"\n") == 900).decode().splitlines()
        assert all(len(set(line)) == 1 for line in lines)
        assert {name: [len(line) for line in lines if line[0] == name] for name in "abc"} == {
            name: list(range(50, 350)) for name in "abc"
        }


FAILING = """
import logging, sys
from gateway import log_writer
from gateway.log import configure, fields, write_in_background
log_writer.FLUSH_S = 60.0
configure("json", "info")
write_in_background(dropped=lambda _: None)
configure("json", "debug")
for n in range(200):
    logging.getLogger("gateway").info("check", extra=fields(n=n, filler="x" * 500))
print("from a library", file=sys.stderr)
raise ValueError("the end")
"""


def test_a_crash_shows_everything_that_was_logged_and_its_trace() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=120, check=False
    )
    lines = ended.stderr.splitlines()
    assert [json.loads(line)["n"] for line in lines[:200]] == list(range(200))
    assert lines[200] == "from a library"
    assert lines[201].startswith("Traceback") and lines[-1] == "ValueError: the end"
    assert ended.returncode == 1


def test_a_changed_configuration_keeps_the_writer() -> None:
    root, stderr = logging.getLogger(), sys.stderr
    before = root.handlers[:], root.level
    try:
        with open(os.devnull, "w", encoding="utf-8") as nothing:  # noqa: PTH123 - a descriptor
            sys.stderr = nothing
            log.configure("json", "info")
            log.write_in_background(dropped=lambda _: None)
            handler = root.handlers[0]
            assert isinstance(handler, BackgroundHandler)
            log.configure("text", "debug")
            assert root.handlers == [handler]
            assert handler.formatter is not None and type(handler.formatter).__name__ == "_Human"
            assert handler.writer.flush()
    finally:
        sys.stderr = stderr
        root.handlers[:], root.level = before
