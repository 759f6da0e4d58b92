"""Verifiers that are not ours, against the real listener: Okta's published suite, Microsoft's, and scim2-tester. What differs is documented."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server
from yarl import URL

from tests.hooks.samples import load
from tests.hooks.test_scim_client import PATH, call
from tests.hooks.world import SECRET

if TYPE_CHECKING:
    from tests.hooks.world import World

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "operator" / "hooks.md").read_text(encoding="utf-8").partition("### Conformance")[2]
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
        return PLACEHOLDER.sub(lambda match: str(uuid.uuid4()) if match[1] == "$guid" else known[match[1]], value)
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
async def test_a_published_suite_passes_or_the_difference_is_documented(world: World, suite: str) -> None:
    known = {
        "InvalidUserEmail": "abcdefgh@atko.test", "UserIdThatDoesNotExist": "010101001010101011001010101011", "randomEmail": "runa@acme.test", "randomUsername": "runa.s@acme.test",
        "randomUsernameCaps": "RUNA.S@ACME.TEST", "randomGivenName": "Runa", "randomFamilyName": "Scope",
    }  # fmt: skip
    if suite == "okta_spec":
        # Its first request wants somebody to be there.
        user = {"userName": "first@acme.test", "name": {"givenName": "F", "familyName": "I"}, "emails": [{"value": "first@acme.test"}], "active": True}
        assert (await call(world, "POST", "/Users", user))[0] == 201
    found, different = {}, set()
    for number, step in enumerate(load(f"scim/{suite}.json")):
        body = step.get("raw") or (json.dumps(filled(step["body"], known)) if "body" in step else None)
        headers = {"Authorization": step.get("authorization", f"Bearer {SECRET}"), "Accept": "application/scim+json", "Content-Type": "application/json"}
        path = filled(step["path"], known)
        for attempt in range(4):
            # As clients do where a machine busy with other tests answers 503.
            async with world.http.request(step["method"], URL(world.url + PATH + path, encoded="%" in path), data=body, headers=headers) as response:
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


async def test_an_independent_verifier_finds_what_is_documented_and_nothing_else(world: World) -> None:
    def verify() -> list[Any]:
        with Client(base_url=world.url + PATH, headers={"Authorization": f"Bearer {SECRET}"}, timeout=30) as http:
            return list(check_server(SyncSCIMClient(http)))

    results = await asyncio.to_thread(verify)
    assert len(results) > 60
    differs = {(r.resource_type, r.title, str(r.reason)) for r in results if r.status not in {Status.SUCCESS, Status.SKIPPED}}
    assert differs == {("User", "check_remove_attribute", "PATCH modify() did not remove attribute 'active'")}
    assert {r.title for r in results if r.status is Status.SKIPPED} <= {"search_with_attributes"}
    assert "| `Remove active` changes nothing" in DOCUMENTED
    assert "| Searching all resources at once (`/.search`) is 501" in DOCUMENTED
