"""Provisioning in the console: the plan before it runs, runs, drift, rotation, a test link."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import FormData, MultipartWriter

from gateway.admin.in_process import ApiAnswer
from gateway.console import application
from gateway.console.fields import Kind
from gateway.console.provision_fields import KINDS, request_of, section_of
from gateway.console.work import Work
from gateway.database.audit_entries import AuditFilter
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runs import RunState
from tests.admin.rooms import Onboardings, Runs
from tests.console.conftest import EVIL, HEADER, ORIGIN, changes, console_of, inputs_of

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import ClientResponse
    from pytest_aiohttp.plugin import AiohttpClient

    from gateway.provisioning.proposal import Proposal
    from gateway.provisioning.runner import Done
    from tests.console.conftest import Desk

OKTA = "/console/provision/okta"
RUN = "/console/tenants/acme/runs/abcdef012345"
TYPED = {
    "tenant": "initech",
    "provider.oidc_issuer": "https://initech.okta.com",
    "provider.client_id": "0oa1",
    "provider.client_secret": "a secret of the client",
    "groups": "app-users",
    "email_domains": "initech.test",
}


async def upload(desk: Desk, path: str, form: dict[str, Any], *groups: str) -> ClientResponse:
    data = FormData(default_to_multipart=True)
    for name, value in form.items():
        extra = {"filename": "m.xml"} if isinstance(value, bytes) else {}
        data.add_field(name, value, **extra)
    sent = {HEADER: desk.assertion(*groups), "Origin": ORIGIN}
    return await desk.client.post(path, data=data, headers=sent, allow_redirects=False)


async def planned(desk: Desk, kind: str = "okta", **typed: Any) -> tuple[int, str]:
    path = f"/console/provision/{kind}"
    page = await desk.text(path, "onboarding")
    form = {k: v for k, v in inputs_of(page, path).items() if k != "provider.metadata_file"}
    response = await upload(
        desk, path, {**form, **(TYPED if kind == "okta" else {}), **typed}, "onboarding"
    )
    return response.status, await response.text()


async def send(desk: Desk, page: str, action: str, **typed: str) -> ClientResponse:
    return await desk.post(action, {**inputs_of(page, action), **typed}, "onboarding")


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_has_its_form_and_its_request(desk: Desk, kind: str) -> None:
    assert f'href="/console/provision/{kind}?tenant=acme"' in await desk.text(
        "/console/provision?tenant=acme", "onboarding"
    )
    page = await desk.text(f"/console/provision/{kind}", "onboarding")
    assert f'action="/console/provision/{kind}"' in page
    filled: dict[str, Any] = {"tenant": "acme", "groups": ["g"], "provider": {}}
    samples = {
        "oidc_issuer": "https://i.example.com",
        "client_id": "c",
        "client_secret": "s",
        "metadata_url": "https://i.example.com/m",
    }
    names = {f.path.removeprefix("provider.") for f in section_of(kind).fields}
    needed = {n: v for n, v in samples.items() if n in names and kind != "apple"}
    filled["provider"] = needed
    body = ProvisionBody.model_validate(request_of(kind, filled))
    assert body.all_providers[0].kind == kind


async def test_the_plan_is_shown_before_it_is_run_and_the_secret_is_in_no_page(desk: Desk) -> None:
    status, plan = await planned(desk)
    assert status == 200
    assert "Nothing has been changed yet." in plan
    assert "there is none" in plan
    assert TYPED["provider.client_secret"] not in plan
    response = await send(desk, plan, "/console/tenants/initech/provision")
    assert response.status == 303
    assert response.headers["Location"] == "/console/tenants/initech/runs/abcdef012345"


async def test_what_the_api_refuses_stands_beside_its_field(desk: Desk) -> None:
    status, page = await planned(desk, **{"provider.client_id": "", "tenant": "NO"})
    assert status == 422
    assert '<a href="#field-tenant">' in page
    status, page = await planned(desk, **{"provider.client_id": ""})
    assert status == 422
    assert '<a href="#field-provider-client-id">' in page
    assert TYPED["provider.client_secret"] not in page
    assert inputs_of(page, OKTA)["tenant"] == "initech"


async def test_a_request_is_checked_while_it_is_typed_and_nobody_is_asked(desk: Desk) -> None:
    status, text = await planned(desk, check="1", tenant="NO", **{"provider.client_id": ""})
    assert status == 200
    assert "1 to 40 lower-case letters" in text
    assert text.count('class="wrong"') == 1
    assert TYPED["provider.client_secret"] not in text
    assert await changes(desk) == []


async def test_metadata_of_saml_is_uploaded(desk: Desk) -> None:
    xml = b"\xef\xbb\xbf<EntityDescriptor/>"
    typed = {"tenant": "initech", "groups.any": "1"}
    status, plan = await planned(desk, "saml", **{**typed, "provider.metadata_file": xml})
    assert status == 200, plan
    status, page = await planned(desk, "saml", **typed)
    assert status == 422
    assert "either metadata_url or metadata is needed" in page
    big = b"x" * (application.MAX_FORM_BYTES + 1)
    status, _ = await planned(desk, "saml", **{**typed, "provider.metadata_file": big})
    assert status == 413
    status, _ = await planned(desk, "saml", **{**typed, "provider.metadata_file": b"\xff\xfe"})
    assert status == 400


@pytest.mark.parametrize("case", ["no name", "nested", "too many", "truncated", "no boundary"])
async def test_what_no_browser_sends_is_no_form(desk: Desk, case: str) -> None:
    sent = {HEADER: desk.assertion("onboarding"), "Origin": ORIGIN}
    if case in {"truncated", "no boundary"}:
        kind = "multipart/form-data" + ("; boundary=b" if case == "truncated" else "")
        data: Any = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx'
        sent["Content-Type"] = kind
    else:
        data = MultipartWriter("form-data")
        if case == "nested":
            data.append(MultipartWriter("mixed"))
        for number in range(5000 if case == "too many" else 1):
            part = data.append("x")
            if case != "no name":
                part.set_content_disposition("form-data", name=f"n{number}")
    response = await desk.client.post(OKTA, data=data, headers=sent)
    assert response.status in {400, 403}


async def test_a_form_that_takes_no_files_takes_no_multipart(desk: Desk) -> None:
    response = await upload(desk, "/console/tenants/acme/edit/general", {"name": "x"}, "admins")
    assert response.status == 403


async def test_an_upload_needs_the_origin_and_the_token(desk: Desk) -> None:
    assert (await upload(desk, OKTA, dict(TYPED), "onboarding")).status == 403
    data = FormData(default_to_multipart=True)
    data.add_field("tenant", "x")
    sent = {HEADER: desk.assertion("onboarding")}
    assert (await desk.client.post(OKTA, data=data, headers=sent)).status == 403


async def test_an_existing_tenant_fills_the_form_and_is_provisioned_again(desk: Desk) -> None:
    page = await desk.text(f"{OKTA}?tenant=acme", "onboarding")
    form = inputs_of(page, OKTA)
    assert (form["tenant"], form["groups"]) == ("acme", "app-users")
    status, plan = await planned(desk, tenant="acme")
    assert status == 200
    assert "The tenant exists." in plan


async def test_a_draft_of_a_plan_is_of_its_tenant(desk: Desk) -> None:
    _, plan = await planned(desk)
    sealed = inputs_of(plan, "/console/tenants/initech/provision")["draft"]
    _, other = await planned(desk, tenant="acme")
    response = await send(desk, other, "/console/tenants/acme/provision", draft=sealed)
    assert response.status == 409


CONNECT = "/console/tenants/acme/connect"


async def test_a_provider_is_added_and_the_page_says_what_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[ProvisionBody] = []
    propose = Onboardings.propose

    async def noting(self: Onboardings, tenant: str, body: ProvisionBody, **how: bool) -> Proposal:
        bodies.append(body)
        return await propose(self, tenant, body, **how)

    monkeypatch.setattr(Onboardings, "propose", noting)
    assert f'href="{CONNECT}"' in await desk.text("/console/tenants/acme/providers", "onboarding")
    kinds = await desk.text(CONNECT, "onboarding")
    assert f'href="{CONNECT}/okta"' in kinds
    page = await desk.text(f"{CONNECT}/okta", "onboarding")
    form = inputs_of(page, f"{CONNECT}/okta")
    assert not {"hosts", "name", "pool", "adopt_client"} & form.keys()
    typed = {k: v for k, v in TYPED.items() if k.startswith("provider.")} | {"groups": "beta"}
    response = await upload(desk, f"{CONNECT}/okta", {**form, **typed}, "onboarding")
    plan = await response.text()
    assert response.status == 200, plan
    stays = "These stay as they are, and so does who gets in with them: <code>acme-okta</code>"
    assert all(stays in text for text in (kinds, page, plan))
    assert "The tenant exists." not in plan
    assert TYPED["provider.client_secret"] not in plan
    done = await send(desk, plan, "/console/tenants/acme/provision")
    assert done.status == 303
    planned_body, run_body = bodies
    assert planned_body == run_body
    assert (run_body.prune, run_body.groups, run_body.domains) == (False, ("beta",), None)


async def test_the_name_of_another_provider_is_none_for_a_new_one(desk: Desk) -> None:
    path = f"{CONNECT}/okta"
    form = inputs_of(await desk.text(path, "onboarding"), path)
    typed = {k: v for k, v in TYPED.items() if k.startswith("provider.")}
    typed["provider.name"] = "acme-okta"
    response = await upload(desk, path, {**form, **typed}, "onboarding")
    assert response.status == 422
    assert '<a href="#field-provider-name">' in await response.text()
    missing = await desk.get("/console/tenants/nobody/connect/okta", "onboarding")
    assert missing.status == 404


class Slow(Onboardings):
    """Runs that end when told."""

    go: asyncio.Event

    async def apply(self, proposal: Proposal, *, actor: str) -> Done:
        await self.go.wait()
        return await super().apply(proposal, actor=actor)


async def test_a_run_that_takes_long_goes_on_while_the_browser_looks(
    aiohttp_client: AiohttpClient, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "Work", partial(Work, patience_s=0.01))
    slow = Slow(desk.tenants)
    slow.go = asyncio.Event()
    services: Any = desk.api.services
    api = replace(desk.api, services=replace(services, onboarding=slow))
    desk.client = await aiohttp_client(console_of(api, desk.clock, desk.links, tmp_path))
    _, plan = await planned(desk, tenant="acme")
    response = await send(desk, plan, "/console/tenants/acme/provision")
    assert (response.status, response.headers["Location"]) == (303, RUN)
    audit = api.services.audit

    async def outcome() -> str:
        [latest, *_] = (await audit.page(AuditFilter(), position=None, limit=1)).items
        return latest.outcome

    assert await outcome() == "begun"
    slow.go.set()
    for _ in range(1000):
        if await outcome() == "done":
            break
    assert await outcome() == "done"


async def test_work_that_never_ends_ends_with_the_console() -> None:
    begun = asyncio.Event()

    async def operation() -> ApiAnswer:
        begun.set()
        await asyncio.Event().wait()
        return ApiAnswer(200, {})

    work = Work(patience_s=0.01)
    assert await work.start(operation()) is None
    assert begun.is_set()
    await work.end()


async def test_a_run_shows_its_steps_and_is_rolled_back_when_confirmed(desk: Desk) -> None:
    page = await desk.text(RUN, "onboarding")
    assert "Take back everything that this run did" in page
    refused = await send(desk, page, f"{RUN}/rollback")
    assert refused.status == 422
    response = await send(desk, page, f"{RUN}/rollback", sure="1")
    assert (response.status, response.headers["Location"]) == (303, RUN)
    await desk.text("/console/tenants/globex/runs/abcdef012345", "onboarding", status=404)


@pytest.mark.parametrize(
    ("state", "refresh"),
    [(RunState.RUNNING, True), (RunState.UNDOING, True), (RunState.DONE, False)],
)
async def test_a_run_that_goes_on_has_a_link_to_look_again(
    desk: Desk, state: RunState, refresh: bool
) -> None:
    runs = journal(desk)
    runs.stored["abcdef012345"] = replace(runs.stored["abcdef012345"], state=state)
    page = await desk.text(RUN, "onboarding")
    assert (f'href="{RUN}">Refresh' in page) is refresh
    assert ("/rollback" in page) is not refresh


def journal(desk: Desk) -> Runs:
    onboarding: Any = desk.api.services.onboarding
    runs: Runs = onboarding.provisioning.journal
    return runs


async def test_a_run_that_failed_says_what_cognito_said_as_text(desk: Desk) -> None:
    runs = journal(desk)
    error = {"code": EVIL, "message": EVIL}
    plan = {"verb": "create", "resource": "provider", "name": EVIL, "why": EVIL}
    changes = [{"setting": EVIL, "now": EVIL, "wanted": {"a": EVIL}}]
    runs.stored["abcdef012345"] = replace(
        runs.stored["abcdef012345"],
        state=RunState.ROLLED_BACK,
        error=error,
        actor=EVIL,
        plan=({**plan, "changes": changes},),
    )
    for path in (RUN, "/console/runs", "/console/tenants/acme/provisioning"):
        text = await desk.text(path, "onboarding")
        assert "<script>" not in text
        assert "<img" not in text
    assert "Nothing of it is left." in await desk.text(RUN, "onboarding")


async def test_runs_are_found_by_tenant_and_state(desk: Desk) -> None:
    assert RUN in await desk.text("/console/runs", "onboarding")
    assert RUN in await desk.text("/console/runs?tenant=acme&state=done", "onboarding")
    for query in ("tenant=globex", "state=running"):
        assert "No runs match." in await desk.text(f"/console/runs?{query}", "onboarding")
    response = await desk.client.get(
        "/console/runs", params={"tenant": EVIL}, headers={HEADER: desk.assertion("onboarding")}
    )
    assert "<script>" not in await response.text()


async def test_drift_rotation_and_a_test_link(desk: Desk) -> None:
    base = "/console/tenants/acme/provisioning"
    page = await desk.text(base, "onboarding")
    looked = await (await send(desk, page, f"{base}/verify")).text()
    assert "The pool is as it was provisioned." in looked
    for action in ("rotate", "retire"):
        response = await send(desk, page, f"{base}/{action}")
        assert (response.status, response.headers["Location"]) == (303, RUN)
    link = await (await send(desk, page, "/console/tenants/acme/test-link")).text()
    assert "https://login.example.com/_auth/test/acme" in link


async def test_without_the_scope_nothing_of_provisioning_is_there(desk: Desk) -> None:
    text = await desk.text("/console/tenants/acme", "support")
    assert "/provisioning" not in text
    assert "/runs" not in text
    for path in ("/console/runs", RUN, "/console/provision", OKTA):
        await desk.text(path, "support", status=403)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_text_of_a_request_becomes_markup(desk: Desk, kind: str) -> None:
    path = f"/console/provision/{kind}"
    page = await desk.text(f"{path}?tenant=x", "onboarding")
    files = {f.path for f in section_of(kind).fields if f.kind is Kind.FILE}
    form = {k: v for k, v in inputs_of(page, path).items() if k not in files}
    typed = {f.path: EVIL for f in section_of(kind).fields if f.path not in files}
    text = await (await upload(desk, path, {**form, **typed}, "onboarding")).text()
    assert "<script>" not in text
    assert "<img" not in text
