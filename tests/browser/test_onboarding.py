"""One call onboards a customer; seconds later one of their people is in."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from tests.browser.test_walk import sign_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.world import RunningWorld


def call(
    running: RunningWorld, method: str, url: str, body: object = None, key: str = ""
) -> tuple[int, Any]:
    """As curl does it."""
    key = key or running.run(running.world.make_admin_key())
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers=headers,
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def until_known(page: Page, url: str) -> None:
    """A replica serves a new tenant within a second of the answer; a person's first click may come
    sooner.
    """
    until = time.monotonic() + 5
    while True:
        page.goto(url)
        if "unknown_host" not in page.content() or time.monotonic() > until:
            return


def test_one_call_and_peter_of_initech_is_in(fronted: RunningWorld, page: Page) -> None:
    onboarding = fronted.world.onboarding
    status, plan = call(fronted, "POST", onboarding["url"] + "?dry_run=true", onboarding["body"])
    assert (status, [s["verb"] for s in plan["steps"]]) == (
        200,
        ["keep", "create", "create", "create"],
    )
    status, made = call(fronted, "POST", onboarding["url"], onboarding["body"])
    assert status == 201, made
    assert made["in_force"] is True
    until_known(page, onboarding["then"] + "/welcome")
    expect(page).to_have_url(re.compile(r"^http://initech-okta\.localhost:"))
    sign_in(page, onboarding["email"])
    expect(page.locator("#person")).to_contain_text("peter@initech.test")
    assert page.url == onboarding["then"] + "/welcome"
    status, again = call(fronted, "POST", onboarding["url"], onboarding["body"])
    assert (status, again["code"]) == (409, "exists")
    base = onboarding["url"].removesuffix("/provision")
    status, drift = call(fronted, "POST", onboarding["url"] + "/verify")
    assert (status, drift["clean"]) == (200, True)
    assert call(fronted, "DELETE", onboarding["url"])[0] == 204
    assert call(fronted, "GET", base)[0] == 404
    page.goto(onboarding["then"] + "/welcome")
    assert page.locator("#person").count() == 0
    assert not any("initech" in name for name in fronted.world.cloud.cognito.pool.providers)


def test_peter_of_initech_comes_by_saml(fronted: RunningWorld, page: Page) -> None:
    """The answer is POSTed from another site, and the group decides."""
    onboarding = fronted.world.saml_onboarding
    assert call(fronted, "POST", onboarding["url"], onboarding["body"])[0] == 201
    try:
        until_known(page, onboarding["then"] + "/welcome?by=saml")
        expect(page).to_have_url(re.compile(r"^http://initech-okta\.localhost:\d+/saml/sso"))
        sign_in(page, onboarding["email"])
        expect(page.locator("#person")).to_contain_text("peter@initech.test")
        assert page.url == onboarding["then"] + "/welcome?by=saml"
        page.goto(onboarding["then"] + "/_auth/logout")
        status, _ = call(
            fronted, "PUT", onboarding["url"], {**onboarding["body"], "group": "nobody-is-in-it"}
        )
        assert status == 200
        page.context.clear_cookies()
        page.goto(onboarding["then"] + "/welcome")
        sign_in(page, onboarding["email"])
        expect(page.get_by_text("peter@initech.test").first).to_be_visible()
        assert page.locator("#person").count() == 0
    finally:
        assert call(fronted, "DELETE", onboarding["url"])[0] == 204
