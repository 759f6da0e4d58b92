"""A collector that is away, slow or full costs spans, and nothing else."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gateway.config.model import Tracing
from gateway.core.model import Secret
from gateway.http.served import served_request
from gateway.log import current_trace, fields
from gateway.metrics import TRACE_SPANS_DROPPED
from gateway.runtime.collector import probe_collector
from gateway.tracing import exporting as module
from gateway.tracing.exporting import SpanQueue, exporting
from gateway.tracing.spans import NOTHING, Kind, called, current, exemplar, served, span
from tests.tracing.collector import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

STRANGERS = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


def settings(collector: Collector, **more: object) -> Tracing:
    return Tracing.model_validate({"endpoint": collector.url, "timeout": "500ms", **more})


def dropped(reason: str) -> float:
    return float(TRACE_SPANS_DROPPED.labels(reason)._value.get())


class Stuck(SpanExporter):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.busy, self.free = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.busy.set()
        self.free.wait(20)
        self.taken.append(len(spans))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.free.set()


def test_nothing_is_made_without_a_tracer() -> None:
    assert span("work") is NOTHING
    assert served("GET", "/x", CIMultiDict(), trusted=True) is NOTHING
    assert called("GET", "https://peer.example") is NOTHING
    with span("work") as nothing:
        nothing.set("a", 1)
        nothing.failed("x")
        nothing.continues(STRANGERS)
        nothing.end()
        assert current() is NOTHING and current_trace() is None and exemplar() is None
        assert fields(a=1) == {"gateway_fields": {"a": 1}}


async def test_a_span_hangs_below_the_one_that_its_task_has(collector: Collector) -> None:
    async with exporting(settings(collector), role="auth", instance="one"):
        with span("above") as above, span("below", Kind.CLIENT) as below:
            below.set("n", 1)
            below.set("left_out", None)
            assert current() is below and current().trace_id == above.trace_id
            assert fields()["gateway_fields"] == {
                "trace_id": above.trace_id,
                "span_id": below.span_id,
            }
            assert exemplar() == {"trace_id": above.trace_id, "span_id": below.span_id}
        with pytest.raises(KeyError), span("fails", parent=above.traceparent):
            raise KeyError("alice@acme.test")
        with span("apart", parent="") as apart:
            assert apart.trace_id != above.trace_id
    found = {one.name: one for one in collector.spans}
    assert set(found) == {"above", "below", "fails", "apart"}
    assert (found["below"].parent, found["below"].attributes) == (found["above"].id, {"n": 1})
    assert (found["fails"].parent, found["fails"].trace) == (found["above"].id, above.trace_id)
    assert found["fails"].failed and found["fails"].attributes == {"error.type": "KeyError"}
    assert b"alice" not in b"".join(collector.raw)
    assert (found["below"].process, found["below"].role) == ("one", "auth")


@pytest.mark.parametrize(
    ("trusted", "ingress_traces"), [(True, False), (False, True), (False, False)]
)
async def test_a_stranger_neither_forces_a_trace_nor_hangs_a_request_into_one(
    collector: Collector, *, trusted: bool, ingress_traces: bool
) -> None:
    headers = CIMultiDict({"traceparent": STRANGERS})
    for ratio in (0.0, 1.0):
        tracing = settings(collector, sample_ratio=ratio, ingress_traces=ingress_traces)
        async with exporting(tracing, role="auth", instance="one"):
            with served("GET", "/x", headers, trusted=trusted) as made:
                assert made.trace_id != "a" * 32
                assert (exemplar() is None) is (ratio == 0)
    (one,) = collector.spans
    assert (one.name, one.parent, one.links) == ("GET /x", "", ("a" * 32,))


async def test_an_ingress_that_traces_decides_for_its_requests(collector: Collector) -> None:
    tracing = settings(collector, sample_ratio=0.0, ingress_traces=True)
    async with exporting(tracing, role="auth", instance="one"):
        for flags, method in (("01", "GET"), ("00", "BREW")):
            said = CIMultiDict({"Traceparent": STRANGERS[:-2] + flags})
            with served(method, "/x", said, trusted=True) as made:
                assert made.trace_id == "a" * 32
        for said in (
            CIMultiDict([("traceparent", STRANGERS), ("traceparent", STRANGERS)]),
            CIMultiDict({"traceparent": STRANGERS + "-more"}),
            CIMultiDict({"traceparent": STRANGERS.upper()}),
        ):
            with served("GET", "/y", said, trusted=True) as made:
                assert made.trace_id != "a" * 32
    assert [(one.name, one.parent) for one in collector.spans] == [("GET /x", "b" * 16)]


async def test_a_request_goes_on_with_the_trace_that_our_record_names(
    collector: Collector,
) -> None:
    async with exporting(settings(collector, ingress_traces=True), role="auth", instance="one"):
        with served("GET", "/open", CIMultiDict()) as made:
            made.continues(STRANGERS)
            assert made.trace_id == "a" * 32
        with served("GET", "/told", CIMultiDict()) as made:
            told = made.trace_id  # as a line of the log does
            made.continues(STRANGERS)
            made.continues("")
            assert made.trace_id == told
    found = {one.name: one for one in collector.spans}
    assert (found["GET /open"].parent, found["GET /open"].links) == ("b" * 16, ())
    assert (found["GET /told"].parent, found["GET /told"].links) == ("", ("a" * 32,))


async def test_an_answer_that_is_raised_is_no_failure_of_the_request(
    collector: Collector,
) -> None:
    async def handler(request: web.Request) -> web.Response:
        with served_request(request):
            raise web.HTTPNotFound if request.match_info["name"] == "none" else KeyError

    app = web.Application()
    app.router.add_get("/things/{name}", handler)
    async with (
        exporting(settings(collector), role="auth", instance="one"),
        TestClient(TestServer(app)) as client,
    ):
        assert (await client.get("/things/none?secret=1")).status == 404
        assert (await client.get("/things/odd")).status == 500
    assert [
        (one.name, one.failed, one.attributes.get("http.response.status_code"))
        for one in collector.spans
    ] == [("GET /things/{name}", False, 404), ("GET /things/{name}", True, None)]


def test_what_does_not_fit_is_dropped_and_counted_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(module, "FLUSH_S", 0.2)
    exporter = Stuck()
    queue = SpanQueue(exporter, every_s=0.001)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    tracer = provider.get_tracer("test")
    full, stopped = dropped("queue_full"), dropped("stopped")
    tracer.start_span("first").end()
    assert exporter.busy.wait(5)
    began = time.monotonic()
    for _ in range(15):
        tracer.start_span("one").end()
    assert time.monotonic() - began < 1
    assert dropped("queue_full") - full == 5
    queue.shutdown()
    assert time.monotonic() - began < 3
    assert dropped("stopped") - stopped == 10
    tracer.start_span("late").end()
    assert dropped("stopped") - stopped == 11


async def test_a_collector_that_refuses_is_counted_and_told_without_the_headers(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 401
    failed = dropped("export_failed")
    tracing = settings(collector, export_headers="authorization=Bearer%20hush")
    async with exporting(tracing, role="auth", instance="one"):
        span("work").end()
    assert dropped("export_failed") - failed == 1
    (record,) = [one for one in caplog.records if one.getMessage() == "traces_not_exported"]
    told = record.gateway_fields  # type: ignore[attr-defined]  # what fields() adds
    assert told["spans"] == 1 and "401" in told["error"] and "hush" not in str(told)
    assert logging.getLogger("opentelemetry").handlers == []


async def test_a_redirect_is_no_export_and_is_not_followed(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector() as elsewhere:
        collector.status, collector.location = 307, f"{elsewhere.url}/v1/traces"
        failed = dropped("export_failed")
        async with exporting(settings(collector), role="auth", instance="one"):
            span("work").end()
    assert dropped("export_failed") - failed == 1 and elsewhere.headers == []
    (record,) = [one for one in caplog.records if one.getMessage() == "traces_not_exported"]
    assert "a redirect (307)" in record.gateway_fields["error"]  # type: ignore[attr-defined]  # what fields() adds


async def test_of_an_answer_no_more_is_read_than_a_collector_says(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.padding = 1 << 30
    monkeypatch.setattr(module, "FLUSH_S", 10.0)
    failed = dropped("export_failed")
    async with exporting(settings(collector), role="auth", instance="one"):
        span("work").end()
    assert dropped("export_failed") == failed and len(collector.named("work")) == 1
    assert collector.sent < 1 << 26


async def test_batches_share_a_connection(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 1)
    async with exporting(settings(collector), role="auth", instance="one"):
        for _ in range(5):
            span("work").end()
    assert len(collector.named("work")) == 5 and collector.connections == 1


async def test_an_address_that_is_none_fails_where_it_is_called_and_not_in_its_span(
    collector: Collector,
) -> None:
    async with exporting(settings(collector), role="auth", instance="one"):
        with called("GET", "http://idp.example:99999/keys"):
            pass
    (made,) = collector.named("GET")
    assert made.attributes["server.address"] == "idp.example"
    assert "server.port" not in made.attributes


async def test_the_end_of_a_process_waits_for_a_slow_collector_no_longer_than_it_may(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.3)
    collector.delay_s = 20
    began = time.monotonic()
    async with exporting(settings(collector, timeout="30s"), role="auth", instance="one"):
        span("work").end()
    assert time.monotonic() - began < 5


_WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import gateway.runtime.admin_role, gateway.runtime.config_check, gateway.runtime.serve
from gateway.config.model import Tracing
from gateway.errors import ConfigError
from gateway.tracing.library import require_library
require_library(Tracing())
try:
    require_library(Tracing(endpoint="http://127.0.0.1:4318"))
except ConfigError as error:
    print(error)
"""


def test_without_the_library_all_runs_and_a_configured_collector_is_refused() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("tracing.endpoint: ")
    assert "with the extra [opentelemetry]" in ran.stdout


@pytest.mark.parametrize(
    ("endpoint", "environment", "url"),
    [
        (None, {}, None),
        ("http://otel:4318", {}, "http://otel:4318/v1/traces"),
        ("http://otel:4318/", {}, "http://otel:4318/v1/traces"),
        ("https://api.example/otlp/traces", {}, "https://api.example/otlp/traces"),
        ("http://otel:4318", {"OTEL_SDK_DISABLED": "true"}, None),
        ("environment", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1/x/"}, "http://a:1/x/v1/traces"),
        (
            "environment",
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2/t",
            },
            "http://b:2/t",
        ),
    ],
)
def test_where_traces_go(
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str | None,
    environment: dict[str, str],
    url: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Tracing.model_validate({"endpoint": endpoint} if endpoint else {}).url == url


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"sample_ratio": 0.5}, "of no use without endpoint"),
        ({"endpoint": "environment"}, "OTEL_EXPORTER_OTLP_ENDPOINT are not set"),
        ({"endpoint": "http://user:hush@otel:4318"}, "without a user, password or query"),
        ({"endpoint": "http://otel:4318/v1/traces?key=hush"}, "without a user, password or query"),
        ({"endpoint": "http://otel:4318", "export_headers": "a=hush"}, "in clear"),
        ({"endpoint": "https://otel", "export_headers": "hush"}, "name=value"),
        ({"endpoint": "https://otel", "export_headers": "a=hush%0a"}, "name=value"),
        ({"endpoint": "https://otel", "timeout": "31s"}, "100ms to 30s"),
        ({"endpoint": "https://otel", "sample_ratio": 1.5}, "less than or equal to 1"),
        ({"endpoint": "https://otel", "resource_attributes": {"A": "b"}}, "names such as"),
        ({"endpoint": "https://otel", "resource_attributes": {"a": "hush\n"}}, "names such as"),
    ],
)
def test_what_cannot_work_is_refused_without_a_secret(
    values: dict[str, object], wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong) as refused:
        Tracing.model_validate(values)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"]
)
def test_headers_of_the_environment_are_not_sent_in_clear_either(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "authorization=hush")
    with pytest.raises(ValueError, match=f"would send {variable} in clear") as refused:
        Tracing(endpoint="http://otel:4318")
    assert "hush" not in str(refused.value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318")
    with pytest.raises(ValueError, match=f"would send {variable} in clear"):
        Tracing(endpoint="environment")
    for kept in ("https://otel", "http://127.0.0.1:4318", "http://localhost:4318"):
        assert Tracing(endpoint=kept).url
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert Tracing(endpoint="http://otel:4318").url is None


async def test_config_check_asks_the_collector_and_warns(collector: Collector) -> None:
    async with aiohttp.ClientSession() as http:
        told = await probe_collector(settings(collector), http)
        assert (told.ok, told.warnings) == (True, ())
        collector.status = 403
        told = await probe_collector(settings(collector), http)
        assert told.ok and "answers 403" in told.warnings[0]


def test_headers_are_written_as_in_the_environment() -> None:
    tracing = Tracing(
        endpoint="https://otel", export_headers=Secret("X-Key=a%2Cb , authorization=Basic%20YQ==")
    )
    assert tracing.headers == {"x-key": "a,b", "authorization": "Basic YQ=="}
    assert "YQ" not in repr(tracing) + tracing.model_dump_json()
