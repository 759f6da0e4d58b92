"""The administrator's console of one IdP: people, groups, and how badly events are delivered. Plain
forms, no script.

Every click goes through the directory, and so through the one seam that events leave by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import ClientError, web

from demo.html import Template
from demo.idp.directory import Status
from demo.idp.scim_client import ScimRefusedError

if TYPE_CHECKING:
    from demo.idp.delivery import Outbox
    from demo.idp.directory import Directory, Group, Person
    from demo.idp.provider import IdentityProviderServer
    from demo.idp.scim_client import ScimClient

_PAGE = Template(
    """
<p>Issuer <code>{{ issuer }}</code></p>
<h2>People</h2><table id="people"><thead><tr><th>Person</th><th>State</th><th>Groups</th><th></th></tr></thead><tbody>
{% for person in people %}<tr id="person-{{ person.email }}">
<td style="min-width: 13rem">{{ person.name }}<br><code>{{ person.email }}</code><br><code>{{ person.id }}</code></td>
<td>{{ "deleted" if person.deleted else person.status.value }}</td>
<td class="row">{% for group in groups %}
{% set inside = group.id in person.group_ids %}
<form method="post" action="/console/people/{{ person.id }}/groups/{{ group.id }}/{{ 'remove' if inside else 'add' }}">
<button>{{ "Remove from" if inside else "Add to" }} {{ group.name }}</button></form>
{% endfor %}</td>
<td class="row">{% for action, label in actions(person).items() %}
<form method="post" action="/console/people/{{ person.id }}/{{ action }}"><button>{{ label }}</button></form>
{% endfor %}</td></tr>
{% endfor %}</tbody></table>
<h2>Groups</h2><table id="groups"><tbody>
{% for group in groups %}<tr><td>{{ group.name }}</td><td><code>{{ group.id }}</code></td>
<td><form method="post" action="/console/groups/{{ group.id }}/delete"><button>Delete {{ group.name }}</button></form></td></tr>
{% endfor %}</tbody></table>
{% if outbox %}
<h2>Delivery of events</h2>
<form method="post" action="/console/delivery" style="width: 16rem">
<label>Lost (share, 0 to 1) <input name="loss" value="{{ outbox.switches.loss }}" inputmode="decimal"></label>
<label>Delayed by (seconds) <input name="delay_s" value="{{ outbox.switches.delay_s }}" inputmode="decimal"></label>
<label>Duplicated (yes or no) <input name="duplicate" value="{{ 'yes' if outbox.switches.duplicate else 'no' }}"></label>
<label>Reordered (yes or no) <input name="reorder" value="{{ 'yes' if outbox.switches.reorder else 'no' }}"></label>
<label>Reads show what was (seconds ago) <input name="stale_s" value="{{ outbox.switches.stale_s }}" inputmode="decimal"></label>
<label>Next calls of the API answered 429 <input name="throttled" value="{{ outbox.switches.throttled }}" inputmode="numeric"></label>
<button>Set</button></form>
<table id="sent"><thead><tr><th>Event</th><th>Answer</th><th>ms</th><th>Attempt</th></tr></thead><tbody>
{% for sent in outbox.sent[-20:] | reverse %}<tr><td>{{ sent.what }}</td><td>{{ sent.status or "none" }}</td><td>{{ "%.0f" | format(sent.took_ms) }}</td><td>{{ sent.attempt }}</td></tr>
{% endfor %}{% for what in outbox.lost[-20:] | reverse %}<tr><td>{{ what }}</td><td>lost on purpose</td><td></td><td></td></tr>
{% endfor %}</tbody></table>
{% endif %}
{% if provisioned is not none %}
<h2>Provisioning (SCIM)</h2>
<form method="post" action="/console/scim" style="width: 30rem">
<label>Tenant URL <input name="base" value="{{ base }}"></label>
<label>Secret token <input name="token" type="password"></label>
<button>Provision what changed</button></form>
<table id="provisioned"><tbody>
{% for method, path, status in provisioned[-20:] | reverse %}<tr><td>{{ method }}</td><td><code>{{ path }}</code></td><td>{{ status }}</td></tr>
{% endfor %}</tbody></table>
{% endif %}
{% for panel in panels %}<h2>{{ panel.title }}</h2><table id="{{ panel.id }}"><tbody>
{% for row in panel.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>{% endfor %}
""",  # noqa: E501 - one text, as it is
    width="70rem",
)
_ACTIONS = {
    Status.ACTIVE: {
        "suspend": "Suspend",
        "deactivate": "Deactivate",
        "clear-sessions": "Clear sessions",
        "delete": "Delete",
    },
    Status.SUSPENDED: {"unsuspend": "Unsuspend", "deactivate": "Deactivate", "delete": "Delete"},
    Status.DEACTIVATED: {"activate": "Activate", "delete": "Delete"},
}


def _actions(person: Person) -> dict[str, str]:
    return {"delete": "Delete for good"} if person.deleted else _ACTIONS[person.status]


@dataclass(frozen=True, slots=True)
class Panel:
    """A table that someone else adds to the console, such as the gateway's time line of a
    revocation.
    """

    id: str
    title: str
    rows: tuple[tuple[str, ...], ...]


PanelSource = Callable[[], Awaitable[Panel]]


class Console:
    """Mounted at ``/console`` of the IdP's own origin."""

    def __init__(
        self,
        server: IdentityProviderServer,
        outbox: Outbox | None = None,
        *,
        new_scim: Callable[[str, str], ScimClient] | None = None,
    ) -> None:
        """``new_scim``: a client for a tenant's address and token."""
        self._new_scim = new_scim
        self._scim: tuple[tuple[str, str], ScimClient] | None = None
        self.panels: list[PanelSource] = []
        self.url = f"{server.origin}/console"
        self._server = server
        self._directory: Directory = server.directory
        self._outbox = outbox
        route = server.app.router
        route.add_get("/console", self._show)
        route.add_post("/console/people/{person}/groups/{group}/{action}", self._membership)
        route.add_post("/console/people/{person}/{action}", self._person_action)
        route.add_post("/console/groups/{group}/delete", self._delete_group)
        route.add_post("/console/groups/{group}/rename", self._rename_group)
        route.add_post("/console/delivery", self._delivery)
        route.add_post("/console/scim", self._provision)

    async def _show(self, request: web.Request) -> web.StreamResponse:
        return _PAGE.respond(
            title="People and groups",
            brand=self._server.face.brand,
            issuer=self._server.issuer,
            people=list(self._directory.people.values()),
            groups=list(self._directory.groups.values()),
            actions=_actions,
            outbox=self._outbox,
            base=self._scim[0][0] if self._scim is not None else "",
            provisioned=None
            if self._new_scim is None
            else self._scim[1].requests
            if self._scim is not None
            else [],
            panels=[await panel() for panel in self.panels],
        )

    async def _membership(self, request: web.Request) -> web.StreamResponse:
        self._check_origin(request)
        person, group = self._person(request), self._group(request)
        change = {
            "add": self._directory.add_to_group,
            "remove": self._directory.remove_from_group,
        }.get(request.match_info["action"])
        if change is None:
            raise web.HTTPNotFound
        await change(person, group)
        return _back()

    async def _person_action(self, request: web.Request) -> web.StreamResponse:
        self._check_origin(request)
        directory = self._directory
        action = {
            "suspend": directory.suspend,
            "unsuspend": directory.unsuspend,
            "deactivate": directory.deactivate,
            "activate": directory.activate,
            "clear-sessions": directory.clear_sessions,
            "delete": directory.delete,
        }.get(request.match_info["action"])
        if action is None:
            raise web.HTTPNotFound
        await action(self._person(request))
        return _back()

    async def _delete_group(self, request: web.Request) -> web.StreamResponse:
        self._check_origin(request)
        await self._directory.delete_group(self._group(request))
        return _back()

    async def _rename_group(self, request: web.Request) -> web.StreamResponse:
        self._check_origin(request)
        name = str((await request.post()).get("name", "")).strip()
        if not 0 < len(name) <= 255:
            raise web.HTTPBadRequest
        await self._directory.rename_group(self._group(request), name)
        return _back()

    async def _delivery(self, request: web.Request) -> web.StreamResponse:
        self._check_origin(request)
        if self._outbox is None:
            raise web.HTTPNotFound
        form = await request.post()
        try:
            loss, delay_s, stale_s = (
                float(str(form.get(name, "0"))) for name in ("loss", "delay_s", "stale_s")
            )
            throttled = int(str(form.get("throttled", "0")))
        except ValueError as malformed:
            raise web.HTTPBadRequest(text="not a number") from malformed
        if not (
            0 <= loss <= 1
            and 0 <= delay_s <= 600
            and 0 <= stale_s <= 600
            and 0 <= throttled <= 1000
        ):
            raise web.HTTPBadRequest(text="out of range")
        switches = self._outbox.switches
        switches.loss, switches.delay_s, switches.stale_s, switches.throttled = (
            loss,
            delay_s,
            stale_s,
            throttled,
        )
        switches.duplicate, switches.reorder = (
            form.get("duplicate") == "yes",
            form.get("reorder") == "yes",
        )
        if not switches.reorder:
            self._outbox.release()
        return _back()

    async def _provision(self, request: web.Request) -> web.StreamResponse:
        """One cycle; a token that is left out is the one of the last."""
        self._check_origin(request)
        form = await request.post()
        base, token = str(form.get("base", "")).strip().rstrip("/"), str(form.get("token", ""))
        if self._scim is not None and base == self._scim[0][0]:
            token = token or self._scim[0][1]
        if self._new_scim is None or not base.startswith(("http://", "https://")) or not token:
            raise web.HTTPBadRequest(text="an address and a token")
        if self._scim is None or self._scim[0] != (base, token):
            self._scim = (base, token), self._new_scim(base, token)
        # What was refused stands in the table.
        with contextlib.suppress(ScimRefusedError, ClientError):
            await self._scim[1].cycle()
        return _back()

    def _person(self, request: web.Request) -> Person:
        found = self._directory.people.get(request.match_info["person"])
        if found is None:
            raise web.HTTPNotFound
        return found

    def _group(self, request: web.Request) -> Group:
        found = self._directory.groups.get(request.match_info["group"])
        if found is None:
            raise web.HTTPNotFound
        return found

    def _check_origin(self, request: web.Request) -> None:
        """A page of another origin must not press buttons here; a client without Origin is not a
        browser.
        """
        if request.headers.get("Origin", self._server.origin) != self._server.origin:
            raise web.HTTPForbidden


def _back() -> web.Response:
    return web.Response(status=303, headers={"Location": "/console"})
