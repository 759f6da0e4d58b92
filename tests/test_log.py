from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import sys
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import log
from gateway.log import FIELDS, Throttled, configure, fields, of_request, redact
from tests.support.scaling import assert_linear, best_s

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger("gateway")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, _LOG.level
    yield
    root.handlers[:], root.level, _LOG.level = before[0], before[1], before[2]


def written(
    form: Literal["json", "text"], *records: tuple[str, dict[str, object]], level: str = "info"
) -> str:
    stream, real = io.StringIO(), sys.stderr
    sys.stderr = stream
    try:
        configure(form, level)
        for event, values in records:
            _LOG.info(event, extra=fields(**values))
    finally:
        sys.stderr = real
    return stream.getvalue()


def one(event: str, **values: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(written("json", (event, values)))
    return document


def test_a_record_is_one_json_object_with_its_fields_in_order() -> None:
    document = one(
        "check",
        reason="ok",
        decision="allow",
        zebra=1,
        request_id="r",
        tenant="acme",
        duration_ms=0.2,
        absent=None,
    )
    assert list(document) == [
        "time",
        "level",
        "event",
        "request_id",
        "tenant",
        "decision",
        "reason",
        "duration_ms",
        "zebra",
    ]
    assert document["time"].endswith("Z")
    assert (document["level"], document["event"], document["zebra"]) == ("info", "check", 1)


def test_the_promised_fields_are_those_of_the_documentation() -> None:
    assert FIELDS == (
        "request_id",
        "tenant",
        "host",
        "method",
        "path",
        "decision",
        "reason",
        "user",
        "provider",
        "duration_ms",
    )


@pytest.mark.parametrize("form", ["json", "text"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=st.text(max_size=40), value=st.text(max_size=40))
def test_nothing_written_starts_a_line_of_its_own_or_steers_a_terminal(
    form: Literal["json", "text"], event: str, value: str
) -> None:
    text = written(form, (event, {"path": value}))
    assert len(text.splitlines()) == 1
    assert not [c for c in text[:-1] if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0]


@given(event=st.text(max_size=40), value=st.text(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_holds_no_credential_is_read_back_as_it_was(event: str, value: str) -> None:
    if redact(event) == event and redact(value) == value:
        document = one(event, path=value)
        assert (document["event"], document["path"]) == (event, value)


TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1LTEifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"got {TOKEN} from peer",
        "https://x/cb?code=hunter2&state=hunter2",
        "GET /_auth/complete?ticket=hunter2",
        "client_secret=hunter2&x=1",
        "refresh_token=hunter2",
        "redis://user:hunter2@host/0",
        "Authorization: Bearer hunter2",
    ],
)
def test_a_credential_in_foreign_text_is_taken_out(text: str) -> None:
    for document in (one("failed", error=text), one(text)):
        assert "hunter2" not in json.dumps(document)
        assert TOKEN not in json.dumps(document)


def test_an_exceptions_text_is_taken_out_too() -> None:
    stream, real = io.StringIO(), sys.stderr
    sys.stderr = stream
    try:
        configure("json", "info")
        try:
            int("redis://user:hunter2@host/0")
        except ValueError:
            _LOG.exception("failed")
    finally:
        sys.stderr = real
    assert "hunter2" not in stream.getvalue()
    assert "ValueError" in json.loads(stream.getvalue())["error"]


@pytest.mark.parametrize("length", [900, 1000, 3000, 9000, 20_000, 65_000])
@pytest.mark.parametrize("before", ["", "/x?", "a" * 1000, "a" * 1015 + "?"])
def test_a_long_text_is_cut_and_no_credential_appears_by_it(before: str, length: int) -> None:
    header, payload = "eyJhbGciOiJFUzI1NiJ9", "eyJ" + "s" * length
    text = f"{before}{header}.{payload}.{'c' * 80} and more {'b ' * 100}"
    for document in (
        one("check", path=text),
        one(text),
        one("check", seen=[text], told={"a": text}),
        one("check", error=ValueError(text)),
    ):
        line = json.dumps(document)
        assert header[:20] not in line and "sssss" not in line and "ccccc" not in line
        assert len(line) < 5000


def test_how_much_was_cut_is_said() -> None:
    assert (
        one("check", path="/" + "x" * 64_000)["path"]
        == "/" + "x" * 1023 + "… (62977 more characters)"
    )
    assert one("check", path="/" + "x" * 1023)["path"] == "/" + "x" * 1023
    assert one("check", seen=["x"] * 5000)["seen"] == ["x"] * 100 + ["… (4900 more)"]
    assert one("check", told={str(n): n for n in range(200)})["told"]["…"] == "100 more"


def test_a_trace_is_bounded_too() -> None:
    def deeper(n: int) -> None:
        if n:
            deeper(n - 1)
        raise ValueError("\n".join(["line " + "x" * 5000] * 400))

    stream, real = io.StringIO(), sys.stderr
    sys.stderr = stream
    try:
        configure("json", "info")
        try:
            deeper(300)
        except ValueError:
            _LOG.exception("failed")
    finally:
        sys.stderr = real
    assert len(stream.getvalue()) < 130 * 1100
    assert "more lines" in json.loads(stream.getvalue())["error"]


FLOODS = {
    "eyJ": "eyJ",
    "eyJ with dots": "eyJaaaaaaaa.",
    "short parts": "eyJ.a.",
    "words": "a-",
    "eyJ words": "eyJ ",
    "code=": "code=",
    "Bearer": "Bearer ",
    "://": "://",
    "user": "://a:",
    "at": "://a:b",
    "secret": "secret=a&",
    "controls": "\x01",
    "quotes": '"',
    "separators": "\u2028",
    "NEL": "\x85",
}


@pytest.mark.parametrize("name", FLOODS)
def test_the_work_of_redacting_grows_with_the_text(name: str) -> None:
    """The texts are a stranger's: one that costs more than its length would stop a worker."""
    assert_linear(redact, lambda n: (FLOODS[name] * n)[:n], n=8_000)


@pytest.mark.parametrize("name", FLOODS)
def test_a_record_costs_no_more_for_a_longer_text(name: str) -> None:
    """64 kB of path: the worker that wrote half a second at it now writes a kilobyte."""
    formatter = log._Json()

    def write(text: str) -> None:
        record = logging.LogRecord("gateway", logging.INFO, "", 0, "check", None, None)
        record.gateway_fields = {"path": text}
        formatter.format(record)

    assert best_s(write, "x" * 64_000) < 0.02
    assert best_s(write, (FLOODS[name] * 64_000)[:64_000]) < 0.05


def test_the_level_counts_and_other_libraries_are_quiet() -> None:
    assert written("json", ("check", {}), level="warning") == ""
    configure("json", "debug")
    assert not logging.getLogger("aiohttp.access").isEnabledFor(logging.INFO)


def test_of_an_event_that_comes_a_thousand_times_a_second_there_is_one_line_and_their_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    told = Throttled(_LOG, logging.WARNING, "store_unavailable", monotonic=lambda: now)
    for step in range(2500):
        now = step / 1000
        told(host=f"host-{step}")
    values = [record.gateway_fields for record in caplog.records]  # type: ignore[attr-defined]  # set by our fields()
    assert [(value["host"], value["held_back"]) for value in values] == [
        ("host-0", None),
        ("host-1000", 999),
        ("host-2000", 999),
    ]


async def test_what_a_request_causes_has_its_id_and_what_it_begins_for_all_has_none() -> None:
    def told() -> object:
        return fields(tenant="acme")["gateway_fields"]

    async def later(seen: list[object]) -> None:
        await asyncio.sleep(0)
        seen.append(told())

    own: list[object] = []
    all_s: list[object] = []
    with of_request("one"):
        tasks = (
            asyncio.create_task(later(own)),
            asyncio.create_task(later(all_s), context=Context()),
        )
        with of_request("two"):
            assert told() == {"tenant": "acme", "request_id": "two"}
        assert fields(request_id="its own")["gateway_fields"] == {"request_id": "its own"}
    assert told() == {"tenant": "acme"}
    await asyncio.wait(tasks)
    assert own == [{"tenant": "acme", "request_id": "one"}]
    assert all_s == [{"tenant": "acme"}]


def test_the_text_form_is_for_people() -> None:
    assert (
        written("text", ("check", {"tenant": "acme", "duration_ms": 0.2}))
        .rstrip()
        .endswith('info    check tenant="acme" duration_ms=0.2')
    )


def test_no_record_hands_over_fields_that_no_form_shows() -> None:
    """``extra`` without ``fields`` is lost: an operator would read that something failed, and never
    what.
    """
    sources = {
        path.name: path.read_text(encoding="utf-8")
        for path in Path(log.__file__).parent.rglob("*.py")
    }
    assert {
        name
        for name, text in sources.items()
        if re.search(
            r"(?i)log\.(?:debug|info|warning|error|critical|exception)\([^\n]*extra=\{", text
        )
    } == set()
