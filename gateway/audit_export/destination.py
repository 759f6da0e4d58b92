"""Where audit records go. Each returns when its destination has confirmed, or raises
``UnavailableError``; what it was given is then given again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from gateway.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

STDOUT: Final = 1
PUT_EVENTS_AT_ONCE: Final = 10
PUT_EVENTS_BYTES: Final = 200_000
"""Of one call: EventBridge takes less than 256 KB, names and times of the events included."""
CONNECT_S, READ_S = 5.0, 15.0
SOURCE: Final = "cognito-gateway"
DETAIL_TYPE: Final = "Audit record"


class Destination(Protocol):
    """Takes lines of JSON Lines, in order."""

    async def send(self, lines: Sequence[bytes], *, first: int, last: int, at: float) -> None:
        """``first`` and ``last``: ids of the records. ``at``: time of the first, epoch seconds."""


class Stdout:
    """The process's standard output; the log is on standard error."""

    async def send(self, lines: Sequence[bytes], *, first: int, last: int, at: float) -> None:
        del first, last, at
        try:
            await asyncio.to_thread(_write_all, STDOUT, b"".join(lines))
        except OSError as error:
            raise _unavailable("standard output", error) from error


class File:
    """Appended to, mode 0600, and opened each time: whoever rotates it moves it away."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, lines: Sequence[bytes], *, first: int, last: int, at: float) -> None:
        del first, last, at
        try:
            await asyncio.to_thread(self._append, b"".join(lines))
        except OSError as error:
            raise _unavailable(str(self._path), error) from error

    def _append(self, data: bytes) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            # What a full disk cut off stays a line of its own; the record comes again, whole.
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class S3:
    """An object for each batch. The same batch has the same key, so that a repetition replaces
    it.
    """

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix

    async def send(self, lines: Sequence[bytes], *, first: int, last: int, at: float) -> None:
        body = b"".join(lines)
        day = datetime.fromtimestamp(at, UTC).strftime("%Y/%m/%d")
        name = f"{first:012d}-{last:012d}-{hashlib.sha256(body).hexdigest()[:12]}.jsonl"
        await _call(
            self._client.put_object,
            "s3:PutObject",
            Bucket=self._bucket,
            Key=f"{self._prefix}{day}/{name}",
            Body=body,
            ContentType="application/x-ndjson",
            ChecksumAlgorithm="SHA256",
        )


class EventBridge:
    """An event for each record."""

    def __init__(self, client: Any, bus: str) -> None:
        self._client, self._bus = client, bus

    async def send(self, lines: Sequence[bytes], *, first: int, last: int, at: float) -> None:
        del first, last, at
        for chunk in _chunks(lines):
            entries = [
                {
                    "EventBusName": self._bus,
                    "Source": SOURCE,
                    "DetailType": DETAIL_TYPE,
                    "Detail": line.decode("ascii").rstrip("\n"),
                }
                for line in chunk
            ]
            answer = await _call(self._client.put_events, "events:PutEvents", Entries=entries)
            if answer["FailedEntryCount"]:
                codes = sorted({e["ErrorCode"] for e in answer["Entries"] if "ErrorCode" in e})
                msg = f"events:PutEvents: {', '.join(codes) or 'refused'}"
                raise UnavailableError(msg)


@asynccontextmanager
async def open_destination(
    target: str, *, region: str, endpoint_url: str | None = None
) -> AsyncIterator[Destination]:
    """``target`` as in ``audit.export``; ``endpoint_url`` for development only. Raises
    ``ConfigError`` where the AWS library is missing.
    """
    parts = urlsplit(target)
    if target == "stdout":
        yield Stdout()
    elif parts.scheme == "file":
        yield File(Path(parts.path))
    else:
        async with AsyncExitStack() as stack:
            service = "s3" if parts.scheme == "s3" else "events"
            client = await _client(stack, service, region, endpoint_url)
            if service == "s3":
                prefix = parts.path.strip("/")
                yield S3(client, parts.netloc, f"{prefix}/" if prefix else "")
            else:
                yield EventBridge(client, target.removeprefix("eventbridge:"))


async def _client(
    stack: AsyncExitStack, service: str, region: str, endpoint_url: str | None
) -> Any:
    try:
        import aioboto3  # noqa: PLC0415 - the admin role only, and only with such a destination
        from botocore.config import Config as BotoConfig  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    except ImportError as error:
        msg = (
            "audit.export: AWS needs its library: install the release's wheel with the extra [aws]"
        )
        raise ConfigError(msg) from error
    anyone = (
        {"aws_access_key_id": "development", "aws_secret_access_key": "development"}
        if endpoint_url
        else {}
    )
    try:
        return await stack.enter_async_context(
            aioboto3.Session(region_name=region).client(
                service,
                endpoint_url=endpoint_url,
                config=BotoConfig(
                    connect_timeout=CONNECT_S,
                    read_timeout=READ_S,
                    retries={"mode": "standard", "total_max_attempts": 3},
                ),
                **anyone,
            )
        )
    except (BotoCoreError, ValueError) as error:
        msg = f"audit.export: AWS: {type(error).__name__}"
        raise ConfigError(msg) from error


async def _call(operation: Any, name: str, **request: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    try:
        return await operation(**request)
    except ClientError as error:
        # AWS's texts hold account numbers and names of roles.
        msg = f"{name}: {error.response.get('Error', {}).get('Code', 'refused')}"
        raise UnavailableError(msg) from error
    except (BotoCoreError, TimeoutError, OSError) as error:
        msg = f"{name}: {type(error).__name__}"
        raise UnavailableError(msg) from error


def _chunks(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    """As much as one call takes; a line alone is shorter (``ocsf.LONGEST_VALUE``)."""
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        if chunk and (len(chunk) == PUT_EVENTS_AT_ONCE or size + len(line) > PUT_EVENTS_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield chunk


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _unavailable(where: str, error: OSError) -> UnavailableError:
    return UnavailableError(f"{where}: {error.strerror}")
