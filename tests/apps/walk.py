"""What two people do with one application in one browser, step by step, and what of it held."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING

from playwright.sync_api import Error, expect

from tests.apps.application import Tab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext

    from tests.apps.application import Application
    from tests.apps.running import Running

ZOE, ZOES_NAME, BOB = "zoe@acme.test", "Zoë Ångström", "bob@acme.test"
HELD, LACKING = "yes", "–"
"""A step that held, and one that is about something the application does not have."""


class Walk:
    """One browser profile at one application. Steps follow on each other; each says what it saw
    where something did not hold.
    """

    def __init__(self, running: Running, application: Application, profile: BrowserContext) -> None:
        running.wait_for(application)
        self._running = running
        self._application = application
        self._profile = profile
        self._page = profile.new_page()
        self._origin = running.places[application.name].origin
        self._tab = Tab(self._page, self._origin)

    def results(self) -> dict[str, str]:
        """Step → ``HELD``, ``LACKING`` or what was seen instead."""
        return dict(self._each())

    def _each(self) -> Iterator[tuple[str, str]]:
        steps: tuple[tuple[str, Callable[[], str]], ...] = (
            ("sign in", lambda: self._arrives(ZOE)),
            ("name", self._name),
            ("client's header", self._forged),
            ("files", self._files),
            ("addresses", self._addresses),
            ("WebSocket", self._talks),
            ("revoked with the page open", self._revoked),
            ("change of person", lambda: self._arrives(BOB)),
            ("log out", self._log_out),
            ("the first person again", lambda: self._arrives(ZOE)),
        )
        for name, step in steps:
            try:
                yield name, step()
            except (AssertionError, Error, KeyError, ValueError) as error:
                yield name, f"{type(error).__name__}: {error}"[:600]

    def _sign_in(self, email: str) -> None:
        """Nobody is signed in at Cognito and the identity provider any more, and somebody fills in
        the provider's form.
        """
        for host in ("cognito.localhost", "okta.localhost"):
            self._profile.clear_cookies(domain=host)
        self._page.goto(self._origin + self._application.opens)
        self._page.locator("input[name=email]").fill(email)
        self._page.locator("input[name=password]").fill("demo")
        self._page.locator("button, input[type=submit]").first.click()
        expect(self._page).to_have_url(re.compile(re.escape(self._origin)))

    def _arrives(self, email: str) -> str:
        """The application takes who has signed in for who has signed in."""
        self._sign_in(email)
        found = self._application.person(self._tab)
        return HELD if found == email else f"{found[:200]!r} instead of {email}"

    def _name(self) -> str:
        shown = self._application.shown_name(self._tab)
        return LACKING if shown is None else HELD if shown == ZOES_NAME else repr(shown[:200])

    def _forged(self) -> str:
        """Whom a page's script names in headers is nobody."""
        return (
            HELD
            if BOB
            not in self._tab.fetch(
                self._application.opens,
                headers={"Remote-User": BOB, "X-Remote-User": BOB, "X-Auth-Request-Email": BOB},
            ).text
            else "believed"
        )

    def _files(self) -> str:
        lost, kept = [], 0
        for name in (
            f"{self._running.running.world.ingress} {odd}" for odd in self._application.odd_names
        ):
            path = self._application.keep(self._tab, name, f"{name}: text")
            if path is None:
                continue
            kept += 1
            if (read := self._application.read(self._tab, path)) != f"{name}: text":
                lost.append(f"{path}: {read[:100]!r}")
        return "; ".join(lost) or (HELD if kept else LACKING)

    def _addresses(self) -> str:
        return (
            "; ".join(
                path
                for path in self._application.odd_paths
                if self._tab.fetch(path).refused_by_gateway
            )
            or HELD
        )

    def _talks(self) -> str:
        said = self._application.talks(self._tab)
        return LACKING if said is None else HELD if said == "heard" else said

    def _revoked(self) -> str:
        end_sessions(self._running, ZOE)
        answer = self._tab.fetch(self._application.opens)
        return HELD if answer.status == 401 and answer.refused_by_gateway else repr(answer)

    def _log_out(self) -> str:
        self._page.goto(self._origin + (self._application.log_out or "/_auth/logout"))
        expect(self._page).to_have_url(re.compile(r"/_auth/logout$"))
        self._page.locator("button").first.click()
        expect(self._page).to_have_url(re.compile(r"/_auth/signed-out$"))
        return HELD


def end_sessions(running: Running, email: str) -> None:
    """As an operator does it: the call returns once no replica accepts them."""
    world = running.running.world
    key = running.running.run(world.make_admin_key())
    body = json.dumps({"tenant": "acme", "email": email, "kind": "end_sessions"}).encode()
    address = f"http://127.0.0.1:{world.gateways[0].ports['admin']}/admin/v1/revocations"
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(address, body, headers), timeout=30
    ) as answer:
        assert answer.status in (200, 201), answer.read()
