"""What the tests have to know about a real application: how it starts, and how a person works with
it in a browser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "apps"
DOCUMENTED, HERE = "acme.example.com", "acme.localhost"
"""The tenant's domain in the documentation, and in the tests."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one application runs. ``origin`` is its address for browsers."""

    folder: Path
    port: int
    origin: str

    @property
    def host(self) -> str:
        return self.origin.partition("://")[2].partition(":")[0]


@dataclass(frozen=True, slots=True)
class Command:
    """A process, started in the application's folder."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script of the page got. ``status`` is 0 for a redirect, which scripts may not read."""

    status: int
    headers: Mapping[str, str]
    text: str

    def __repr__(self) -> str:
        return f"{self.status} {self.headers.get('content-type', '')} {self.text[:300]!r}"

    @property
    def refused_by_gateway(self) -> bool:
        """By a decision: an ingress says too, in the same words, that an application broke off."""
        return self.status in (
            400,
            401,
            403,
            421,
        ) and "application/problem+json" in self.headers.get("content-type", "")


_FETCH = """async ([address, method, headers, body]) => {
    const answer = await fetch(address, {method, headers, body: body === null ? undefined : body, redirect: 'manual', cache: 'no-store'})
    return [answer.status, Object.fromEntries(answer.headers), await answer.text()]
}"""  # noqa: E501 - one text, as it is
_FORM = """async ([address, fields, file]) => {
    const form = new FormData()
    for (const [name, value] of Object.entries(fields)) form.append(name, value)
    if (file) form.append(file[0], new Blob([file[2]]), file[1])
    const answer = await fetch(address, {method: 'POST', body: form})
    return [answer.status, Object.fromEntries(answer.headers), await answer.text()]
}"""
_ECHO = """([address, protocols, say, expected]) => new Promise(done => {
    const socket = new WebSocket(address, protocols)
    let heard = ''
    socket.onopen = () => say.forEach(line => socket.send(line))
    socket.onmessage = async event => {
        heard += typeof event.data === 'string' ? event.data : await new Response(event.data).text()
        if (heard.includes(expected)) { socket.close(); done('heard') }
    }
    socket.onclose = () => done('closed')
    socket.onerror = () => done('refused')
    setTimeout(() => done('silent: ' + heard), 10000)
})"""


@dataclass(frozen=True, slots=True)
class Tab:
    """An open page of an application, and what scripts in it can do."""

    page: Page
    origin: str

    def fetch(
        self,
        path: str,
        method: str = "GET",
        *,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        status, found, text = self.page.evaluate(
            _FETCH, [self.origin + path, method, dict(headers or {}), body]
        )
        return Answer(status, found, text)

    def send_form(
        self, path: str, fields: Mapping[str, str], *, file: tuple[str, str, str] | None = None
    ) -> Answer:
        """As multipart; ``file`` is the field, the name and the text."""
        status, found, text = self.page.evaluate(_FORM, [self.origin + path, dict(fields), file])
        return Answer(status, found, text)

    def talk(
        self, path: str, say: list[str], expected: str, *, protocols: list[str] | None = None
    ) -> str:
        """Through a WebSocket: ``heard`` once what is expected was said, else how it ended."""
        return str(
            self.page.evaluate(
                _ECHO, [self.origin.replace("http", "ws", 1) + path, protocols or [], say, expected]
            )
        )

    def cookie(self, name: str) -> str:
        return next(
            (
                found["value"]
                for found in self.page.context.cookies(self.origin)
                if found.get("name") == name
            ),
            "",
        )


@dataclass(frozen=True, slots=True)
class GatewaySide:
    """The keys of ``gateway.yaml`` and of the tenant's file that a page of the documentation
    shows.
    """

    gateway: Mapping[str, Any]
    tenant: Mapping[str, Any]

    @property
    def host(self) -> str:
        (host,) = self.tenant["hosts"]
        return str(host)


class Application:
    """One application. A subclass says what differs; what an application lacks stays as it is
    here.
    """

    name: ClassVar[str]
    """Also of its folder in ``docs/apps`` where ``folder`` says nothing else."""
    folder: ClassVar[str] = ""
    package: ClassVar[str | None] = None
    """Its name in ``requirements/apps.txt``; None for one of the system's packages."""
    opens: ClassVar[str] = "/"
    """The page that a person opens."""
    log_out: ClassVar[str | None] = None
    """The application's own way out, which leads to the gateway's."""
    odd_names: ClassVar[tuple[str, ...]] = (
        "C# notes.ipynb",
        "a;b=1.txt",
        "50% more?.txt",
        "Zoë.txt",
    )
    """Names under which a file is kept and read again."""
    odd_paths: ClassVar[tuple[str, ...]] = (
        "//icon.svg",
        "/caf%E9.txt",
        "/page;jsessionid=1",
        "/a%5Cb",
    )
    """Addresses that reach the application, whatever it makes of them."""

    @property
    def pages(self) -> Path:
        return PAGES / (self.folder or self.name)

    def gateway_side(self) -> GatewaySide:
        text = (self.pages / "README.md").read_text(encoding="utf-8").replace(DOCUMENTED, HERE)
        blocks = dict(
            re.findall(
                r"^```yaml\n# (gateway\.yaml|tenants/acme\.yaml)\n(.*?)^```",
                text,
                re.MULTILINE | re.DOTALL,
            )
        )
        return GatewaySide(
            yaml.safe_load(blocks.get("gateway.yaml", "")) or {},
            yaml.safe_load(blocks["tenants/acme.yaml"]),
        )

    def start(self, place: Place) -> Command:
        raise NotImplementedError

    def person(self, tab: Tab) -> str:
        """For whom the application takes who is there."""
        raise NotImplementedError

    def shown_name(self, tab: Tab) -> str | None:
        """The person's name, in an application that shows it."""
        return None

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        """Keep a file under this name; the path at which it is read again, or None where no files
        are kept.
        """
        return None

    def read(self, tab: Tab, path: str) -> str:
        return tab.fetch(path).text

    def talks(self, tab: Tab) -> str | None:
        """``heard`` if its WebSocket works; None where it has none."""
        return None
