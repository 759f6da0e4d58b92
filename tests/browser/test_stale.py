"""What Cognito still remembers lets nobody back in: its one-hour cookie, and groups that the
customer has taken away.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from playwright.sync_api import expect

from demo.cognito.control.faults import throttle
from tests.browser.test_walk import sign_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, CDPSession, Page

    from demo.cognito.pool import User
    from tests.support.world import RunningWorld

PATIENCE_S = 30.0
HOST, EMAIL, PROVIDER = "acme.localhost", "bob@acme.test", "acme-okta"
TEN_MINUTES_S = 600

behind_nginx = pytest.mark.parametrize("fronted", ["nginx"], indirect=True)
every_position = pytest.mark.parametrize(
    ("with_provider", "renewed"),
    [(False, False), (False, True), (True, False), (True, True)],
    ids=[
        "resumes-unnamed-auth_time-kept",
        "resumes-unnamed-auth_time-renewed",
        "resumes-always-auth_time-kept",
        "resumes-always-auth_time-renewed",
    ],
)
both_times = pytest.mark.parametrize(
    "renewed", [False, True], ids=["auth_time-kept", "auth_time-renewed"]
)


class Meddler:
    """What a person can do to the addresses in their own browser: edit them on the way, skip one,
    keep one for later.
    """

    def __init__(self, page: Page, *, cognito: str) -> None:
        self.without_provider = self.without_hop = self.keep = False
        self.kept: list[str] = []
        self.authorized: list[str] = []
        self.hops = 0
        self._wire: CDPSession = page.context.new_cdp_session(page)
        self._wire.on("Fetch.requestPaused", self._paused)
        # Redirected requests pause here too, which routes of Playwright's own do not.
        self._wire.send(
            "Fetch.enable",
            {
                "patterns": [
                    {"urlPattern": f"{cognito}/oauth2/authorize*"},
                    {"urlPattern": f"{cognito}/logout*"},
                ]
            },
        )

    def _paused(self, event: dict[str, Any]) -> None:
        url = event["request"]["url"]
        query = dict(parse_qsl(urlsplit(url).query))
        onward = ""
        if urlsplit(url).path == "/logout":
            self.hops += 1
            onward = query["logout_uri"] if self.without_hop else ""
        elif self.keep:
            self.kept.append(url)
            self._wire.send(
                "Fetch.fulfillRequest", {"requestId": event["requestId"], "responseCode": 200}
            )
            return
        elif self.without_provider and "identity_provider" in query:
            query.pop("identity_provider")
            onward = f"{url.partition('?')[0]}?{urlencode(query)}"
        else:
            self.authorized.append(url)
        if onward:
            headers = [{"name": "Location", "value": onward}]
            self._wire.send(
                "Fetch.fulfillRequest",
                {"requestId": event["requestId"], "responseCode": 302, "responseHeaders": headers},
            )
        else:
            self._wire.send("Fetch.continueRequest", {"requestId": event["requestId"]})


class Device:
    """A browser profile that has signed in, and comes back when its session has ended."""

    def __init__(self, running: RunningWorld, profile: BrowserContext) -> None:
        self.running = running
        self.profile = profile
        self.page = profile.new_page()
        self.meddler = Meddler(self.page, cognito=running.world.cloud.cognito.url)
        self.asked_idp = 0
        self.page.on("request", self._seen)

    def _seen(self, request: Any) -> None:
        self.asked_idp += urlsplit(request.url).hostname == "okta.localhost"

    @property
    def work(self) -> str:
        return self.running.world.url(HOST) + "/work"

    def sign_in(self) -> None:
        self.page.goto(self.work)
        sign_in(self.page, EMAIL)
        self.page.wait_for_url(lambda url: urlsplit(url).hostname != "okta.localhost")
        if self.page.locator("#person").count() == 0:
            assert self.comes_back()

    def let_in(self) -> bool:
        """Whether the session that it holds opens the door now."""
        held = next(
            (c["value"] for c in self.profile.cookies(self.work) if c["name"] == "__Host-gw"),
            "none",
        )
        return self.running.check(HOST, cookie=held).status == 200

    def comes_back(self, *, without_provider: bool = False, without_hop: bool = False) -> bool:
        """Later, click "sign in" with nothing but Cognito's and the identity provider's cookies;
        whether that leads into the app.
        """
        ten_minutes_pass(self.running)
        for host in (HOST, "login.localhost"):
            self.profile.clear_cookies(domain=host)
        self.meddler.without_provider, self.meddler.without_hop = without_provider, without_hop
        self.asked_idp, self.meddler.hops = 0, 0
        self.page.goto(self.work)
        return self.page.locator("#person").count() == 1

    def holds_cognitos_cookie(self) -> bool:
        cognito = self.running.world.cloud.cognito
        return any(
            cookie["value"] in cognito.pool.sessions for cookie in self.profile.cookies(cognito.url)
        )


@contextmanager
def browser_profile(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(locale="en-GB")
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def cognito(
    fronted: RunningWorld, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Sets the switches. The gateway's rights in the pool are of no use meanwhile: what Cognito has
    stored stays.
    """
    server = fronted.world.cloud.cognito

    def switch(**positions: bool) -> None:
        for name, position in positions.items():
            monkeypatch.setattr(server.pool.behaviour, name, position)

    server.control.faults.plan("AdminUpdateUserAttributes", throttle, times=1_000_000)
    yield switch
    server.control.faults.clear()


@pytest.fixture
def device(fronted: RunningWorld, profile: BrowserContext) -> Device:
    return Device(fronted, profile)


def pool_user(running: RunningWorld) -> User:
    return next(
        user
        for user in running.world.cloud.cognito.pool.users.values()
        if user.attributes.get("email") == EMAIL
    )


def ten_minutes_pass(running: RunningWorld) -> None:
    """Since the sign-in, as far as Cognito can tell: what it keeps of it is that much older."""
    user = pool_user(running)
    if "custom:idp_iat" in user.attributes:
        user.attributes["custom:idp_iat"] = str(
            int(user.attributes["custom:idp_iat"]) - TEN_MINUTES_S
        )
    sessions = running.world.cloud.cognito.pool.sessions
    for value, session in sessions.items():
        if session.username == user.username:
            sessions[value] = replace(session, auth_time=session.auth_time - TEN_MINUTES_S)


def a_moment_passes(running: RunningWorld) -> None:
    """Since Cognito last heard of the person: its times count seconds, and of two logins in one
    second nobody can tell the second from a resumed one.
    """
    until(
        lambda: int(pool_user(running).attributes.get("custom:idp_iat", "0")) + 1 < int(time.time())
    )


def until(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        threading.Event().wait(0.02)
        assert time.monotonic() - began < PATIENCE_S, "it never came to hold"


def click_in_console(running: RunningWorld, office: Page, label: str) -> None:
    office.goto(running.world.cloud.customers[PROVIDER].console.url)
    office.locator(f"[id='person-{EMAIL}']").get_by_role("button", name=label).click()


def end_sessions(running: RunningWorld) -> None:
    key = running.run(running.world.make_admin_key())
    body = json.dumps(
        {
            "tenant": "acme",
            "email": EMAIL,
            "kind": "end_sessions",
            "reason": "the device was stolen",
        }
    )
    connection = http.client.HTTPConnection(
        "127.0.0.1", running.world.gateways[0].ports["admin"], timeout=30
    )
    connection.request(
        "POST",
        "/admin/v1/revocations",
        body,
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with connection.getresponse() as answer:
        assert answer.status in (200, 201), answer.read()
    connection.close()


@behind_nginx
@every_position
def test_removed_from_the_group_nobody_comes_back_on_what_cognito_remembers(
    fronted: RunningWorld,
    chromium: Browser,
    device: Device,
    cognito: Callable[..., None],
    *,
    with_provider: bool,
    renewed: bool,
) -> None:
    cognito(resume_with_provider=with_provider, resumed_auth_time_renewed=renewed)
    device.sign_in()
    ten_minutes_pass(fronted)
    with browser_profile(chromium) as office:
        console = office.new_page()
        click_in_console(fronted, console, "Remove from app-users")
        until(lambda: not device.let_in())

        assert device.holds_cognitos_cookie()
        assert not device.comes_back(without_provider=True, without_hop=True)
        assert not any("identity_provider=" in url for url in device.meddler.authorized[-2:])
        assert (device.asked_idp, device.meddler.hops) == (0, 1), "Cognito resumed, twice"
        expect(device.page.locator("body")).to_contain_text("confirm who you are")

        assert device.holds_cognitos_cookie()
        assert not device.comes_back(without_hop=True)
        assert (device.asked_idp > 0) is not with_provider

        assert device.holds_cognitos_cookie()
        assert not device.comes_back(without_provider=True)
        # Asked, the identity provider leaves the empty claim out, and Cognito goes on reporting the
        # group.
        assert device.asked_idp > 0
        assert "app-users" in pool_user(fronted).attributes["custom:groups"]
        expect(device.page.locator("body")).to_contain_text("app-users")
        assert not device.comes_back()

        click_in_console(fronted, console, "Add to app-users")
        until(device.comes_back)
        expect(device.page.locator("#person")).to_contain_text(EMAIL)


@behind_nginx
@both_times
def test_a_stolen_device_stays_out_though_its_owner_signs_in_elsewhere(
    fronted: RunningWorld,
    chromium: Browser,
    device: Device,
    cognito: Callable[..., None],
    *,
    renewed: bool,
) -> None:
    cognito(resumed_auth_time_renewed=renewed)
    device.sign_in()
    ten_minutes_pass(fronted)
    end_sessions(fronted)
    assert not device.let_in()
    assert not device.comes_back(without_provider=True, without_hop=True)
    # A login that the thief begins now, and finishes when the owner's own has brought Cognito a new
    # time.
    device.meddler.keep = True
    device.comes_back(without_provider=True, without_hop=True)
    device.meddler.keep = False
    with browser_profile(chromium) as elsewhere:
        owner = Device(fronted, elsewhere)
        owner.sign_in()
        assert device.holds_cognitos_cookie()
        device.asked_idp = 0
        a_moment_passes(fronted)
        device.page.goto(device.meddler.kept[-1])
        assert device.page.locator("#person").count() == 0
        assert not device.comes_back(without_provider=True, without_hop=True)
        assert device.asked_idp == 0
        assert owner.let_in()


@behind_nginx
@both_times
def test_where_freshness_is_not_mapped_only_auth_time_keeps_a_stolen_device_out(
    fronted: RunningWorld,
    device: Device,
    cognito: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    *,
    renewed: bool,
) -> None:
    cognito(resumed_auth_time_renewed=renewed)
    providers = fronted.world.cloud.cognito.pool.providers
    mapping = {
        name: claim
        for name, claim in providers[PROVIDER].mapping.items()
        if name != "custom:idp_iat"
    }
    monkeypatch.setitem(
        providers,
        PROVIDER,
        replace(
            providers[PROVIDER],
            settings={**providers[PROVIDER].settings, "AttributeMapping": mapping},
        ),
    )
    for user in fronted.world.cloud.cognito.pool.users.values():
        user.attributes.pop("custom:idp_iat", None)
    device.sign_in()
    ten_minutes_pass(fronted)
    end_sessions(fronted)
    assert not device.let_in()
    assert device.comes_back(without_provider=True, without_hop=True) is renewed
