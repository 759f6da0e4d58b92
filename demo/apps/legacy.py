"""A legacy application: no login of its own, a person is whoever the headers say.

It shows what it received, so that a reader (or a test) can see what reaches an application behind
the ingress and what does not. It also keeps its own table of people, and soft-deletes one when a
signed webhook says so.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

from aiohttp import WSMsgType, web

from demo.apps.webhooks import Interpret, Verify, gateway_notice
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
""",  # noqa: E501 - one text, as it is
    width="60rem",
)

SAYS_NOTHING = "/kept/"
"""Pages below say nothing about being stored, as those of most old applications do: browsers keep
them.
"""


ACCOUNT = "/own/account"
"""A page that knows people as many old applications do: the headers are read once, then a session
cookie of its own counts.
"""
OWN_COOKIES = (
    "legacy_session=%s; Path=/; HttpOnly",
    "legacy-remember=%s; Path=/; Domain=%%s",
    "legacy_hidden=%s; Path=/own/",
)
"""One for each way in which a cookie is kept: for the host alone, for its domain, below a path."""


class LegacyApp:
    """The server. Without ``verify`` every webhook is refused."""

    def __init__(
        self,
        name: str = "legacy",
        *,
        verify: Verify | None = None,
        interpret: Interpret = gateway_notice,
    ) -> None:
        self.name = name
        self.verify = verify
        self.interpret = interpret
        self.people: dict[str, bool] = {}
        """E-mail → active, for everyone a webhook named."""
        self.received: list[tuple[str, dict[str, Any]]] = []
        """Every delivery accepted, repetitions too: message id (header ``webhook-id``) and body."""
        self._own_sessions: dict[str, str] = {}
        """Value of an own cookie → e-mail, for ``ACCOUNT``."""
        self.app = web.Application(
            client_max_size=16 * 1024 * 1024
        )  # uploads of a few megabytes are everyday life behind a proxy
        self.app.router.add_get("/ws", self._echo_socket)
        self.app.router.add_route("*", "/echo", self._echo)
        self.app.router.add_get(ACCOUNT, self._account)
        self.app.router.add_get("/stream", self._stream)
        self.app.router.add_post("/hooks/deprovisioned", self._webhook)
        self.app.router.add_route("*", "/{path:.*}", self._page)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        email = request.headers.get("X-Auth-Request-Email") or request.headers.get("Remote-User")
        name = request.headers.get("X-Auth-Request-Name")
        response = _PAGE.respond(
            title="Legacy application",
            brand=self.name,
            person=f"{name} <{email}>" if name and email else email,
            deactivated=self.people.get((email or "").lower()) is False,
            method=request.method,
            raw_path=request.raw_path,
            headers=list(request.headers.items()),
            people=self.people,
        )
        if request.path.startswith(SAYS_NOTHING):
            del response.headers["Cache-Control"]
        return response

    async def _account(self, request: web.Request) -> web.StreamResponse:
        response = web.Response(content_type="text/plain", headers={"Cache-Control": "no-store"})
        rows = []
        for template in OWN_COOKIES:
            name = template.partition("=")[0]
            person = self._own_sessions.get(request.cookies.get(name, ""))
            if person is None:
                person, value = (
                    request.headers.get("X-Auth-Request-Email", ""),
                    secrets.token_urlsafe(16),
                )
                self._own_sessions[value] = person
                line = template % value
                response.headers.add(
                    "Set-Cookie", line % request.url.host if "%s" in line else line
                )
            rows.append(f"{name}: {person}\n")
        response.text = "".join(rows)
        return response

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        """What arrived, as JSON; ``headers`` is a list of pairs because a repeated header must
        show.
        """
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
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
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
        message_id = request.headers.get("webhook-id", "")
        seen = any(known == message_id for known, _ in self.received)
        self.received.append((message_id, body))
        notice = None if seen and message_id else self.interpret(body)
        if notice is not None:
            self.people.update(dict.fromkeys(notice.emails, notice.active))
        return web.Response(status=204)
