"""The life of one user as the SCIM clients of seven vendors tell it, to the same record and the
same end. What each sends is in ``tests/data/scim-vendors.yaml``, with where it is from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from yarl import URL

from tests.hooks.world import SECRET

if TYPE_CHECKING:
    from tests.hooks.world import World

VENDORS = yaml.safe_load(
    (Path(__file__).parents[1] / "data" / "scim-vendors.yaml").read_text(encoding="utf-8")
)
BASE = "/scim/v2/acme/acme-okta"


@dataclass
class Client:
    """One vendor's; ``ids`` are what the gateway answered."""

    world: World
    vendor: dict[str, Any]
    ids: dict[str, str] = field(default_factory=lambda: {"user": "", "group": ""})

    async def play(self, step: str) -> None:
        for method, path, body, expected in self.vendor[step]:
            filled = json.loads(self._filled(json.dumps(body))) if body is not None else None
            status, answer = await self.send(method, self._filled(path), filled)
            assert status == expected, (method, path, answer)
            if method == "POST":
                self.ids["user" if path.startswith("/Users") else "group"] = answer["id"]
        await self.world.settled()

    def _filled(self, text: str) -> str:
        for name, value in self.ids.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    async def send(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The address as it is written, with what is left at its end."""
        headers = {"Authorization": f"Bearer {SECRET}"}
        if body is not None:
            headers["Content-Type"] = self.vendor["media"]
        url = URL(
            self.world.url + BASE + path.replace(" ", "%20").replace('"', "%22"), encoded=True
        )
        for attempt in range(4):
            async with self.world.http.request(
                method, url, data=json.dumps(body) if body is not None else None, headers=headers
            ) as response:
                text = await response.text()
                if response.status != 503 or attempt == 3:
                    break
        return response.status, json.loads(text) if text else {}

    async def record(self) -> dict[str, Any]:
        _, user = await self.send("GET", f"/Users/{self.ids['user']}")
        _, group = await self.send("GET", f"/Groups/{self.ids['group']}")
        return {
            "userName": user["userName"],
            "externalId": user["externalId"],
            "active": user["active"],
            "emails": [one["value"] for one in user["emails"]],
            "group": group["displayName"],
            "members": [one["value"] == self.ids["user"] for one in group["members"]],
        }


@pytest.fixture(params=VENDORS)
def client(world: World, request: pytest.FixtureRequest) -> Client:
    return Client(world, VENDORS[request.param])


def standing(world: World) -> set[tuple[str, str]]:
    return {
        (r.group_overlay or r.kind.value, r.who.idp_subject or r.who.email or "")
        for r in world.revoker.standing
    }


OLD, NEW = "anna@acme.com", "annabel@acme.com"


async def test_every_vendor_tells_the_same_life(client: Client) -> None:
    world = client.world
    await client.play("probe")
    await client.play("join")
    there = {"externalId": "anna-1", "active": True, "group": "Sales", "members": [True]}
    assert await client.record() == {"userName": OLD, "emails": [OLD], **there}
    assert standing(world) == set()

    await client.play("rename")
    assert await client.record() == {"userName": NEW, "emails": [NEW], **there}
    ended = {r.who.idp_subject or r.who.email for _, r in world.revoker.calls}
    assert OLD in ended, "what was open under the former login ends"
    assert standing(world) == set()

    await client.play("suspend")
    blocked = {("block", name) for name in ("anna-1", NEW)}
    assert standing(world) == blocked
    assert (await client.record())["active"] is False
    await client.play("suspend")
    assert standing(world) == blocked, "told twice, it is so once"

    await client.play("restore")
    assert standing(world) == set()
    assert await client.record() == {"userName": NEW, "emails": [NEW], **there}

    await client.play("leave")
    assert standing(world) == {("Sales", name) for name in ("anna-1", NEW)}
    assert (await client.record())["members"] == []

    await client.play("quit")
    assert blocked <= standing(world)


async def test_a_client_that_looks_for_an_inactive_user_finds_it(client: Client) -> None:
    """Else it makes a second one, and is refused (409)."""
    await client.play("join")
    await client.play("suspend")
    login = (await client.record())["userName"]
    for spelled in (
        f'userName eq "{login}"',
        f"USERNAME EQ {login}",
        f'username Eq "{login.upper()}"',
    ):
        path = "/Users?filter=" + spelled.replace(" ", "+").replace('"', "%22")
        status, found = await client.send("GET", path)
        assert (status, found.get("totalResults")) == (200, 1), spelled


async def test_pages_begin_at_one_and_end_with_an_empty_one(client: Client) -> None:
    await client.play("join")
    for query, shown in (("startIndex=0", 1), ("startIndex=1&count=0", 0), ("startIndex=99", 0)):
        status, page = await client.send("GET", f"/Users?{query}")
        assert (status, page["totalResults"], len(page["Resources"])) == (200, 1, shown)
    status, gone = await client.send("GET", "/Users/7f105c7d-2dc5-4530-97cd-4e7ae6534c07")
    assert (status, gone["status"]) == (404, "404")
