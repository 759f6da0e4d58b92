"""What an ingress sends, as every dialect receives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Lines = tuple[tuple[bytes, bytes], ...]


class Headers(Protocol):
    """Case-insensitive multi-value headers, as aiohttp hands them out."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...
    def get(self, key: str, default: str, /) -> str:
        """Of the first line."""

    def __iter__(self) -> Iterator[str]:
        """The name of each line."""

    def __len__(self) -> int: ...


class RawRequest:
    """The check request itself."""

    __slots__ = (
        "_headers",
        "_lines",
        "method",
        "of_somebody",
        "peer",
        "raw_path",
        "request_id",
        "traceparent",
        "uri",
    )
    known: KnownHead | None = None
    """What it has in common with requests that came before, where that is known."""
    method: str
    raw_path: str
    """Byte-faithful: undecoded, undecodable bytes as lone surrogates."""
    peer: str
    """Address of the TCP peer; "" at a Unix socket."""
    uri: str | None
    """Path and query that are asked about, where they are known to be visible ASCII; else None."""
    request_id: str | None
    """Where ``uri`` is known: valid, and "" without one."""
    traceparent: str | None
    """Where ``uri`` is known: of its one line, well-formed, and "" without one."""
    of_somebody: bool
    """A session, a password or a token let it in: whoever decides says so."""

    def __init__(
        self, method: str, raw_path: str, headers: Headers, peer: str, lines: Lines = ()
    ) -> None:
        """``lines``: the same headers as bytes, name and value of each line; without them nothing
        is remembered of the request.
        """
        self.method, self.raw_path, self.peer = method, raw_path, peer
        self._headers, self._lines = headers, lines
        self.uri = self.request_id = self.traceparent = None
        self.of_somebody = False

    @property
    def headers(self) -> Headers:
        return self._headers

    @property
    def lines(self) -> Lines:
        return self._lines


class KnownHead:
    """A head that was read before, without the values of its URI, ID and trace lines. Who reads a
    request notes here what follows from these bytes alone.
    """

    __slots__ = ("allowed", "facts", "is_below", "key_of", "method", "path")
    version: Final = (1, 1)
    should_close: Final = False

    def __init__(self, method: str, path: str, *, is_below: bool = False) -> None:
        """``is_below``: the URI stands behind ``path``, in the request line."""
        self.method, self.path, self.is_below = method, path, is_below
        self.facts: tuple[object, str, Any] | None = None
        """Who read them, by which name of the session cookie, and what they are."""
        self.key_of: object = None
        """By which of its states the ingress' trust found a key that holds."""
        self.allowed: Any = None
        """What let the last request in: the check's own."""


class KnownRequest(RawRequest):
    """Of a known head, with a URI, an ID and a trace that hold visible ASCII alone. The headers are
    read when somebody asks for them.
    """

    __slots__ = ("_data", "_is_read", "_read", "known")
    known: KnownHead

    def __init__(
        self,
        known: KnownHead,
        uri: str,
        request_id: str,
        traceparent: str,
        peer: str,
        data: bytes,
        read: Callable[[bytes], tuple[Headers, Lines]],
    ) -> None:
        """``request_id``, ``traceparent``: of valid shape; "" where there is none. ``data``: the
        whole head, which ``read`` reads.
        """
        self.known, self.uri, self.request_id = known, uri, request_id
        self.traceparent, self.of_somebody = traceparent, False
        self.method, self.peer = known.method, peer
        self.raw_path = known.path + uri if known.is_below else known.path
        self._data, self._read, self._is_read = data, read, False

    def _read_once(self) -> None:
        if not self._is_read:
            self._headers, self._lines = self._read(self._data)
            self._is_read = True

    @property
    def headers(self) -> Headers:
        self._read_once()
        return self._headers

    @property
    def lines(self) -> Lines:
        self._read_once()
        return self._lines


__all__ = ["Headers", "KnownHead", "KnownRequest", "RawRequest"]
