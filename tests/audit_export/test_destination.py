"""Standard output, a file, S3 and EventBridge: confirmed means kept."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.audit_export.destination import PUT_EVENTS_AT_ONCE, File, open_destination
from gateway.config.audit import Audit
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from aiohttp.test_utils import TestServer
    from pytest_aiohttp import AiohttpServer

LINES = [b'{"n":1}\n', b'{"n":2}\n']


async def test_a_file_is_appended_to_for_its_owner_alone_and_may_be_moved_away(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.jsonl"
    file = File(path)
    await file.send(LINES, first=1, last=2, at=0)
    assert path.stat().st_mode & 0o777 == 0o600
    path.rename(tmp_path / "audit.jsonl.1")
    await file.send(LINES[1:], first=2, last=2, at=0)
    assert path.read_bytes() == LINES[1]


async def test_what_a_full_disk_cut_off_stays_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"n":')
    await File(path).send(LINES, first=1, last=2, at=0)
    assert path.read_bytes().splitlines() == [b'{"n":', b'{"n":1}', b'{"n":2}']


async def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        await File(tmp_path / "absent" / "audit.jsonl").send(LINES, first=1, last=2, at=0)
    with pytest.raises(UnavailableError, match="No space left"):
        await File(Path("/dev/full")).send(LINES, first=1, last=2, at=0)


def test_standard_output_gets_the_lines_and_nothing_else() -> None:
    program = """
import asyncio
from gateway.audit_export.destination import open_destination

async def main():
    async with open_destination("stdout", region="eu-north-1") as destination:
        await destination.send([b"one\\n", b"two\\n"], first=1, last=2, at=0)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"one\ntwo\n"


class Aws:
    """S3 and EventBridge, as far as they are used: what they keep, and how they fail."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.events: list[dict[str, Any]] = []
        self.fails: list[str] = []

    def application(self) -> web.Application:
        application = web.Application(client_max_size=10**8)
        application.router.add_put("/{bucket}/{key:.+}", self.put)
        application.router.add_post("/", self.post)
        return application

    async def put(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.fails:
            code = self.fails.pop(0)
            return web.Response(
                status=403 if code == "AccessDenied" else 503,
                text=f"<Error><Code>{code}</Code><Message>arn:aws:iam::1:role/x</Message></Error>",
            )
        sent = request.headers["x-amz-checksum-sha256"]
        assert sent == base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert "AWS4-HMAC-SHA256" in request.headers["Authorization"]
        self.objects[f"{request.match_info['bucket']}/{request.match_info['key']}"] = body
        return web.Response()

    async def post(self, request: web.Request) -> web.Response:
        assert request.headers["X-Amz-Target"] == "AWSEvents.PutEvents"
        entries = json.loads(await request.read())["Entries"]
        assert 1 <= len(entries) <= PUT_EVENTS_AT_ONCE
        size = sum(len(v) for e in entries for k, v in e.items() if k != "EventBusName")
        assert size < 256 * 1024, "ValidationException"
        failed = [self.fails.pop(0) if self.fails else "" for _ in entries]
        kept = [one for one, code in zip(entries, failed, strict=True) if not code]
        self.events += kept
        answer = {
            "FailedEntryCount": len(entries) - len(kept),
            "Entries": [{"ErrorCode": c} if c else {"EventId": "1"} for c in failed],
        }
        return web.json_response(answer, content_type="application/x-amz-json-1.1")


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
async def server(aws: Aws, aiohttp_server: AiohttpServer) -> TestServer:
    server: TestServer = await aiohttp_server(aws.application())
    return server


async def test_a_batch_is_an_object_and_its_repetition_the_same_object(
    aws: Aws, server: TestServer
) -> None:
    async with open_destination(
        "s3://audit-logs/gateway", region="eu-north-1", endpoint_url=str(server.make_url(""))
    ) as destination:
        for _ in range(2):
            await destination.send(LINES, first=12, last=13, at=1_800_000_000)
    ((key, body),) = aws.objects.items()
    assert body == b"".join(LINES)
    digest = hashlib.sha256(body).hexdigest()[:12]
    assert key == f"audit-logs/gateway/2027/01/15/000000000012-000000000013-{digest}.jsonl"


async def test_what_s3_refuses_is_said_without_its_text(aws: Aws, server: TestServer) -> None:
    aws.fails = ["AccessDenied"]
    async with open_destination(
        "s3://audit-logs", region="eu-north-1", endpoint_url=str(server.make_url(""))
    ) as destination:
        with pytest.raises(UnavailableError) as raised:
            await destination.send(LINES, first=1, last=2, at=1_800_000_000)
    assert str(raised.value) == "s3:PutObject: AccessDenied"
    assert aws.objects == {}


async def test_each_record_is_an_event_ten_at_a_time(aws: Aws, server: TestServer) -> None:
    lines = [json.dumps({"n": number}).encode() + b"\n" for number in range(23)]
    async with open_destination(
        "eventbridge:audit", region="eu-north-1", endpoint_url=str(server.make_url(""))
    ) as destination:
        await destination.send(lines, first=1, last=23, at=0)
    assert [json.loads(one["Detail"])["n"] for one in aws.events] == list(range(23))
    assert {one["EventBusName"] for one in aws.events} == {"audit"}


async def test_long_records_are_sent_in_calls_that_the_bus_takes(
    aws: Aws, server: TestServer
) -> None:
    lines = [json.dumps({"n": n, "x": "x" * 130_000}).encode() + b"\n" for n in range(11)]
    async with open_destination(
        "eventbridge:audit", region="eu-north-1", endpoint_url=str(server.make_url(""))
    ) as destination:
        await destination.send(lines, first=1, last=11, at=0)
    assert [json.loads(one["Detail"])["n"] for one in aws.events] == list(range(11))


async def test_an_event_that_the_bus_refused_is_no_success(aws: Aws, server: TestServer) -> None:
    aws.fails = ["", "ThrottlingException"]
    async with open_destination(
        "eventbridge:audit", region="eu-north-1", endpoint_url=str(server.make_url(""))
    ) as destination:
        with pytest.raises(UnavailableError, match=r"^events:PutEvents: ThrottlingException$"):
            await destination.send(LINES, first=1, last=2, at=0)


async def test_nobody_there_is_unavailable() -> None:
    async with open_destination(
        "s3://audit-logs", region="eu-north-1", endpoint_url="http://127.0.0.1:9"
    ) as destination:
        with pytest.raises(UnavailableError, match=r"^s3:PutObject: \w+Error$"):
            await destination.send(LINES, first=1, last=2, at=0)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("off", None),
        (False, None),
        ("stdout", "stdout"),
        ("file:/var/log/gateway/audit.jsonl", "file:/var/log/gateway/audit.jsonl"),
        ("s3://audit-logs/gateway/", "s3://audit-logs/gateway/"),
        ("eventbridge:arn:aws:events:eu-north-1:123456789012:event-bus/audit",) * 2,
    ],
)
def test_a_destination_is_written_in_one_way(value: object, kept: str | None) -> None:
    assert Audit.model_validate({"export": value}).export == kept


@pytest.mark.parametrize(
    "value",
    ["file:audit.jsonl", "file:/a\nb", "s3://", "s3://Bucket", "http://x", "stderr", 7, "", True],
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="off, stdout, file:/PATH"):
        Audit.model_validate({"export": value})


def test_a_day_is_the_least_that_is_kept() -> None:
    assert Audit.model_validate({"retention": "400d"}).retention is not None
    for name in ("retention", "reads_retention"):
        with pytest.raises(ValueError, match=f"{name}: .*at least 1d"):
            Audit.model_validate({name: "23h"})
    reads = Audit.model_validate({"retention": "400d", "reads_retention": "30d"})
    assert reads.keeps_reads == timedelta(days=30)
    assert Audit.model_validate({"retention": "400d"}).keeps_reads == timedelta(days=400)
