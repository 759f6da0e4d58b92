"""Customers by SAML and by a Google-like provider, each onboarded by one call, in Chromium: signed
in, kept out, removed; and a certificate of the SAML provider that is exchanged meanwhile.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from demo.idp.saml import certificate_of
from tests.browser.test_onboarding import call, until_known
from tests.browser.test_walk import sign_in
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from demo.idp.saml import SamlFace
    from demo.jose import TokenDraft
    from tests.support.world import RunningWorld


@pytest.fixture
def running(products: Callable[[str], RunningWorld]) -> RunningWorld:
    return products("nginx")


@contextmanager
def onboarded(running: RunningWorld, body: dict[str, Any]) -> Iterator[str]:
    """The tenant's address in the admin API; it is gone afterwards."""
    url = running.world.onboarding["url"]
    status, made = call(running, "POST", url, body)
    assert status == 201, made
    try:
        yield url.removesuffix("/provision")
    finally:
        assert call(running, "DELETE", url)[0] == 204


def is_in(chromium: Browser, running: RunningWorld, email: str) -> bool:
    """Whether somebody at another machine gets to the application."""
    context = chromium.new_context(locale="en-GB")
    context.set_default_timeout(15_000)
    try:
        page = context.new_page()
        until_known(page, running.world.onboarding["then"] + "/welcome")
        sign_in(page, email)
        # The application's page, or the gateway's that says why not.
        page.wait_for_url(re.compile(r"^http://initech\.localhost[^/]*/welcome|/_auth/callback"))
        return page.locator("#person").count() == 1
    finally:
        context.close()


def saml(running: RunningWorld) -> SamlFace:
    face = running.world.cloud.customers["initech-okta"].saml
    assert face is not None
    return face


def checked(running: RunningWorld, tenant: str) -> dict[str, Any]:
    status, found = call(running, "POST", f"{tenant}/connections/check")
    assert status == 200, found
    (connection,) = found["items"]
    assert isinstance(connection, dict)
    return connection


def test_a_certificate_is_exchanged_and_nobody_notices(
    running: RunningWorld, chromium: Browser
) -> None:
    """Cognito keeps metadata for six hours; the gateway has them read when they change."""
    onboarding, face = running.world.saml_onboarding, saml(running)
    old_key, old = face.key, face.certificate
    new_key = spare_keys()().private
    new = certificate_of(new_key, now=time.time())
    came: list[bool] = []
    with onboarded(running, onboarding["body"]) as tenant:
        try:
            came.append(is_in(chromium, running, onboarding["email"]))
            assert checked(running, tenant)["state"] == "active"
            face.published = [old, new]
            assert len(checked(running, tenant)["certificates"]) == 2
            came.append(is_in(chromium, running, onboarding["email"]))
            face.key, face.certificate = new_key, new
            came.append(is_in(chromium, running, onboarding["email"]))
            face.published = [new]
            assert len(checked(running, tenant)["certificates"]) == 1
            came.append(is_in(chromium, running, onboarding["email"]))
            assert came == [True] * 4
            # Whoever has the old key is nobody.
            face.key, face.certificate = old_key, old
            assert not is_in(chromium, running, onboarding["email"])
        finally:
            face.key, face.certificate, face.published = old_key, old, [old]


def test_somebody_who_comes_by_saml_is_removed_and_out(running: RunningWorld, page: Page) -> None:
    onboarding = running.world.saml_onboarding
    with onboarded(running, onboarding["body"]) as tenant:
        status, made = call(running, "POST", f"{tenant}/hooks/initech-saml/secrets")
        assert status == 201, made
        users = (
            f"http://127.0.0.1:{running.world.gateways[0].ports['hooks']}"
            "/scim/v2/initech/initech-saml/Users"
        )
        person = {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": onboarding["email"],
            "active": True,
        }
        status, stored = call(running, "POST", users, person, key=made["secret"])
        assert status == 201, stored
        until_known(page, onboarding["then"] + "/welcome")
        sign_in(page, onboarding["email"])
        expect(page.locator("#person")).to_contain_text("peter@initech.test")
        status, gone = call(
            running,
            "PUT",
            f"{users}/{stored['id']}",
            {**person, "active": False},
            key=made["secret"],
        )
        assert status == 200, gone
        out = time.monotonic() + 10
        while page.goto(onboarding["then"] + "/welcome") and page.locator("#person").count():
            assert time.monotonic() < out


def test_a_google_account_without_the_organization_stays_outside(
    running: RunningWorld, chromium: Browser, page: Page
) -> None:
    """Whoever opens a Google account with an address of the company is not of the company."""
    cloud = running.world.cloud
    customer = running.run(
        cloud.add_idp("initech-google", kind="okta", host="accounts.google.localhost")
    )
    directory = customer.server.directory
    hosted = {"pam": "initech.test", "mallory": None, "eve": "evil.test"}
    for name in hosted:
        directory.add_person(f"{name}@initech.test", name=name.title())

    def with_organization(draft: TokenDraft) -> TokenDraft:
        return draft.with_claims(hd=hosted[draft.claims["email"].partition("@")[0]])

    customer.server.faults.spoil_token = with_organization
    onboarding = running.world.onboarding
    provider = {
        "client_id": customer.app.client_id,
        "client_secret": customer.app.client_secret,
        "oidc_issuer": customer.issuer,
    }
    body = {"provider": provider, "groups": "any", "allowed_domain": "initech.test"}
    with onboarded(running, {**body, "hosts": onboarding["body"]["hosts"]}) as tenant:
        (entry,) = call(running, "GET", tenant)[1]["tenant"]["providers"]
        assert entry["kind"] == "google"
        assert not is_in(chromium, running, "mallory@initech.test")
        assert not is_in(chromium, running, "eve@initech.test")
        until_known(page, onboarding["then"] + "/welcome")
        sign_in(page, "pam@initech.test")
        expect(page.locator("#person")).to_contain_text("pam@initech.test")
        pam = next(p for p in directory.people.values() if p.email == "pam@initech.test")
        running.run(directory.suspend(pam))
        status, ended = call(
            running,
            "POST",
            tenant.removesuffix("/tenants/initech") + "/revocations",
            {"tenant": "initech", "email": pam.email, "kind": "end_sessions", "reason": "left"},
        )
        assert status in {200, 201}, ended
        page.goto(onboarding["then"] + "/welcome")
        assert page.locator("#person").count() == 0
        assert "pam@initech.test" not in page.content()
