"""Verifiers that are not ours, against the real listener: Okta's published suite, Microsoft's, and
scim2-tester. What differs is documented. And the clients of the stand-in IdPs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from httpx2 import Client
from yarl import URL

from demo.idp.directory import Directory, okta_id
from demo.idp.scim_client import ScimClient
from tests.hooks.samples import load
from tests.hooks.test_scim_client import PATH, call
from tests.hooks.world import GLOBEX_SECRET, SECRET, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.hooks.world import World

DOCUMENTED = (
    (Path(__file__).parents[2] / "docs" / "operator" / "hooks.md")
    .read_text(encoding="utf-8")
    .partition("### SCIM conformance")[2]
)
PLACEHOLDER = re.compile(r"\{\{([$\w]+)\}\}")


@pytest.fixture
def database_url() -> str:
    """One database is enough here, as in ``test_scim_standing``."""
    return "embedded"


def at(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document[int(part)] if isinstance(document, list) else document.get(part)
    return document


def filled(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, str):
        return PLACEHOLDER.sub(
            lambda match: str(uuid.uuid4()) if match[1] == "$guid" else known[match[1]], value
        )
    if isinstance(value, dict):
        return {key: filled(one, known) for key, one in value.items()}
    return [filled(one, known) for one in value] if isinstance(value, list) else value


def failures(step: dict[str, Any], status: int, text: str, known: dict[str, str]) -> list[str]:
    """What the suite says of this answer."""
    found = [] if status == step["status"] else [f"status {status}, not {step['status']}"]
    document = json.loads(text) if text else {}
    for kind, what, *wanted in filled(step.get("expect", []), known):
        match kind:
            case "text" | "no_text":
                holds = (what in text) is (kind == "text")
            case "not_empty":
                holds = at(document, what) not in (None, "", [], {})
            case "equal":
                holds = at(document, what) == wanted[0]
            case "has_value":
                holds = wanted[0] in at(document, what)
            case "number" | "list":
                holds = isinstance(at(document, what), int if kind == "number" else list)
            case _:
                raise AssertionError(kind)
        found += [] if holds else [f"{kind} {what} {wanted}"]
    return found


@pytest.mark.parametrize("suite", ["okta_spec", "microsoft_reference"])
async def test_a_published_suite_passes_or_the_difference_is_documented(
    world: World, suite: str
) -> None:
    known = {
        "InvalidUserEmail": "abcdefgh@atko.test",
        "UserIdThatDoesNotExist": "010101001010101011001010101011",
        "randomEmail": "runa@acme.test",
        "randomUsername": "runa.s@acme.test",
        "randomUsernameCaps": "RUNA.S@ACME.TEST",
        "randomGivenName": "Runa",
        "randomFamilyName": "Scope",
    }
    if suite == "okta_spec":
        # Its first request wants somebody to be there.
        user = {
            "userName": "first@acme.test",
            "name": {"givenName": "F", "familyName": "I"},
            "emails": [{"value": "first@acme.test"}],
            "active": True,
        }
        assert (await call(world, "POST", "/Users", user))[0] == 201
    found, different = {}, set()
    for number, step in enumerate(load(f"scim/{suite}.json")):
        body = step.get("raw") or (
            json.dumps(filled(step["body"], known)) if "body" in step else None
        )
        headers = {
            "Authorization": step.get("authorization", f"Bearer {SECRET}"),
            "Accept": "application/scim+json",
            "Content-Type": "application/json",
        }
        path = filled(step["path"], known)
        for attempt in range(4):
            # As clients do where a machine busy with other tests answers 503.
            async with world.http.request(
                step["method"],
                URL(world.url + PATH + path, encoded="%" in path),
                data=body,
                headers=headers,
            ) as response:
                text = await response.text()
                assert not text or response.content_type == "application/scim+json"
                if response.status != 503 or attempt == 3:
                    break
        failed = failures(step, response.status, text, known)
        if "differs" in step:
            assert failed, f"{step['name']} passes: it does not differ any more"
            different.add(step["differs"])
            failed = [] if response.status == step["answered"] else failed
        if failed:
            found[f"{number} {step['name']}"] = failed
        known |= {name: at(json.loads(text), where) for name, where in step.get("keep", {}).items()}
    assert found == {}
    assert all(f"| {one}" in DOCUMENTED for one in different)


async def test_an_independent_verifier_finds_what_is_documented_and_nothing_else(
    world: World,
) -> None:
    # Two seconds of CPU time: not for every process that only collects this file.
    from scim2_client.engines.httpx2 import SyncSCIMClient
    from scim2_tester import Status, check_server

    def verify() -> list[Any]:
        with Client(
            base_url=world.url + PATH, headers={"Authorization": f"Bearer {SECRET}"}, timeout=30
        ) as http:
            return list(check_server(SyncSCIMClient(http)))

    results = await asyncio.to_thread(verify)
    assert len(results) > 60
    differs = {
        (r.resource_type, r.title, str(r.reason))
        for r in results
        if r.status not in {Status.SUCCESS, Status.SKIPPED}
    }
    assert differs == {
        ("User", "check_remove_attribute", "PATCH modify() did not remove attribute 'active'")
    }
    assert {r.title for r in results if r.status is Status.SKIPPED} <= {"search_with_attributes"}
    assert "| `Remove active` changes nothing" in DOCUMENTED
    assert "| A search over all resources (`/.search`) gets 501" in DOCUMENTED


@contextlib.asynccontextmanager
async def throttling(world: World, *, times: int) -> AsyncIterator[str]:
    """A front of the listener that answers 429 so often, and then passes everything on."""
    left = times

    async def front(request: web.Request) -> web.Response:
        nonlocal left
        if left:
            left -= 1
            return web.json_response({"status": "429"}, status=429, headers={"Retry-After": "7"})
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        async with world.http.request(
            request.method, world.url + request.raw_path, data=await request.read(), headers=headers
        ) as answer:
            return web.Response(
                body=await answer.read(),
                status=answer.status,
                headers={"Content-Type": answer.content_type},
            )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", front)
    async with serving(app) as url:
        yield url


@pytest.mark.parametrize("vendor", ["okta", "entra"])
async def test_an_identity_providers_own_client_takes_out_and_gives_back(
    world: World, vendor: str
) -> None:
    """As the demo's IdPs push: Microsoft's default mapping, and Okta's; throttled at first."""
    entra, slept = vendor == "entra", list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    directory = Directory(
        new_user_id=lambda: okta_id("00u"),
        new_group_id=lambda: "6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01" if entra else okta_id("00g"),
        clock=world.clock,
    )
    dana, group = (
        directory.add_person("dana@globex.test", name="Dana Doe", groups=("Sales",)),
        next(iter(directory.groups.values())),
    )
    directory.add_person("erin@globex.test", name="Erin Doe", groups=("Sales",))
    path, token, name = (
        ("/scim/v2/globex/globex-entra", GLOBEX_SECRET, group.id)
        if entra
        else (PATH, SECRET, "Sales")
    )
    async with throttling(world, times=3) as url:
        client = ScimClient(
            world.http, directory, base=url + path, token=token, entra=entra, sleep=sleep
        )

        async def cycle() -> None:
            await client.cycle()
            await world.settled()

        await cycle()
        assert (slept[:3], [status for _, _, status in client.requests[:4]]) == (
            [7.0] * 3,
            [429, 429, 429, 200],
        )
        assert world.revoker.standing == set()
        before = len(client.requests)
        await cycle()
        assert len(client.requests) == before, "nothing changed"

        await directory.remove_from_group(dana, group)
        await cycle()
        assert "dana@globex.test" in {
            r.who.email for r in world.revoker.standing if r.group_overlay == name
        }
        await directory.add_to_group(dana, group)
        await directory.deactivate(dana)
        await cycle()
        assert {r.group_overlay for r in world.revoker.standing} == {None}
        assert {r.who.email for r in world.revoker.standing if r.who.email} >= {"dana@globex.test"}
        await directory.activate(dana)
        await cycle()
        assert world.revoker.standing == set()
        # A service that has lost its state finds what it made.
        again = ScimClient(
            world.http, directory, base=url + path, token=token, entra=entra, sleep=sleep
        )
        await again.cycle()
        assert {method for method, _, _ in again.requests} == {"GET", "PATCH"}
        await directory.delete(dana)
        await cycle()
        if entra:
            await directory.delete(dana)
            await cycle()
        successor = directory.add_person("dana@globex.test", name="Dana Roe", groups=("Sales",))
        await cycle()
        assert "dana@globex.test" not in {r.who.email for r in world.revoker.standing}, (
            "the address has a new owner"
        )
        assert client.user(successor)["active"] is True
