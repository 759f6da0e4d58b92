"""Two people, one browser: the doctor sees whether an application goes on as the person before, and
what would end it.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from gateway.cli import cli
from gateway.core.app_cookies import AppCookie
from gateway.core.model import Secret
from gateway.doctor.app_session import AppSession, AppSessionError, _says, compare
from gateway.doctor.run import Target, _reachable
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.web_request import Request

OWN = "__Host-gw"
PEOPLE = {
    "first": ("alice@acme.test", "Alice Example"),
    "second": ("robert@acme.test", "Bob O'Hara"),
}


class Application:
    """Behind a gateway that knows two sessions. ``/`` logs in by the header and has a session of
    its own; ``/hub/`` has one with its own path.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, str] = {}
        self._number = count()
        self.origin = ""
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get("/_auth/userinfo", self.userinfo),
                web.get("/", self.own),
                web.get("/login", self.login),
                web.get("/hub/", self.hub),
                web.get("/me", self.header),
                web.get("/all", self.all),
                web.get("/owned", self.owned),
            ]
        )

    def who(self, request: Request) -> str:
        email, _ = PEOPLE.get(request.cookies.get(OWN, ""), ("", ""))
        return email

    async def userinfo(self, request: Request) -> web.Response:
        email, name = PEOPLE.get(request.cookies.get(OWN, ""), ("", ""))
        return web.json_response(
            {"user": f"sub of {email}", "email": email, "name": name}
            if email
            else {"code": "no_session"},
            status=200 if email else 401,
        )

    async def own(self, request: Request) -> web.Response:
        person = self.sessions.get(request.cookies.get("session", ""))
        if person is None:
            raise web.HTTPFound("/login")
        return self.page(person)

    async def login(self, request: Request) -> web.Response:
        answer = web.HTTPSeeOther("/")
        answer.set_cookie("session", self.begin(self.who(request)))
        answer.set_cookie("theme", "dark")
        raise answer

    async def hub(self, request: Request) -> web.Response:
        person = self.sessions.get(request.cookies.get("hub", ""))
        answer = self.page(person or self.who(request))
        if person is None:
            answer.set_cookie("hub", self.begin(self.who(request)), path="/hub/", secure=True)
        return answer

    async def header(self, request: Request) -> web.Response:
        return self.page(self.who(request))

    async def all(self, _: Request) -> web.Response:
        return web.Response(text="alice@acme.test robert@acme.test")

    async def owned(self, request: Request) -> web.Response:
        """A page that names its owner to everybody."""
        return web.Response(
            text=f"{self.page(self.who(request)).text} owner: alice@acme.test",
            content_type="text/html",
        )

    def begin(self, person: str) -> str:
        token = f"token-{next(self._number)}"
        self.sessions[token] = person
        return token

    def page(self, person: str) -> web.Response:
        shown = dict(PEOPLE.values()).get(person, "nobody").replace("'", "&#39;")
        return web.Response(text=f"<h1>{shown}</h1>", content_type="text/html")


@pytest.fixture
async def application() -> AsyncIterator[Application]:
    behind = Application()
    runner = web.AppRunner(behind.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    behind.origin = f"http://acme.localhost:{runner.addresses[0][1]}"
    yield behind
    await runner.cleanup()


async def found(
    application: Application,
    *pages: str,
    cookies: tuple[str, ...] = (),
    sessions: tuple[str, str] = ("first", "second"),
) -> dict[str, tuple[str, ...]]:
    question = AppSession(
        (Secret(sessions[0]), Secret(sessions[1])), pages, tuple(map(AppCookie.parse, cookies))
    )
    return {
        finding.code: finding.evidence
        for finding in await compare(
            question, origin=application.origin, own=OWN, tls=None, reachable=_reachable
        )
    }


CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "reads the header": (("/me",), (), ""),
    "reads the header, and names others": (("/owned",), (), ""),
    "a session of its own": (("/",), (), "session, theme"),
    "a session of its own, named": (("/",), ("session",), ""),
    "a session of its own, by a pattern": (("/",), ("s*n",), ""),
    "another cookie is named": (("/",), ("theme",), "session"),
    "a path of its own": (("/hub/",), ("hub",), "hub; Path=/hub/"),
    "a path of its own, named with it": (("/hub/",), ("hub; Path=/hub/",), ""),
    "one of two is named": (("/", "/hub/"), ("session",), "hub; Path=/hub/, theme"),
}


@pytest.mark.parametrize(("pages", "cookies", "left"), CASES.values(), ids=CASES)
async def test_an_application_that_keeps_the_person_before_is_found_and_what_is_left(
    application: Application, pages: tuple[str, ...], cookies: tuple[str, ...], left: str
) -> None:
    findings = await found(application, *pages, cookies=cookies)
    assert set(findings) == ({"app_session_kept"} if left else set())
    if left:
        evidence = " ".join(findings["app_session_kept"])
        assert evidence.endswith(f"that were left: {left}")
        assert "token-" not in evidence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bob", True),
        ("<b>bob</b>", True),
        ("bobsled, bob", True),
        ("bobsled", False),
        ("xbob", False),
        ("tokenbob9", False),
        ("", False),
    ],
)
def test_a_name_stands_by_itself(text: str, said: bool) -> None:
    assert _says(text, "bob") == said


async def test_pages_that_tell_nobody_apart_are_told(application: Application) -> None:
    for page in ("/all", "/nowhere"):
        assert set(await found(application, page)) == {"app_session_unseen"}


@pytest.mark.parametrize("sessions", [("first", "ended"), ("ended", "second"), ("first", "first")])
async def test_what_are_not_two_peoples_sessions_is_no_examination(
    application: Application, sessions: tuple[str, str]
) -> None:
    with pytest.raises(AppSessionError, match="--app-session") as raised:
        await found(application, "/", sessions=sessions)
    assert "ended" not in str(raised.value).replace("has ended", "")
    assert not application.sessions, "no page was opened"


async def test_a_session_goes_to_no_other_host(application: Application) -> None:
    async def away(_: Request) -> web.Response:
        raise web.HTTPFound(application.origin.replace("acme.", "evil.") + "/collect")

    other: list[Any] = []

    async def collect(request: Request) -> web.Response:
        other.append(request.headers.get("Cookie"))
        return web.Response()

    assert Target.of(application.origin + "/").connect[0] == "127.0.0.1"
    outside = web.Application()
    outside.add_routes(
        [
            web.get("/_auth/userinfo", application.userinfo),
            web.get("/", away),
            web.get("/collect", collect),
        ]
    )
    runner = web.AppRunner(outside)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    application.origin = f"http://acme.localhost:{runner.addresses[0][1]}"
    assert set(await found(application, "/")) == {"app_session_unseen"}
    assert other == []
    await runner.cleanup()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--app-session", "env:ONE"), "twice"),
        (("--app-page", "/me"), "twice"),
        (("--app-session", "env:ONE", "--app-session", "gw_second"), "env:NAME or file:PATH"),
        (
            ("--app-session", "env:ONE", "--app-session", "env:TWO", "--app-page", "me"),
            "begins with /",
        ),
        (
            ("--app-session", "env:ONE", "--app-session", "env:TWO", "--app-cookie", "a;b"),
            "--app-cookie",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DOCTOR_KEY", "ONE", "TWO"):
        monkeypatch.setenv(name, f"secret of {name}")
    result = CliRunner().invoke(
        cli, ["ingress", "doctor", "http://acme.localhost/", *arguments], standalone_mode=False
    )
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)
    assert "gw_second" not in str(result.exception)
