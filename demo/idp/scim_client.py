"""What an IdP pushes over SCIM: people and groups of its directory, in cycles, as Entra's and
Okta's provisioning services do.

Rules (Microsoft, "Tutorial: Develop and plan provisioning for a SCIM endpoint"; Okta, "SCIM 2.0
protocol"):
- Whoever is to be made is looked for first: people by ``userName``, groups by ``displayName``; what
  is found is taken over with a change.
- Entra sends Microsoft's default mapping: ``userPrincipalName`` → ``userName``, ``mailNickname`` →
  ``externalId``, ``mail`` → the work address; deactivation is ``Replace active "False"``, a person
  who is gone for good ``DELETE``. Okta sends its user id as ``externalId`` and never deletes a
  person.
- 429 and 503 are obeyed: nothing is sent before ``Retry-After`` is over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from demo.idp.directory import Status

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from demo.idp.delivery import Sleep
    from demo.idp.directory import Directory, Group, Person

MAX_ATTEMPTS = 8
PAUSE_S = 1.0
"""Where a server that is busy does not say how long."""


class ScimRefusedError(Exception):
    """An answer that a cycle cannot go on from: method, path and status."""


@dataclass(slots=True)
class _Pushed:
    """What the server was last told of one resource."""

    id: str
    said: dict[str, Any] = field(default_factory=dict)


class ScimClient:
    """``entra``: Microsoft's default mapping and spellings, else Okta's. ``base``: the tenant's
    SCIM address; ``cycle`` sends what changed since the last one.
    """

    def __init__(
        self,
        http: ClientSession,
        directory: Directory,
        *,
        base: str,
        token: str,
        entra: bool,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._http, self._directory, self._base, self._token, self._entra, self._sleep = (
            http,
            directory,
            base,
            token,
            entra,
            sleep,
        )
        self._people: dict[str, _Pushed] = {}
        self._groups: dict[str, _Pushed] = {}
        self.requests: list[tuple[str, str, int]] = []
        """Method, path and status of each."""

    async def cycle(self) -> None:
        """People, then groups, then members. Raises ``ScimRefusedError``."""
        directory = self._directory
        for person in directory.people.values():
            await self._person(person)
        for gone in [one for one in self._people if one not in directory.people]:
            await self._gone(self._people.pop(gone))
        for group in directory.groups.values():
            await self._group(group)
        for gone in [one for one in self._groups if one not in directory.groups]:
            await self._call("DELETE", f"/Groups/{self._groups.pop(gone).id}", accepted=(204, 404))

    def user(self, person: Person) -> dict[str, Any]:
        """The resource as this vendor maps it."""
        active = person.status is Status.ACTIVE and not person.deleted
        nickname, _, domain = person.email.partition("@")
        given, _, family = person.name.partition(" ")
        name = {"givenName": given, "familyName": family}
        work = [{"primary": True, "type": "work", "value": person.email}]
        if self._entra:
            return {
                "userName": f"{nickname}@{domain.split('.')[0]}.onmicrosoft.test",
                "externalId": nickname,
                "active": active,
                "displayName": person.name,
                "name": name,
                "emails": work,
            }
        return {
            "userName": person.email,
            "externalId": person.id,
            "active": active,
            "displayName": person.name,
            "name": name,
            "emails": work,
        }

    async def _person(self, person: Person) -> None:
        wanted, pushed = self.user(person), self._people.get(person.id)
        if pushed is None:
            if not wanted["active"]:
                return
            found = await self._find("/Users", "userName", wanted["userName"])
            if found is None:
                made = await self._call(
                    "POST",
                    "/Users",
                    {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], **wanted},
                )
            pushed = self._people[person.id] = _Pushed(
                found or made["id"], wanted if found is None else {}
            )
        changed = {name: value for name, value in wanted.items() if pushed.said.get(name) != value}
        if changed:
            await self._patch(f"/Users/{pushed.id}", self._operations(changed))
            pushed.said = wanted

    def _operations(self, changed: dict[str, Any]) -> list[dict[str, Any]]:
        if not self._entra:
            return [{"op": "replace", "value": changed}]
        flat = {
            **changed,
            **{f"name.{part}": value for part, value in changed.get("name", {}).items()},
        }
        if "emails" in changed:
            flat['emails[type eq "work"].value'] = changed["emails"][0]["value"]
        # Booleans are text with a capital letter, unless the customer asks for the standard
        # (aadOptscim062020).
        return [
            {
                "op": "Replace",
                "path": name,
                "value": str(value) if isinstance(value, bool) else value,
            }
            for name, value in flat.items()
            if name not in {"name", "emails"}
        ]

    async def _gone(self, pushed: _Pushed) -> None:
        if self._entra:
            await self._call("DELETE", f"/Users/{pushed.id}", accepted=(204, 404))
        else:
            await self._patch(
                f"/Users/{pushed.id}", [{"op": "replace", "value": {"active": False}}]
            )

    async def _group(self, group: Group) -> None:
        pushed = self._groups.get(group.id)
        external = {"externalId": group.id} if self._entra else {}
        if pushed is None:
            found = await self._find("/Groups", "displayName", group.name)
            body = {
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
                "displayName": group.name,
                **external,
            }
            if found is None:
                made = await self._call("POST", "/Groups", body)
            pushed = self._groups[group.id] = _Pushed(
                found or made["id"],
                {"name": group.name if found is None else "", "members": frozenset[str]()},
            )
        members = frozenset(
            self._people[p.id].id
            for p in self._directory.people.values()
            if group.id in p.group_ids and p.id in self._people
        )
        before, op = (
            pushed.said,
            ("Replace", "Add", "Remove") if self._entra else ("replace", "add", "remove"),
        )
        operations: list[dict[str, Any]] = (
            []
            if before["name"] == group.name
            else [{"op": op[0], "path": "displayName", "value": group.name}]
        )
        if added := sorted(members - before["members"]):
            operations.append(
                {"op": op[1], "path": "members", "value": [{"value": one} for one in added]}
            )
        for one in sorted(before["members"] - members):
            removal = (
                {"path": "members", "value": [{"value": one}]}
                if self._entra
                else {"path": f'members[value eq "{one}"]'}
            )
            operations.append({"op": op[2], **removal})
        if operations:
            await self._patch(f"/Groups/{pushed.id}", operations)
            pushed.said = {"name": group.name, "members": members}

    async def _find(self, path: str, name: str, value: str) -> str | None:
        query = {
            "filter": f'{name} eq "{value}"',
            **({"excludedAttributes": "members"} if path == "/Groups" else {}),
        }
        page = await self._call("GET", f"{path}?{urlencode(query)}")
        return page["Resources"][0]["id"] if page["totalResults"] else None

    async def _patch(self, path: str, operations: list[dict[str, Any]]) -> None:
        await self._call(
            "PATCH",
            path,
            {
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": operations,
            },
        )

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        accepted: tuple[int, ...] = (200, 201, 204),
    ) -> Any:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/scim+json",
            "Content-Type": "application/scim+json",
        }
        for _ in range(MAX_ATTEMPTS):
            async with self._http.request(
                method, self._base + path, json=body, headers=headers
            ) as answer:
                document = await answer.json(content_type=None) if answer.status != 204 else None
                self.requests.append((method, path, answer.status))
            if answer.status in accepted:
                return document
            if answer.status not in {429, 503}:
                break
            await self._sleep(float(answer.headers.get("Retry-After", PAUSE_S)))
        raise ScimRefusedError(f"{method} {path.partition('?')[0]} was answered {answer.status}")
