"""What is written and counted of each check, beside ``logging`` and Prometheus' own way."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gateway.check.counts import CheckCounts
from gateway.check.dialects import ENDPOINTS, Answer
from gateway.check.records import (
    _EVENT,
    _REPEATED_EVENT,
    _TRACED_EVENT,
    CheckRecord,
    CheckRecords,
    RepeatedRecord,
    record_of,
)
from gateway.check.response import CheckResponse, encode, header_lines
from gateway.config.model import Log
from gateway.log import FIELDS, JsonEvent, _Json, configure, fields, write_event
from gateway.log_writer import BackgroundHandler
from gateway.metrics import REGISTRY, scrape
from tests.test_log import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RECORD = CheckRecord(
    "r-1",
    "acme",
    "app.acme.test",
    "GET",
    "/reports/ü",
    "allow",
    "ok",
    "sub-1",
    None,
    0.25,
    "10.0.0.7",
    "nginx",
)
texts = (
    st.none()
    | st.text(max_size=30)
    | st.sampled_from([TOKEN, "code=hunter2", "x" * 2000, "", "%s 5%"])
)


def logged(created: float, record: CheckRecord) -> str:
    made = logging.LogRecord("gateway", logging.INFO, "", 0, "check", None, None)
    made.created = created
    made.gateway_fields = fields(**record._asdict())["gateway_fields"]
    return _Json().format(made) + "\n"


@given(
    texts=st.lists(texts, min_size=11, max_size=11),
    duration=st.floats(0, 1e6).map(lambda number: round(number, 3)),
    repeated=st.none() | st.integers(1, 10**6),
    created=st.integers(0, 4 * 10**12).map(lambda number: number / 1000),
    trace=st.none() | st.text("0123456789abcdef", min_size=32, max_size=32),
)
def test_a_line_is_what_logging_would_have_written(
    texts: list[str | None],
    duration: float,
    repeated: int | None,
    created: float,
    trace: str | None,
) -> None:
    more = (repeated, 0.01, trace, None, "no_session")
    values: list[Any] = [*texts[:9], duration, *texts[9:], *more]
    record = CheckRecord(*values)
    for event in (_EVENT, _TRACED_EVENT):
        assert event.line(created, record) == logged(created, record)
        assert "hunter2" not in event.line(created, record)
    again = RepeatedRecord(record._replace(request_id="other", duration_ms=1.0)), texts[0] or "-"
    line = _REPEATED_EVENT.again(again[0].pieces, created, again[1], duration, trace)
    assert line == logged(created, record_of((*again, duration, trace)))
    assert "hunter2" not in line


def test_the_fields_have_their_documented_order() -> None:
    names = CheckRecord._fields
    assert names[: len(FIELDS)] == FIELDS
    assert list(names[len(FIELDS) :]) == sorted(names[len(FIELDS) :])


@pytest.fixture
def background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[str]]]:
    """The root logger writes JSON to a file, in the background: the lines that are there."""
    root, gateway = logging.getLogger(), logging.getLogger("gateway")
    before = root.handlers[:], root.level, gateway.level
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    handler = BackgroundHandler(
        descriptor,
        dropped=lambda _: None,
        notice=lambda _: logging.LogRecord("x", 30, "", 0, "dropped", None, None),
    )
    root.handlers[:] = [handler]
    configure("json", "info")
    # While a test runs, pytest's own handlers are the root's, too.
    monkeypatch.setattr("gateway.check.records.background_json_writer", lambda: handler.writer)

    def written() -> list[str]:
        handler.flush()
        return path.read_text("utf-8").splitlines()

    yield written
    handler.flush()
    root.handlers[:], root.level, gateway.level = before[0], before[1], before[2]
    os.close(descriptor)


async def test_the_records_of_one_turn_are_written_once_and_in_order(
    background: Callable[[], list[str]],
) -> None:
    records = CheckRecords(Log())
    for number in range(50):
        records.add(RECORD._replace(request_id=f"r{number}"))
    assert background() == [], "not while answers are made"
    await asyncio.sleep(0)
    assert [json.loads(line)["request_id"] for line in background()] == [f"r{n}" for n in range(50)]
    records.add(RECORD)
    records.flush()  # as at the end of the process, which may be before the end of the turn
    assert len(background()) == 51


async def test_a_record_that_comes_again_is_written_among_the_others(
    background: Callable[[], list[str]],
) -> None:
    records, repeated = CheckRecords(Log()), RepeatedRecord(RECORD)
    records.add_again(repeated, "r-2", 0.5, None)
    records.add(RECORD)
    records.add_again(repeated, "r-3", 0.75, None)
    traced = RepeatedRecord(RECORD._replace(trace_id="a" * 32))
    records.add_again(traced, "r-4", 1.0, None)  # none of them has what those like it have
    records.add_again(repeated, "r-5", 1.25, "b" * 32)
    await asyncio.sleep(0)
    told = [json.loads(line) for line in background()]
    assert [(line["request_id"], line["duration_ms"]) for line in told] == [
        ("r-2", 0.5),
        ("r-1", 0.25),
        ("r-3", 0.75),
        ("r-4", 1.0),
        ("r-5", 1.25),
    ]
    assert {line["path"] for line in told} == {"/reports/ü"}


async def test_where_logging_has_another_reader_it_gets_the_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    records = CheckRecords(Log())
    records.add(RECORD)
    records.add_again(RepeatedRecord(RECORD), "r-2", 0.5, None)
    await asyncio.sleep(0)
    said = [vars(record)["gateway_fields"] for record in caplog.records]
    assert [(fields["path"], fields["request_id"]) for fields in said] == [
        ("/reports/ü", "r-1"),
        ("/reports/ü", "r-2"),
    ]


def test_an_event_is_one_line_whichever_way_it_is_written(
    background: Callable[[], list[str]],
) -> None:
    log = logging.getLogger("gateway.login")
    event = JsonEvent("http_request", ("tenant", "path", "cause", "status"), varying=("path",))
    values = {"tenant": "acme", "path": f"/x?code={TOKEN}", "cause": None, "status": 303}
    write_event(log, event, values)
    log.info("http_request", extra=fields(**values))
    log.setLevel(logging.WARNING)
    write_event(log, event, values)
    log.setLevel(logging.NOTSET)
    first, second = (line.partition(", ")[2] for line in background())
    assert first == second
    assert TOKEN not in first


def test_allowed_checks_may_be_sampled_or_left_out_and_others_only_by_off() -> None:
    records, rounds = CheckRecords(Log()), 20_000

    def lines(*, ordinary: bool) -> int:
        return sum(records.has_line(ordinary=ordinary) for _ in range(rounds))

    for settings, allowed, others in (
        (Log(), rounds, rounds),
        (Log(checks="sampled", checks_sample_rate=1), rounds, rounds),
        (Log(checks="denied"), 0, rounds),
        (Log(checks="off"), 0, 0),
    ):
        records.follow(settings)
        assert (lines(ordinary=True), lines(ordinary=False)) == (allowed, others)
        assert records.sample_rate == (1 if settings.checks == "sampled" else None)
    records.follow(Log(checks="sampled", checks_sample_rate=0.25))
    assert 0.2 < lines(ordinary=True) / rounds < 0.3
    assert lines(ordinary=False) == rounds


def test_an_answer_of_every_dialect_is_the_bytes_of_its_headers() -> None:
    assert header_lines(()) == b""
    assert encode(Answer(403, (("X-A", "b"), ("X-C", "ü")), b"body")) == CheckResponse(
        403, "X-A: b\r\nX-C: ü\r\n".encode(), b"body"
    )
    for evil in ("a\r\nSet-Cookie: x", "a\n", "a\r", "a\0"):
        with pytest.raises(ValueError, match="line end"):
            header_lines((("X-A", evil),))
    assert [d.name for d in ENDPOINTS.values() if d.clients_own.__doc__] == []


def value(name: str) -> float:
    for line in generate_latest(REGISTRY).decode().splitlines():
        if line.rpartition(" ")[0] == name:
            return float(line.rpartition(" ")[2])
    return 0.0


def test_the_time_of_each_dialect_is_there_before_its_first_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = CollectorRegistry()
    empty = Histogram("seconds", "", ["dialect"], registry=registry)
    monkeypatch.setattr("gateway.check.counts.CHECK_DURATION", empty)
    CheckCounts()
    told = generate_latest(registry).decode()
    for name in ("nginx", "envoy", "oauth2-proxy"):
        assert f'seconds_count{{dialect="{name}"}} 0.0' in told


async def test_counts_reach_prometheus_when_it_asks() -> None:
    labels = 'decision="allow",dialect="counted",reason="ok",tenant="acme"'
    names = [
        f"gateway_checks_total{{{labels}}}",
        'gateway_check_duration_seconds_count{dialect="counted"}',
        'gateway_check_duration_seconds_sum{dialect="counted"}',
        'gateway_check_duration_seconds_bucket{dialect="counted",le="0.0001"}',
        'gateway_check_duration_seconds_bucket{dialect="counted",le="0.00025"}',
        'gateway_check_duration_seconds_bucket{dialect="counted",le="3.0"}',
    ]
    counts = CheckCounts()
    for seconds in (0.0001, 0.00011, 5.0):  # a bound belongs to its bucket
        counts.count(("acme", "counted", "allow", "ok"), seconds=seconds)
    assert [value(name) for name in names] == [0.0] * 6
    scrape()
    assert [value(name) for name in names] == [3.0, 3.0, 5.00021, 1.0, 2.0, 2.0]
    scrape()
    assert value(names[0]) == 3.0, "once"
    counts.count(("acme", "counted", "allow", "ok"), seconds=0.1)
    counts.hand_over()
    assert value(names[0]) == 4.0
