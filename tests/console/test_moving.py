"""What moves on a page: htmx as it was published, its policy, and nothing of anybody else."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.console.follow import MAX_STREAMS_OF_A_PERSON, Followers
from gateway.console.moving import FOLDER, Script
from gateway.console.outcome import Followed
from gateway.console.views import provisioning
from gateway.provisioning.runs import Action, JournalStep, RunState, StepState
from tests.console.conftest import EVIL, document
from tests.console.test_provisioning import RUN, journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import pytest
    from aiohttp import ClientResponse

    from gateway.provisioning.runs import Run
    from tests.console.conftest import Desk

EVENTS = f"{RUN}/events"
ATTRIBUTES = f'" hx-get="/evil" data-hx-get="/evil" hx-on:load="alert(1)" {EVIL}'


def step_of(resource: str, state: StepState, error: dict[str, str] | None = None) -> JournalStep:
    return JournalStep(1, Action.CREATE_CLIENT, resource, state, {}, None, 1.0, error)


def test_htmx_is_what_was_published_beside_its_license() -> None:
    source = json.loads((FOLDER / "source.json").read_text())
    assert set(source["files"]) == {p.name for p in FOLDER.iterdir()} - {"source.json"}
    for name, file in source["files"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == file["sha256"]
    assert f"'{source['version']}'" in (FOLDER / "htmx.min.js").read_text().replace('"', "'")


async def test_the_script_is_one_file_of_20_kb_that_never_changes(desk: Desk) -> None:
    response = await desk.client.get(desk.script)
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.content_type == "text/javascript"
    script = Script()
    assert await response.read() == script.text
    assert gzip.decompress(script.packed) == script.text
    assert len(script.packed) <= 20_000
    plain = await desk.client.get(desk.script, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers


async def test_each_answer_has_a_nonce_of_its_own_and_only_our_attributes(desk: Desk) -> None:
    nonces = set()
    for _ in range(3):
        text = await desk.text("/console/tenants", "admins")
        [nonce] = re.findall(r'<script nonce="([^"]+)"', text)
        assert set(re.findall(r'hx-nonce="([^"]*)"', text)) == {nonce}
        assert text.count(" hx-get=") == text.count(" hx-nonce=") == 1
        nonces.add(nonce)
    assert len(nonces) == 3


async def test_no_text_of_a_tenant_becomes_an_attribute(desk: Desk) -> None:
    """A name that would be one, were it not escaped: in elements, in attributes, in what moves."""
    desk.tenants.stored["acme"] = document(
        "acme", name=ATTRIBUTES, hosts=[ATTRIBUTES], email_domains=[ATTRIBUTES]
    )
    runs = journal(desk)
    error = {"code": ATTRIBUTES, "message": ATTRIBUTES}
    step = step_of(ATTRIBUTES, StepState.INTENDED, error)
    runs.stored["abcdef012345"] = replace(
        runs.stored["abcdef012345"], state=RunState.RUNNING, actor=ATTRIBUTES, steps=(step,)
    )
    search = {"search": ATTRIBUTES}
    sent = {"X-Auth-Request-Jwt": desk.assertion("admins")}
    for path, query in (("/console/tenants", {}), ("/console/tenants", search), (RUN, {})):
        answer = await desk.client.get(path, params=query, headers=sent)
        text = await answer.text()
        own = re.findall(r' hx-get="([^"]*)"', text)
        assert own
        assert set(own) <= {"/console/tenants", RUN, EVENTS}
        assert not re.search(r'<[^>"]*("[^"]*"[^>"]*)*\s(hx-on|data-hx)', text)
        assert "<script>" not in text


async def told(response: ClientResponse) -> list[str]:
    """The messages of a stream until its end."""
    text = (await response.read()).decode()
    return [m for m in text.split("\n\n") if m and not m.startswith(":")]


async def test_a_run_is_followed_step_by_step_to_its_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = journal(desk)
    run = runs.stored["abcdef012345"]
    step = step_of("the client", StepState.INTENDED)
    states = iter(
        [
            replace(run, state=RunState.RUNNING),
            replace(run, state=RunState.RUNNING, steps=(step,)),
            replace(run, state=RunState.RUNNING, steps=(step,)),
            replace(run, steps=(replace(step, state=StepState.DONE),)),
        ]
    )

    async def found(*_: object) -> Run:
        return next(states)

    monkeypatch.setattr(provisioning, "LOOK_S", 0.0)
    monkeypatch.setattr(type(runs), "run", found)
    response = await desk.get(EVENTS, "onboarding")
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    messages = await told(response)
    assert ["No step has begun." in m for m in messages] == [True, False, False, False]
    assert ["in progress" in m for m in messages] == [False, True, False, False]
    assert "the client" in messages[2]
    assert messages[-1] == "event: done\ndata: ."


async def test_a_hostile_text_stays_within_its_event(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = journal(desk)
    hostile = f"a\n\nevent: done\r\rdata: x\u2028{ATTRIBUTES}"
    error = {"code": hostile, "message": hostile}
    step = step_of(hostile, StepState.REFUSED, error)
    runs.stored["abcdef012345"] = replace(runs.stored["abcdef012345"], steps=(step,))
    monkeypatch.setattr(provisioning, "LOOK_S", 0.0)
    one, end = await told(await desk.get(EVENTS, "onboarding"))
    assert all(line.startswith("data: ") for line in one.split("\n"))
    assert "\r" not in one
    assert "<script>" not in one
    assert end.startswith("event: done")


async def test_whoever_may_not_see_the_run_follows_nothing(desk: Desk) -> None:
    await desk.text(EVENTS, "support", status=403)
    await desk.text("/console/tenants/globex/runs/abcdef012345/events", "onboarding", status=404)


async def test_one_person_has_a_few_streams_and_each_ends_in_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends without the last event is asked for again, through the check."""
    monkeypatch.setattr(provisioning, "LOOK_S", 3600.0)
    runs = journal(desk)
    runs.stored["abcdef012345"] = replace(runs.stored["abcdef012345"], state=RunState.RUNNING)
    open_ = [await desk.get(EVENTS, "onboarding") for _ in range(MAX_STREAMS_OF_A_PERSON)]
    for response in open_:
        assert (await response.content.readuntil(b"\n\n")).startswith(b"data: ")
    assert (await desk.get(EVENTS, "onboarding")).status == 204
    other = await desk.client.get(
        EVENTS, headers={"X-Auth-Request-Jwt": desk.assertion("onboarding", sub="erin-sub")}
    )
    assert other.status == 200
    for response in (*open_, other):
        response.close()


async def test_a_stream_ends_with_its_time_and_with_the_process() -> None:
    async def never() -> AsyncIterator[Mapping[str, object]]:
        yield {"n": 1}
        await asyncio.Event().wait()

    def draw(values: Mapping[str, object]) -> str:
        return str(values["n"])

    def messages(followers: Followers) -> AsyncIterator[bytes]:
        return followers._messages(Followed("t", never()), draw)

    found = [m async for m in messages(Followers(stream_s=0.05))]
    assert found == [b"data: 1\n\n", b": still here\n\n"]
    followers = Followers()
    found = []
    async for message in messages(followers):
        found.append(message)
        followers.close()
    assert found == [b"data: 1\n\n"]


async def test_shutting_down_waits_for_no_stream(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioning, "LOOK_S", 3600.0)
    runs = journal(desk)
    runs.stored["abcdef012345"] = replace(runs.stored["abcdef012345"], state=RunState.RUNNING)
    response = await desk.get(EVENTS, "onboarding")
    await response.content.readuntil(b"\n\n")
    async with asyncio.timeout(20):
        await desk.client.server.close()
