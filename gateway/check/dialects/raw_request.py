"""What an ingress sends, as every dialect receives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Headers(Protocol):
    """Case-insensitive multi-value headers, as aiohttp hands them out."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...
    def get(self, key: str, default: str, /) -> str:
        """Of the first line."""

    def __iter__(self) -> Iterator[str]:
        """The name of each line."""

    def __len__(self) -> int: ...


class RawRequest(NamedTuple):
    """The check request itself. ``raw_path`` is byte-faithful: undecoded, undecodable bytes as lone
    surrogates.
    """

    method: str
    raw_path: str
    headers: Headers
    peer: str
    """Address of the TCP peer; "" at a Unix socket."""
    lines: tuple[tuple[bytes, bytes], ...] = ()
    """The same headers as bytes, name and value of each line; without them nothing is remembered of
    the request.
    """


__all__ = ["Headers", "RawRequest"]
