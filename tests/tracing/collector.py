"""A collector of the tests' own: takes OTLP over HTTP, and prints traces as trees."""

from __future__ import annotations

import gzip
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

KINDS = {
    SpanMessage.SPAN_KIND_INTERNAL: "",
    SpanMessage.SPAN_KIND_SERVER: "server",
    SpanMessage.SPAN_KIND_CLIENT: "client",
    SpanMessage.SPAN_KIND_CONSUMER: "consumer",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """One span as it arrived. ``process``: the service's instance."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    process: str
    role: str
    start: int
    failed: bool
    attributes: dict[str, Any]
    links: tuple[str, ...]
    """Traces that it names."""


@dataclass
class Collector:
    """``with Collector() as collector``; ``url`` is its base. ``status``: what it answers."""

    status: int = 200
    delay_s: float = 0.0
    location: str = ""
    padding: int = 0
    """Bytes that follow an answer."""
    sent: int = 0
    """Bytes of padding that somebody read, and the buffers between."""
    connections: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    spans: list[Exported] = field(default_factory=list)

    def __enter__(self) -> Self:
        collector, self._news = self, threading.Condition()
        self._released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                collector.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector._released.wait(collector.delay_s)
                assert self.path == "/v1/traces"
                if collector.status == 200:
                    collector._take(body, dict(self.headers))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.status)
                self.send_header("Content-Length", str(len(answer) + collector.padding))
                if collector.location:
                    self.send_header("Location", collector.location)
                self.end_headers()
                self.wfile.write(answer)
                self._pad()

            def _pad(self) -> None:
                piece = b"x" * 65536
                try:
                    while collector.sent < collector.padding:
                        self.wfile.write(piece)
                        collector.sent += len(piece)
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, body: bytes, headers: dict[str, str]) -> None:
        raw = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
        message = ExportTraceServiceRequest.FromString(raw)
        with self._news:
            self.headers.append(headers)
            self.raw.append(raw)
            for group in message.resource_spans:
                resource = _attributes(group.resource.attributes)
                self.resources.append(resource)
                for scope in group.scope_spans:
                    self.spans += [_exported(span, resource) for span in scope.spans]
            self._news.notify_all()

    def wait(self, enough: Callable[[list[Exported]], object], *, seconds: float = 20) -> None:
        """Until what has arrived is enough."""
        deadline = time.monotonic() + seconds
        with self._news:
            while not enough(self.spans):
                left_s = deadline - time.monotonic()
                assert left_s > 0, tree(self.spans)
                self._news.wait(left_s)

    def named(self, name: str) -> list[Exported]:
        return [span for span in self.spans if span.name == name]

    def trace_of(self, span: Exported) -> list[Exported]:
        return [one for one in self.spans if one.trace == span.trace]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _exported(span: SpanMessage, resource: dict[str, Any]) -> Exported:
    return Exported(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        KINDS[span.kind],
        str(resource["service.instance.id"]),
        str(resource["gateway.role"]),
        span.start_time_unix_nano,
        span.status.code == span.status.STATUS_CODE_ERROR,
        _attributes(span.attributes),
        tuple(link.trace_id.hex() for link in span.links),
    )


def tree(spans: Sequence[Exported]) -> str:
    """Each span below its parent, in the order in which they began; ``SHOWN`` of its attributes."""
    ids = {span.id for span in spans}
    lines: list[str] = []

    def show(span: Exported, depth: int) -> None:
        told = [
            f"{name.rpartition('.')[2]}={span.attributes[name]}"
            for name in SHOWN
            if name in span.attributes
        ]
        lines.append(f"{'  ' * depth}{span.name}  [{span.role}]  {' '.join(told)}".rstrip())
        for below in _in_order(one for one in spans if one.parent == span.id):
            show(below, depth + 1)

    for root in _in_order(span for span in spans if span.parent not in ids):
        show(root, 0)
    return "\n".join(lines)


SHOWN = (
    "gateway.tenant",
    "gateway.provider",
    "gateway.reason",
    "gateway.operation",
    "gateway.revocation.source",
    "gateway.revocation.kind",
    "gateway.revocation.ended",
    "gateway.revocation.replicas",
    "gateway.hook.effect",
    "gateway.hook.outcome",
    "http.response.status_code",
)


def _in_order(spans: Any) -> list[Exported]:
    """Replicas confirm in any order."""
    return sorted(
        spans,
        key=lambda span: (0 if span.name == "revocation.confirm" else span.start, span.role),
    )
