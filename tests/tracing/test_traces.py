"""Traces of one login and of two revocations across the admin role and two replicas, as a collector
gets them. The page for operators shows them as these tests saw them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from demo.world import World
from tests.revocation.test_given_back import Api, joins
from tests.revocation.test_removed import COOKIE
from tests.support.browserless import Person
from tests.support.world import RunningWorld
from tests.tracing.collector import Collector, Exported, tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ACME = "acme.localhost"
PAGE = Path(__file__).parents[2] / "docs" / "operator" / "tracing.md"
OURS = "00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@pytest.fixture(scope="module")
def running(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningWorld]:
    world = World(
        tmp_path_factory.mktemp("traced"),
        replicas=2,
        environment={
            "GATEWAY_TRACING__ENDPOINT": collector.url,
            "GATEWAY_TRACING__INGRESS_TRACES": "true",
            "GATEWAY_TRACING__EXPORT_HEADERS": "x-api-key=hush%21",
            "GATEWAY_TRACING__RESOURCE_ATTRIBUTES": '{"deployment.environment.name": "test"}',
            "OTEL_SERVICE_NAME": "door",
        },
    )
    with RunningWorld(world) as started:
        # The first login in a process reads Cognito's keys.
        asyncio.run(log_in(started, "alice@acme.test"))
        yield started


@pytest.fixture
async def api(running: RunningWorld) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        yield Api(running, http)


async def log_in(running: RunningWorld, email: str) -> str:
    """A session that both replicas hold in memory; its cookie."""
    async with Person() as person:
        await person.log_in(f"{running.world.url(ACME)}/_auth/login?rd=/reports%3Fq%3D1", email)
        cookie = person.cookies(ACME)[COOKIE]
    for replica in (0, 1):
        assert running.check(ACME, cookie=cookie, replica=replica).status == 200
    return cookie


def confirmations(spans: list[Exported], root: Exported) -> set[str]:
    return {
        str(span.attributes["gateway.replica"])
        for span in spans
        if span.name == "revocation.confirm" and span.trace == root.trace
    }


def documented(title: str, shown: str) -> None:
    """The tree is on the page; ``UPDATE_DOCS=1`` puts it there."""
    text = PAGE.read_text("utf-8")
    block = re.compile(rf"(?s)(<!-- trace: {title} -->\n\n```text\n)(.*?)(\n```\n)")
    assert block.search(text), f"no place for the trace of {title}"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(block.sub(lambda found: found[1] + shown + found[3], text), "utf-8")
        return
    found = block.search(text)
    assert found is not None and found[2] == shown, f"run with UPDATE_DOCS=1: {shown}"


async def test_a_login_is_one_trace_from_its_start_to_the_session_at_the_application(
    running: RunningWorld, collector: Collector
) -> None:
    await log_in(running, "alice@acme.test")
    # A line of the log belongs to it.
    line = [json.loads(line) for line in running.log().splitlines() if '"login_succeeded"' in line][
        -1
    ]
    collector.wait(
        lambda spans: any(
            (span.name, span.trace) == ("GET /_auth/complete", line["trace_id"]) for span in spans
        )
    )
    (callback,) = [span for span in collector.spans if span.id == line["span_id"]]
    assert callback.name == "GET /_auth/callback"
    documented("a login", tree(collector.trace_of(callback)))


async def test_a_revocation_is_followed_to_the_last_replica(
    running: RunningWorld, collector: Collector, api: Api
) -> None:
    cookie = await log_in(running, "bob@acme.test")
    body = {"tenant": "acme", "email": "bob@acme.test", "kind": "end_sessions", "reason": "left"}
    await api.call("POST", "/revocations", body)
    assert running.check(ACME, cookie=cookie, replica=1).status == 401
    collector.wait(
        lambda spans: [
            root
            for root in spans
            if root.name == "POST /admin/v1/revocations" and len(confirmations(spans, root)) == 2
        ]
    )
    (root,) = collector.named("POST /admin/v1/revocations")
    documented("a revocation by the API", tree(collector.trace_of(root)))


async def test_a_hook_is_followed_from_the_delivery_to_the_last_replica_and_to_the_webhook(
    running: RunningWorld, collector: Collector
) -> None:
    heard: list[str] = []
    verify = running.world.legacy.verify
    assert verify is not None

    def noted(headers: Any, body: Any) -> bool:
        heard.append(headers.get("traceparent", ""))
        return bool(verify(headers, body))

    running.world.legacy.verify = noted
    okta, leaver, email = joins(running, "acme-okta", "trudy", ("app-users",))
    await log_in(running, email)
    running.run(okta.deactivate(leaver))
    collector.wait(
        lambda spans: [
            root
            for root in spans
            if root.name == "hook.apply" and len(confirmations(spans, root)) == 2
        ]
    )
    (applied,) = [s for s in collector.named("hook.apply") if confirmations(collector.spans, s)]
    documented("a hook", tree(collector.trace_of(applied)))
    collector.wait(
        lambda spans: heard and {one.split("-")[2] for one in heard} <= {s.id for s in spans}
    )


async def test_an_ingress_that_traces_is_the_parent_and_its_checks_name_its_trace(
    running: RunningWorld, collector: Collector
) -> None:
    async with Person() as person:
        await person.open(
            f"{running.world.url(ACME)}/_auth/userinfo", headers={"traceparent": OURS}
        )
    running.check(ACME, "/seen", headers={"traceparent": OURS})
    running.check(ACME, "/strange", headers={"traceparent": "00-" + "z" * 52})
    trace, span = OURS.split("-")[1:3]
    collector.wait(lambda spans: any(one.trace == trace for one in spans))
    (served,) = [one for one in collector.spans if one.trace == trace]
    assert (served.name, served.parent, served.kind) == ("GET /_auth/userinfo", span, "server")
    checks = {
        line["path"]: line.get("trace_id")
        for line in map(json.loads, running.log().splitlines())
        if line["event"] == "check" and line["path"] in {"/seen", "/strange"}
    }
    assert checks == {"/seen": trace, "/strange": None}


async def test_a_histogram_names_a_trace_to_who_asks_in_openmetrics(
    running: RunningWorld, collector: Collector
) -> None:
    await log_in(running, "alice@acme.test")
    url = f"http://127.0.0.1:{running.world.gateways[0].ports['admin']}/metrics"
    accepts = {"Accept": "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"}
    async with aiohttp.ClientSession() as http:
        async with http.get(url, headers=accepts) as answer:
            assert answer.content_type == "application/openmetrics-text"
            found = list(text_string_to_metric_families(await answer.text()))  # type: ignore[no-untyped-call]  # left untyped
        async with http.get(url) as answer:
            assert answer.content_type == "text/plain"
            assert "trace_id" not in await answer.text()
    exemplars = [
        sample.exemplar.labels["trace_id"]
        for family in found
        if family.name == "gateway_login_duration_seconds"
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert exemplars
    collector.wait(lambda spans: {one.trace for one in spans} >= set(exemplars))


async def test_spans_hold_no_person_no_query_and_no_secret(
    running: RunningWorld, collector: Collector
) -> None:
    """Of everything that the tests above have sent."""
    cookie = await log_in(running, "alice@acme.test")
    collector.wait(lambda spans: sum(span.name == "GET /_auth/complete" for span in spans) >= 2)
    sent = b"\n".join(collector.raw)
    told = [
        b"alice",
        b"bob",
        b"trudy",
        b"@acme",
        b"q=1",
        b"code=",
        b"ticket",
        b"hush",
        cookie.encode(),
    ]
    told += [one.encode() for one in running.world.secrets.values()]
    assert [one for one in told if one in sent] == []
    assert {headers["X-Api-Key"] for headers in map(_titled, collector.headers)} == {"hush!"}
    assert {
        (one["service.name"], one["deployment.environment.name"]) for one in collector.resources
    } == {("door", "test")}
    assert {one["gateway.role"] for one in collector.resources} == {"all", "auth"}


def _titled(headers: dict[str, Any]) -> dict[str, Any]:
    return {name.title(): value for name, value in headers.items()}
