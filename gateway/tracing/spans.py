"""Spans of what this process does. Without a tracer nothing is made, and nothing is remembered.

Rules:
- A span begins below the one that its task has (context variables; tasks inherit them). Work for
  many begins in ``contextvars.Context()``, and has none.
- A name is one of a few. Attributes are words of our own, tenants, providers, hosts and routes:
  never a token, cookie, query, address or name of a person, and never the text of an error.
- A context that came from outside is a parent only where the ingress makes traces and this peer is
  an ingress of ours; any other is a link. Nobody else decides what is recorded, or where it hangs.
- A check has no span.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias, cast
from urllib.parse import urlsplit

from gateway.log import current_trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

Value: TypeAlias = "str | bool | int | float"
_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
)
"""Any other is written ``_OTHER``, as the semantic conventions for HTTP have it."""


class Kind(StrEnum):
    """As OpenTelemetry has them."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"


class Headers(Protocol):
    """Case-insensitive multi-value headers."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


class Span(Protocol):
    """Entered once, and current within; or never, and ended."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""

    @property
    def span_id(self) -> str: ...

    @property
    def traceparent(self) -> str:
        """For whoever goes on with this work elsewhere."""

    def set(self, name: str, value: Value | None) -> None:
        """None is left out."""

    def failed(self, kind: str) -> None:
        """``kind``: one of a few words (``error.type``)."""

    def continues(self, traceparent: str) -> None:
        """What is served goes on with work that was begun before, as our own record of it says: it
        becomes part of that trace if nothing has been said of this span yet, else it has a link
        there.
        """

    def end(self) -> None:
        """Of one that is not entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Tracer(Protocol):
    """Makes spans."""

    def begin(self, name: str, kind: Kind, *, parent: str | None) -> Span:
        """``parent``: a ``traceparent`` of our own; "" for a trace of its own; None for the current
        span.
        """

    def serves(self, method: str, route: str, *, said: str, trusted: bool) -> Span:
        """``said``: the ``traceparent`` that came with the request, as it came; "" for none."""


class _Nothing:
    """Of work that is not traced."""

    __slots__ = ()
    trace_id = span_id = traceparent = ""

    def set(self, name: str, value: Value | None) -> None: ...

    def failed(self, kind: str) -> None: ...

    def continues(self, traceparent: str) -> None: ...

    def end(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


NOTHING: Final[Span] = _Nothing()
_tracer: Tracer | None = None


def install(tracer: Tracer | None) -> None:
    """For this process, as its log is."""
    global _tracer  # noqa: PLW0603 - one for a process, like its log and its metrics
    _tracer = tracer


def span(name: str, kind: Kind = Kind.INTERNAL, *, parent: str | None = None) -> Span:
    """A piece of work. ``parent``: what our own record says of where it was begun; "" for a trace
    of its own; without it, the span that this task has.
    """
    return NOTHING if _tracer is None else _tracer.begin(name, kind, parent=parent)


def served(method: str, route: str, headers: Headers, *, trusted: bool = False) -> Span:
    """A request that is answered here. ``route``: its pattern, never its address; "" where there is
    none. ``trusted``: the peer is an ingress of ours.
    """
    if _tracer is None:
        return NOTHING
    lines = headers.getall("traceparent", ())
    traceparent = lines[0] if len(lines) == 1 else ""
    return _tracer.serves(
        method if method in _METHODS else "_OTHER", route, said=traceparent, trusted=trusted
    )


def called(method: str, url: str) -> Span:
    """A request to a peer. Of its address the scheme, the host and the port are told."""
    if _tracer is None:
        return NOTHING
    client_span = _tracer.begin(method, Kind.CLIENT, parent=None)
    parts = urlsplit(url)
    client_span.set("http.request.method", method)
    client_span.set("url.scheme", parts.scheme)
    client_span.set("server.address", parts.hostname)
    try:
        client_span.set("server.port", parts.port or {"https": 443, "http": 80}.get(parts.scheme))
    except ValueError:  # of an address that a peer named: whoever calls it says what is wrong
        client_span.set("server.port", None)
    return client_span


def current() -> Span:
    """What this task works on."""
    ids = current_trace()
    return NOTHING if ids is None else cast("Span", ids)  # nothing but spans is put there


def exemplar() -> dict[str, str] | None:
    """For an observation of a metric: which trace it is of; None for none that is recorded."""
    now = current().traceparent
    return {"trace_id": now[3:35], "span_id": now[36:52]} if now.endswith("1") else None


__all__ = [
    "NOTHING",
    "Kind",
    "Span",
    "Tracer",
    "called",
    "current",
    "exemplar",
    "install",
    "served",
    "span",
]
