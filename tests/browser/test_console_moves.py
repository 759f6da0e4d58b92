"""What moves in the console, in Chromium: a run's steps, a search; and what injected markup comes
to under the policy.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import async_playwright, expect

from gateway.console import application
from gateway.console.views import provisioning
from gateway.provisioning.runs import RunState, StepState
from tests.browser.accessibility import OPENED, SCHEMES, axe, broken_in
from tests.browser.conftest import ARGUMENTS, CHROMIUM, HEADLESS_SHELL
from tests.console.conftest import (
    HEADER,
    api,
    clock,
    database,
    desk,
    document,
    links,
    redis,
    token_for,
)
from tests.console.test_moving import step_of
from tests.console.test_overview import arrange
from tests.console.test_provisioning import RUN, journal
from tests.console.test_sessions import ONE
from tests.database.test_attention import one_of_each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

    from gateway.database.engine import Database
    from tests.console.conftest import Desk

__all__ = ["api", "axe", "clock", "database", "desk", "links", "redis"]

INJECTED = """async ([attribute, nonce]) => {
  const element = document.createElement("button");
  element.id = "evil";
  element.setAttribute(attribute, "/console/evil");
  element.setAttribute("hx-trigger", "load");
  if (nonce) element.setAttribute("hx-nonce", nonce);
  document.querySelector("main").append(element);
  htmx.process(document.querySelector("main"));
  await new Promise((done) => setTimeout(done));
  return element.hasAttribute(attribute);
}"""
WRITES_MARKUP = """() => {
  try { document.querySelector("main").innerHTML = "<img>"; return "written"; }
  catch (error) { return error.name; }
}"""
ADDS_SCRIPT = """() => {
  const script = document.createElement("script");
  try { script.textContent = "window.evil = 1"; } catch (error) { return error.name; }
  document.head.append(script);
  return window.evil;
}"""


@asynccontextmanager
async def opened(desk: Desk, *, script: bool = True, **options: Any) -> AsyncIterator[Page]:
    """A page of somebody who is signed in."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=HEADLESS_SHELL or CHROMIUM, args=ARGUMENTS
        )
        context = await browser.new_context(
            base_url=str(desk.client.make_url("/")),
            locale="en-GB",
            java_script_enabled=script,
            extra_http_headers={HEADER: desk.assertion("admins")},
            **options,
        )
        context.set_default_timeout(15_000)
        yield await context.new_page()
        await browser.close()


async def test_steps_appear_as_they_happen_and_a_search_as_it_is_typed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioning, "LOOK_S", 0.02)
    # The server of this test has another origin than the console.
    monkeypatch.setattr(application, "is_own_origin", lambda *_: True)
    runs = journal(desk)
    run = runs.stored["abcdef012345"]
    runs.stored["abcdef012345"] = replace(run, state=RunState.RUNNING)
    desk.tenants.stored["initech"] = document("initech")
    async with opened(desk) as page:
        wrong: list[str] = []
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        await page.goto(RUN)
        steps = page.locator("#progress")
        await expect(steps).to_contain_text("No step has begun.")
        step = step_of("the client", StepState.INTENDED)
        runs.stored["abcdef012345"] = replace(run, state=RunState.RUNNING, steps=(step,))
        await expect(steps.locator("tbody tr")).to_contain_text(["in progress"])
        done = replace(step, state=StepState.DONE)
        runs.stored["abcdef012345"] = replace(run, steps=(done,))
        await expect(page.get_by_role("heading", name="Roll back")).to_be_visible()
        await expect(page.get_by_role("link", name="Refresh")).to_have_count(0)
        await page.goto("/console/tenants")
        await expect(page.locator("#found tbody tr")).to_have_count(3)
        await page.locator("#search").press_sequentially("glob")
        await expect(page.locator("#found tbody tr")).to_have_count(1)
        await expect(page.locator("#search")).to_be_focused()
        assert "search=glob" in page.url
        await page.goto("/console/provision/okta")
        tenant = page.locator("#field-tenant")
        await tenant.fill("NO")
        await tenant.press("Tab")
        beside = page.locator("#field-tenant-wrong")
        await expect(beside).to_contain_text("1 to 40 lower-case letters")
        await expect(page.locator("#field-provider-oidc-issuer-wrong")).to_be_empty()
        await tenant.fill("no")
        await tenant.press("Tab")
        await expect(beside).to_be_empty()
        await expect(tenant).to_have_value("no")
        assert wrong == []
        await page.goto("/console/tenants")
        for attribute, nonce in (
            ("hx-get", ""),
            ("hx-post", "another"),
            ("data-hx-get", ""),
            ("hx-on:load", ""),
        ):
            kept = await page.evaluate(INJECTED, [attribute, nonce])
            assert not kept, attribute
            await page.locator("#evil").evaluate("(element) => element.remove()")
        assert await page.evaluate(WRITES_MARKUP) == "TypeError"
        assert await page.evaluate(ADDS_SCRIPT) == "TypeError"


async def test_without_scripts_the_same_pages_are_complete(desk: Desk) -> None:
    runs = journal(desk)
    run = runs.stored["abcdef012345"]
    runs.stored["abcdef012345"] = replace(run, state=RunState.RUNNING)
    async with opened(desk, script=False) as page:
        await page.goto(RUN)
        await expect(page.locator("#progress")).to_contain_text("No step has begun.")
        runs.stored["abcdef012345"] = run
        await page.get_by_role("link", name="Refresh").click()
        await expect(page.get_by_role("heading", name="Roll back")).to_be_visible()
        await page.goto("/console/tenants")
        await page.locator("#search").fill("glob")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator("#found tbody tr")).to_have_count(1)


FULL = (
    "/console/overview",
    "/console/overview?window=day",
    "/console/tenants",
    "/console/deliveries?tenant=acme",
    "/console/deliveries?direction=out",
    "/console/health",
)
"""Pages of which the demo shows little."""


async def test_full_pages_break_no_rule_of_accessibility_and_need_no_wide_screen(
    desk: Desk, database: Database, axe: str
) -> None:
    await arrange(database, desk)
    await one_of_each(database)
    sessions = await desk.text("/console/sessions?tenant=acme", "admins")
    ended = await desk.post(ONE, {"token": token_for(sessions, ONE), "session": "acme-1"}, "admins")
    screen: Any = {"width": 320, "height": 640}
    async with opened(desk, bypass_csp=True, viewport=screen) as page:
        for path in (*FULL, ended.headers["Location"]):
            answer = await page.goto(path)
            assert answer is not None
            assert answer.status == 200
            assert await page.evaluate("document.documentElement.scrollWidth") <= 320, path
            await page.evaluate(axe)
            await page.evaluate(OPENED)
            for scheme, rules in SCHEMES.items():
                await page.emulate_media(color_scheme=scheme)
                assert broken_in(await page.evaluate(rules)) == [], (path, scheme)
        # A replica that has not confirmed.
        await expect(page.locator(".silent")).to_be_visible()
