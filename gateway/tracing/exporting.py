"""Spans by OpenTelemetry's library, sent by OTLP over HTTP in a thread of their own.

Rules:
- Nobody waits for a collector. What is made while the queue is full is dropped and counted, and so
  is a batch that was not taken.
- Only an answer of 2xx counts as taken. A redirect is not followed, and of an answer no more than
  ``MAX_ANSWER_BYTES`` is read.
- At the end of a process what waits has ``FLUSH_S`` seconds.
- The decision to record is the trace's: of one that an ingress of ours or another process of the
  gateway began, theirs; else ``sample_ratio``.
- ``tracestate`` is not read: nobody here has a use for it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from gateway import __version__
from gateway.core.trace_context import TraceParent, format_traceparent, parse_traceparent
from gateway.log import Throttled, of_trace
from gateway.metrics import TRACE_SPANS_DROPPED, begin_at_zero
from gateway.tracing.spans import Kind, current, install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as LibrarySpan
    from opentelemetry.trace import Tracer as LibraryTracer

    from gateway.config.model import Tracing
    from gateway.tracing.spans import Span, Value

MAX_WAITING: Final = 4096
"""Spans; some 4 MB."""
BATCH: Final = 128
"""Spans sent at once: encoding them takes some milliseconds of the interpreter from the event
loop.
"""
EVERY_S: Final = 1.0
FLUSH_S: Final = 2.0
SWITCH_S: Final = 0.0001
MAX_ANSWER_BYTES: Final = 64 * 1024
"""Of a collector: some bytes, or a sentence."""
MAX_TEXT: Final = 256
"""Characters of an attribute."""
_LIBRARY: Final = "opentelemetry"
_KINDS: Final = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.CONSUMER: SpanKind.CONSUMER,
}
_LOG = logging.getLogger(__name__)


@asynccontextmanager
async def exporting(settings: Tracing, *, role: str, instance: str) -> AsyncIterator[None]:
    """Within, what this process does is traced. ``settings`` name a collector."""
    begin_at_zero(TRACE_SPANS_DROPPED, ("queue_full", "export_failed", "stopped"))
    library_log = _LibraryLog()
    library = logging.getLogger(_LIBRARY)
    library.propagate = False
    library.addHandler(library_log)
    queue = SpanQueue(
        OTLPSpanExporter(
            endpoint=settings.url,
            headers=settings.headers,
            timeout=settings.timeout.total_seconds(),
            compression=Compression.Gzip,
            session=_session(),
        ),
        library_log,
    )
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        resource=_resource(settings, role=role, instance=instance),
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_span_attribute_length=MAX_TEXT),
    )
    provider.add_span_processor(queue)
    install(
        LibraryTracing(
            provider.get_tracer("gateway", __version__), ingress_traces=settings.ingress_traces
        )
    )
    try:
        yield
    finally:
        install(None)
        await asyncio.to_thread(queue.shutdown)
        library.removeHandler(library_log)
        library.propagate = True


def _session() -> requests.Session:
    session = requests.Session()
    session.stream = True  # otherwise an answer is read to its end before anybody looks at it
    session.hooks["response"] = [_look_at]
    return session


def _look_at(response: requests.Response, **_: object) -> None:
    """The library takes anything below 400 for an export."""
    status = response.status_code
    if 300 <= status < 400:
        response.close()
        msg = f"the collector answers a redirect ({status}), which is never followed"
        raise requests.RequestException(msg)
    # What is read to its end leaves the connection for the next batch.
    if len(response.raw.read(MAX_ANSWER_BYTES + 1)) > MAX_ANSWER_BYTES:
        response.close()


def _resource(settings: Tracing, *, role: str, instance: str) -> Resource:
    """What is configured goes before OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES."""
    own_name = {} if settings.service_name is None else {SERVICE_NAME: settings.service_name}
    return (
        Resource({SERVICE_NAME: "cognito-gateway"})
        .merge(_of_environment())
        .merge(
            Resource(
                {
                    "service.version": __version__,
                    "service.instance.id": instance,
                    "gateway.role": role,
                    **settings.resource_attributes,
                    **own_name,
                }
            )
        )
    )


def _of_environment() -> Resource:
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return Resource({k: v for k, v in resource.attributes.items() if k != SERVICE_NAME})
    return resource


class _LibraryLog(logging.Handler):
    """What the library had to say last: at each attempt it says the same again."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


class SpanQueue(SpanProcessor):
    """What has ended, until the thread has sent it."""

    def __init__(
        self, exporter: SpanExporter, heard: _LibraryLog | None = None, *, every_s: float = EVERY_S
    ) -> None:
        self._exporter, self._heard, self._every_s = exporter, heard, every_s
        self._waiting: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._ends_at: float | None = None
        self._not_exported = Throttled(_LOG, logging.WARNING, "traces_not_exported")
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        if len(self._waiting) >= MAX_WAITING or self._ends_at is not None:
            _dropped("queue_full" if self._ends_at is None else "stopped", 1)
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self._wake.set()

    def shutdown(self) -> None:
        """Send what waits, for ``FLUSH_S`` at most."""
        self._ends_at = time.monotonic() + FLUSH_S
        self._wake.set()
        self._thread.join(FLUSH_S)
        # A pause between two attempts ends with it.
        self._exporter.shutdown()
        _dropped("stopped", len(self._waiting))
        self._waiting.clear()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the library's
        """Nobody here asks for it."""
        return False

    def _run(self) -> None:
        # A thread that encodes keeps the interpreter for 5 ms otherwise, while checks wait.
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_S))
        while not self._is_over():
            self._wake.wait(self._every_s)
            self._wake.clear()
            while self._waiting and not self._is_late():
                self._send()

    def _is_over(self) -> bool:
        return self._ends_at is not None

    def _is_late(self) -> bool:
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    def _send(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        try:
            success = self._exporter.export(batch) is SpanExportResult.SUCCESS
            error = "" if success or self._heard is None else self._heard.last
        except Exception as fault:  # noqa: BLE001 - the thread goes on; told and counted
            success, error = False, type(fault).__name__
        if not success:
            _dropped("export_failed", len(batch))
            self._not_exported(spans=len(batch), error=error or None)


def _dropped(reason: str, spans: int) -> None:
    if spans:
        TRACE_SPANS_DROPPED.labels(reason).inc(spans)


class LibraryTracing:
    """``Tracer`` by the library."""

    def __init__(self, tracer: LibraryTracer, *, ingress_traces: bool) -> None:
        self.tracer = tracer
        self._ingress_traces = ingress_traces

    def begin(self, name: str, kind: Kind, *, parent: str | None) -> Span:
        above = _remote(parent) if parent is not None else _library_span(current())
        span = LibraryTracingSpan(self.tracer, name, kind, above)
        span.begin()
        return span

    def serves(self, method: str, route: str, *, said: str, trusted: bool) -> Span:
        name = f"{method} {route}" if route else method
        other = _remote(said)
        is_parent = trusted and self._ingress_traces
        span = LibraryTracingSpan(self.tracer, name, Kind.SERVER, other if is_parent else None)
        if other is not None and not is_parent:
            span.link(other)
        span.set("http.request.method", method)
        span.set("http.route", route or None)
        return span


class LibraryTracingSpan:
    """``Span`` by the library, which knows it from ``begin`` on: until then its parent is open."""

    __slots__ = (
        "_above",
        "_attributes",
        "_entered",
        "_kind",
        "_library",
        "_links",
        "_name",
        "_started_ns",
        "_tracer",
    )

    def __init__(
        self, tracer: LibraryTracer, name: str, kind: Kind, above: LibrarySpan | None
    ) -> None:
        self._tracer, self._name, self._kind, self._above = tracer, name, kind, above
        self._started_ns = time.time_ns()
        self._attributes: dict[str, Value] = {}
        self._links: list[Link] = []
        self._library: LibrarySpan | None = None
        self._entered: AbstractContextManager[None] | None = None

    def begin(self) -> LibrarySpan:
        """From now on it has its IDs."""
        if self._library is None:
            context = Context()
            self._library = self._tracer.start_span(
                self._name,
                context if self._above is None else set_span_in_context(self._above, context),
                _KINDS[self._kind],
                self._attributes,
                self._links,
                self._started_ns,
            )
        return self._library

    @property
    def trace_id(self) -> str:
        return f"{self.begin().get_span_context().trace_id:032x}"

    @property
    def span_id(self) -> str:
        return f"{self.begin().get_span_context().span_id:016x}"

    @property
    def traceparent(self) -> str:
        sampled = self.begin().get_span_context().trace_flags.sampled
        return format_traceparent(TraceParent(self.trace_id, self.span_id, sampled))

    def set(self, name: str, value: Value | None) -> None:
        if value is None:
            return
        if self._library is None:
            self._attributes[name] = value
        else:
            self._library.set_attribute(name, value)

    def failed(self, kind: str) -> None:
        self.set("error.type", kind)
        self.begin().set_status(StatusCode.ERROR)

    def link(self, other: LibrarySpan) -> None:
        if self._library is None:
            self._links.append(Link(other.get_span_context()))
        else:
            self._library.add_link(other.get_span_context())

    def continues(self, traceparent: str) -> None:
        other = _remote(traceparent)
        if other is None:
            return
        if self._library is None and self._above is None:
            self._above = other
        else:
            self.link(other)

    def end(self) -> None:
        self.begin().end()

    def __enter__(self) -> Self:
        self._entered = of_trace(self)
        self._entered.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._entered is not None:
            self._entered.__exit__(None, None, None)
        if kind is not None:
            self.failed(kind.__name__)
        self.end()


def _remote(traceparent: str) -> LibrarySpan | None:
    """The end of a context that is elsewhere; None for what is none."""
    context = parse_traceparent(traceparent)
    if context is None:
        return None
    return NonRecordingSpan(
        SpanContext(
            int(context.trace_id, 16),
            int(context.span_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT),
        )
    )


def _library_span(span: Span) -> LibrarySpan | None:
    return span.begin() if isinstance(span, LibraryTracingSpan) else None


__all__ = ["SpanQueue", "exporting"]
