"""A legacy application: no login of its own, a person is whoever the headers say.

It shows what it received, so that a reader (or a test) can see what reaches an application behind the ingress and what
does not. It also keeps its own table of people, and soft-deletes one when a signed webhook says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

from demo.html import Template

_PAGE = Template(
    """
{% if person %}<p>Signed in as <strong id="person">{{ person }}</strong>{% if deactivated %} <em id="deactivated">(deactivated)</em>{% endif %}</p>
{% else %}<p id="nobody">Nobody is signed in.</p>{% endif %}
<h2>Request</h2><p><code>{{ method }} {{ raw_path }}</code></p>
<h2>Headers</h2><table id="headers"><tbody>
{% for name, value in headers %}<tr><td><code>{{ name }}</code></td><td><code>{{ value }}</code></td></tr>
{% endfor %}</tbody></table>
<h2>People this application was told about</h2><ul id="people">
{% for email, active in people.items() %}<li>{{ email }}: {{ "active" if active else "deactivated" }}</li>
{% else %}<li>none</li>{% endfor %}</ul>
<h2>Sign out</h2><form method="post" action="/_auth/logout"><button>Sign out</button></form>
""",
    width="60rem",
)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a webhook says about one person."""

    email: str
    active: bool


Verify = Callable[[Mapping[str, str], bytes], bool]
"""Whether headers and raw body of a webhook are genuine."""

Interpret = Callable[[Mapping[str, Any]], Notice | None]
"""What the body of a webhook means; ``None`` for what this application does not care about."""


class LegacyApp:
    """The server. Without ``verify`` every webhook is refused."""

    def __init__(self, name: str = "legacy", *, verify: Verify | None = None, interpret: Interpret | None = None) -> None:
        self.name = name
        self.verify = verify
        self.interpret = interpret
        self.people: dict[str, bool] = {}
        """E-mail → active, for everyone a webhook named."""
        self.received: list[tuple[str, dict[str, Any]]] = []
        """Webhooks accepted: delivery id (header ``Webhook-Id``) and body."""
        self.app = web.Application(client_max_size=16 * 1024 * 1024)  # uploads of a few megabytes are everyday life behind a proxy
        self.app.router.add_get("/ws", self._echo_socket)
        self.app.router.add_route("*", "/echo", self._echo)
        self.app.router.add_get("/stream", self._stream)
        self.app.router.add_post("/hooks/deprovisioned", self._webhook)
        self.app.router.add_route("*", "/{path:.*}", self._page)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        email = request.headers.get("X-Auth-Request-Email") or request.headers.get("Remote-User")
        name = request.headers.get("X-Auth-Request-Name")
        return _PAGE.respond(
            title="Legacy application",
            brand=self.name,
            person=f"{name} <{email}>" if name and email else email,
            deactivated=self.people.get(email or "") is False,
            method=request.method,
            raw_path=request.raw_path,
            headers=list(request.headers.items()),
            people=self.people,
        )

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        """What arrived, as JSON; ``headers`` is a list of pairs because a repeated header must show."""
        body = await request.read()
        return web.json_response(
            {
                "method": request.method,
                "path": request.raw_path,
                "headers": [[name, value] for name, value in request.headers.items()],
                "body_bytes": len(body),
            }
        )

    async def _echo_socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: ``?count=`` lines (at most 100), ``?every_ms=`` apart."""
        try:
            count = min(int(request.query.get("count", "5")), 100)
            pause_s = min(int(request.query.get("every_ms", "50")), 5000) / 1000
        except ValueError:
            return web.Response(status=400, text="count and every_ms are numbers")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        for number in range(count):
            await response.write(f"data: {number}\n\n".encode())
            await asyncio.sleep(pause_s)
        return response

    async def _webhook(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if self.verify is None or not self.verify(request.headers, raw):
            return web.Response(status=401, text="signature does not fit")
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return web.Response(status=400, text="not a JSON object")
        self.received.append((request.headers.get("Webhook-Id", ""), body))
        notice = self.interpret(body) if self.interpret else None
        if notice is not None:
            self.people[notice.email] = notice.active
        return web.Response(status=204)
