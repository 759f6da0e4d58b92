"""``/tenants/ID/setup-links``: what an operator may ask for, and who lets people sign in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import insert, update

from gateway.admin.keys import Scope
from gateway.database.schema import provision_runs
from gateway.errors import UnavailableError
from gateway.setup.links import Claimed, edited
from gateway.setup.model import Approval, Part, Work
from tests.admin.rooms import Letters, Tenants
from tests.admin.test_authorization import (
    SETUP_LINK,
    SETUP_LINKS,
    submit_link,
    submitted,
)
from tests.admin.test_dispatch import TENANT, problem

if TYPE_CHECKING:
    from gateway.database.engine import Database
    from gateway.tenants.api import TenantRecord
    from gateway.tenants.document import TenantDocument
    from tests.admin.conftest import Api, Clock

NEW = {
    "parts": ["sign_in", "access"],
    "recipients": ["IT@Initech.test"],
    "tenant": {"name": "Initech", "hosts": ["app.example.com"], "email_domains": ["initech.test"]},
}
INITECH = "/tenants/initech/setup-links"


async def make(api: Api, body: dict[str, Any] = NEW, path: str = INITECH) -> dict[str, Any]:
    response = await api.call("POST", path, json=body)
    assert response.status == 201, await response.text()
    made: dict[str, Any] = await response.json()
    return made


async def inactive(api: Api) -> None:
    """Acme, to which nobody can sign in yet."""
    providers = [{**TENANT["providers"][0], "active": False}]
    await api.call("PUT", "/tenants/acme", json={**TENANT, "providers": providers})


def is_active(api: Api) -> bool:
    tenants = api.services.tenants
    assert isinstance(tenants, Tenants)
    return bool(tenants.stored["acme"].document["providers"][0]["active"])


BESIDE = {
    "parts": ["sign_in", "access"],
    "recipients": ["it@beta.test"],
    "connection": {"email_domains": ["beta.test"]},
}


async def test_a_link_for_a_live_tenant_says_the_domains_of_what_it_connects(api: Api) -> None:
    await api.call("PUT", "/tenants/acme", json=TENANT)
    path = "/tenants/acme/setup-links"
    without = {name: BESIDE[name] for name in ("parts", "recipients")}
    refused = await api.call("POST", path, json=without)
    assert (refused.status, (await problem(refused))["code"]) == (409, "conflict")
    made = await make(api, BESIDE, path)
    assert made["link"]["connection"] == {"email_domains": ["beta.test"], "groups": None}
    shown = await (await api.call("GET", f"{path}/{made['link']['id']}")).json()
    assert shown["connection"] == made["link"]["connection"]
    scopes = (Scope.SETUP_WRITE, Scope.PROVISION, Scope.TENANTS_READ, Scope.TENANTS_WRITE)
    own = await api.key(*scopes, tenant="acme")
    bound = await api.call("POST", path, key=own, json=BESIDE)
    assert (bound.status, (await problem(bound))["code"]) == (403, "tenant_bound")
    nobody = await api.call("POST", INITECH, json=BESIDE)
    assert nobody.status == 404


@pytest.mark.parametrize(
    "words",
    [
        {"parts": ["domains"]},
        {"parts": ["sign_in", "maintain"]},
        {"tenant": NEW["tenant"]},
        {"connection": {"email_domains": ["beta.test"], "groups": ["beta"]}},
        {"connection": {"email_domains": []}},
    ],
)
async def test_what_one_more_connection_cannot_be_with(api: Api, words: dict[str, Any]) -> None:
    await api.call("PUT", "/tenants/acme", json=TENANT)
    response = await api.call("POST", "/tenants/acme/setup-links", json={**BESIDE, **words})
    assert response.status == 400


async def test_address_and_phrase_are_shown_once_and_stored_nowhere(api: Api) -> None:
    made = await make(api)
    link = made["link"]
    assert made["address"].startswith(f"https://login.example.com/setup/l/{link['id']}/")
    assert (link["state"], link["phase"], link["recipients"]) == (
        "issued",
        "draft",
        ["it@initech.test"],
    )
    assert [task["task"] for task in link["tasks"]] == ["provider", "connection", "test", "access"]
    secrets = (made["address"].rpartition("/")[2], made["phrase"])
    listed = await (await api.call("GET", INITECH)).text()
    one = await (await api.call("GET", f"{INITECH}/{link['id']}")).text()
    audit = await (await api.call("GET", "/audit")).text()
    assert "create_setup_link" in audit
    assert not [text for text in (listed, one, audit) if any(s in text for s in secrets)]


async def test_where_mail_is_configured_the_link_and_its_code_are_mailed(api: Api) -> None:
    letters = cast("Letters", api.services.mailer)
    refused = await api.call("POST", INITECH, json={**NEW, "send": True})
    assert (refused.status, (await problem(refused))["code"]) == (409, "conflict")
    letters.configured = True
    made = await make(api, {**NEW, "send": True})
    assert (made["phrase"], made["sent"]) == ("", ["it@initech.test"])
    assert made["link"]["confirm"] == "mail"
    ((what, to, words),) = letters.sent
    assert (what, to, words["link"]) == ("invited", "it@initech.test", made["address"])
    assert (await make(api, {**NEW, "confirm": "phrase"}))["phrase"]
    # An address that no mail goes to is said at once.
    body = {**NEW, "recipients": ["b\u00fcro@initech.test"]}
    assert (await api.call("POST", INITECH, json=body)).status == 400
    # Without mail any more, a phrase opens what a code did.
    letters.configured = False
    replaced = await api.call("POST", f"{INITECH}/{made['link']['id']}/replace")
    assert (await replaced.json())["phrase"]
    audit = await (await api.call("GET", "/audit")).text()
    assert made["address"].rpartition("/")[2] not in audit


async def test_the_times_of_steps_are_shown(api: Api, clock: Clock) -> None:
    made = await make(api, {**NEW, "confirm": "phrase"})
    setup = api.services.setup
    assert setup is not None
    link_id, secret = made["address"].rsplit("/", 2)[1:]
    clock.now += 60
    claimed = await setup.links.claim(
        link_id, secret, email="it@initech.test", answer=made["phrase"]
    )
    assert isinstance(claimed, Claimed)
    clock.now += 90
    work, cookie = Work(provider="okta", protocol="oidc"), claimed.cookie.reveal()
    chosen = await setup.links.save(claimed.link, work, cookie=cookie)
    assert chosen is not None
    clock.now += 30.5
    connected = await setup.links.save(chosen, edited(work, name="initech-okta"), cookie=cookie)
    assert connected is not None

    async def steps() -> list[tuple[str, float | None]]:
        shown = await (await api.call("GET", f"{INITECH}/{link_id}")).json()
        assert shown["opened_at"] == made["link"]["created_at"] + 60
        return [(row["task"], row["seconds"]) for row in shown["tasks"]]

    assert await steps() == [
        ("provider", 90.0),
        ("connection", 30.5),
        ("test", None),
        ("access", None),
    ]
    # What has to be done again has no time.
    clock.now += 10
    await setup.links.save(connected, Work(provider="entra", protocol="oidc"), cookie=cookie)
    assert (await steps())[1] == ("connection", None)


async def test_links_are_listed_newest_first_page_by_page(api: Api, clock: Clock) -> None:
    ids = []
    for _ in range(3):
        ids.append((await make(api))["link"]["id"])
        clock.now += 1
    first = await (await api.call("GET", f"{INITECH}?limit=2")).json()
    rest = await (await api.call("GET", f"{INITECH}?limit=2&cursor={first['next']}")).json()
    assert [row["id"] for row in (*first["items"], *rest["items"])] == ids[::-1]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tenant": None}, "not_found"),
        ({"parts": ["offboarding"], "tenant": None}, "not_found"),
        ({"parts": ["sign_in"]}, "invalid_body"),  # nobody says who gets in
        ({"tenant": {**NEW["tenant"], "groups": ["a"]}}, "invalid_body"),  # type: ignore[dict-item]  # a literal
        ({"parts": ["access"], "tenant": None}, "invalid_body"),
        ({"parts": ["everything"]}, "invalid_body"),
        ({"parts": []}, "invalid_body"),
        ({"recipients": []}, "invalid_body"),
        ({"recipients": ["a@b.test"] * 4}, "invalid_body"),
        ({"recipients": ["<script>@b.test"]}, "invalid_body"),
        ({"providers": ["../../etc/passwd"]}, "invalid_body"),
        ({"expires_in": 3599}, "invalid_body"),
        ({"expires_in": 30 * 86400 + 1}, "invalid_body"),
        ({"language": "xx"}, "invalid_body"),
    ],
)
async def test_what_cannot_be_asked_for(api: Api, change: dict[str, Any], code: str) -> None:
    body = {name: value for name, value in {**NEW, **change}.items() if value is not None}
    assert (await problem(await api.call("POST", INITECH, json=body)))["code"] == code


async def test_an_existing_tenant_is_connected_only_while_nobody_signs_in(api: Api) -> None:
    body = {"parts": ["sign_in"], "recipients": ["it@acme.test"]}
    await api.call("PUT", "/tenants/acme", json=TENANT)
    assert (await problem(await api.call("POST", SETUP_LINKS, json=body)))["code"] == "conflict"
    again = {**body, "tenant": {**NEW["tenant"], "groups": ["a"]}}  # type: ignore[dict-item]  # a literal
    assert (await problem(await api.call("POST", SETUP_LINKS, json=again)))["code"] == "exists"


SIGN_IN_SCOPES = (Scope.SETUP_WRITE, Scope.PROVISION, Scope.TENANTS_READ, Scope.TENANTS_WRITE)


async def test_a_link_does_nothing_that_its_maker_may_not(api: Api) -> None:
    for missing in SIGN_IN_SCOPES[1:]:
        short = await api.key(*(s for s in SIGN_IN_SCOPES if s is not missing))
        refused = await problem(await api.call("POST", INITECH, json=NEW, key=short))
        assert (refused["code"], refused["scope"]) == ("scope_missing", missing)
    able = await api.key(*SIGN_IN_SCOPES)
    assert (await api.call("POST", INITECH, json=NEW, key=able)).status == 201
    bound = await api.key(*SIGN_IN_SCOPES, tenant="initech")
    refused = await problem(await api.call("POST", INITECH, json=NEW, key=bound))
    assert refused["code"] == "tenant_bound"
    approving = {**NEW, "approval": "none"}
    refused = await problem(await api.call("POST", INITECH, json=approving, key=able))
    assert refused["scope"] == "setup:approve"
    may = await api.key(*SIGN_IN_SCOPES, Scope.SETUP_APPROVE)
    made = await api.call("POST", INITECH, json=approving, key=may)
    assert made.status == 201
    replaced = f"{INITECH}/{(await made.json())['link']['id']}/replace"
    assert (await api.call("POST", replaced, key=able)).status == 403
    assert (await api.call("POST", replaced, key=may)).status == 201


@pytest.mark.parametrize(
    ("part", "scope"), [("offboarding", Scope.HOOKS), ("maintain", Scope.TENANTS_READ)]
)
async def test_who_hands_a_part_on_may_do_what_it_does(
    api: Api, clock: Clock, part: str, scope: Scope
) -> None:
    await api.call("PUT", "/tenants/acme", json=TENANT)
    body = {"parts": [part], "recipients": ["it@acme.test"]}
    made = await make(api, body, SETUP_LINKS)
    needed = {Scope.SETUP_WRITE, Scope.TENANTS_READ, scope}
    without = await api.key(*(needed - {scope}))
    replacing = f"{SETUP_LINKS}/{made['link']['id']}/replace"
    for path, sent in ((SETUP_LINKS, body), (replacing, None)):
        refused = await problem(await api.call("POST", path, json=sent, key=without))
        assert (refused["code"], refused["scope"]) == ("scope_missing", scope)
        assert (await api.call("POST", path, json=sent, key=await api.key(*needed))).status == 201


async def test_who_approves_a_link_may_do_what_it_did(api: Api) -> None:
    await inactive(api)
    await submit_link(api)
    approver = await api.key(Scope.SETUP_APPROVE)
    refused = await problem(await api.call("POST", f"{SETUP_LINK}/approve", key=approver))
    assert refused["code"] == "scope_missing"
    assert not is_active(api)


async def test_a_revoked_link_is_neither_replaced_nor_approved(api: Api) -> None:
    await api.call("PUT", "/tenants/acme", json=TENANT)
    await submit_link(api)
    assert (await (await api.call("DELETE", SETUP_LINK)).json())["state"] == "revoked"
    assert (await api.call("DELETE", SETUP_LINK)).status == 200
    for what in ("replace", "approve"):
        refused = await api.call("POST", f"{SETUP_LINK}/{what}")
        assert (await problem(refused))["code"] == "conflict"


async def test_a_replaced_links_work_goes_on_under_another_address(api: Api) -> None:
    await inactive(api)
    await submit_link(api)
    made = await (await api.call("POST", f"{SETUP_LINK}/replace")).json()
    assert made["link"]["id"] != SETUP_LINK.rpartition("/")[2]
    assert made["link"]["phase"] == "submitted"
    assert (await (await api.call("GET", SETUP_LINK)).json())["state"] == "replaced"
    approved = f"{SETUP_LINKS}/{made['link']['id']}/approve"
    assert (await api.call("POST", approved)).status == 200
    assert is_active(api)


async def test_approval_switches_the_provider_on_and_completes_the_link(api: Api) -> None:
    await inactive(api)
    await submit_link(api)
    assert not is_active(api)
    done = await (await api.call("POST", f"{SETUP_LINK}/approve")).json()
    assert (done["state"], done["phase"]) == ("completed", "live")
    assert is_active(api)
    again = await api.call("POST", f"{SETUP_LINK}/approve")
    assert (await problem(again))["code"] == "conflict"


def stored(api: Api) -> Any:
    tenants = api.services.tenants
    assert isinstance(tenants, Tenants)
    return tenants.stored["acme"].document


async def test_going_live_leaves_the_people_of_another_provider_alone(api: Api) -> None:
    await inactive(api)
    await submit_link(api)
    live = {**stored(api)["providers"][0], "name": "acme-entra", "active": True}
    stored(api)["providers"].append(live)
    groups = stored(api)["allowed_groups"]
    refused = await problem(await api.call("POST", f"{SETUP_LINK}/approve"))
    assert refused["code"] == "conflict"
    assert "acme-entra" in refused["detail"]
    assert stored(api)["allowed_groups"] == groups
    assert not is_active(api)
    assert (await (await api.call("GET", SETUP_LINK)).json())["phase"] == "submitted"


async def test_what_was_edited_since_does_not_go_live(api: Api) -> None:
    await inactive(api)
    await submit_link(api)
    stored(api)["providers"][0]["issuer"] = "https://other.okta.com"
    refused = await problem(await api.call("POST", f"{SETUP_LINK}/approve"))
    assert refused["code"] == "conflict"
    assert not is_active(api)


@pytest.mark.parametrize("state", ["running", "done", "undoing"])
async def test_what_another_provisioned_since_does_not_go_live(
    api: Api, database: Database, clock: Clock, state: str
) -> None:
    await inactive(api)
    await submit_link(api)
    run = {"id": "of-another", "tenant": "acme", "actor": "setup:of/another", "kind": "apply"}
    row = {**run, "state": state, "request": "", "started_at": clock()}
    async with database.write() as connection:
        await connection.execute(insert(provision_runs).values(row))
    refused = await problem(await api.call("POST", f"{SETUP_LINK}/approve"))
    assert refused["code"] == "conflict"
    assert not is_active(api)
    async with database.write() as connection:
        await connection.execute(update(provision_runs).values(state="rolled_back"))
    assert (await api.call("POST", f"{SETUP_LINK}/approve")).status == 200


async def test_what_went_live_is_not_handed_on_again(api: Api) -> None:
    await inactive(api)
    await submit_link(api)
    await api.call("POST", f"{SETUP_LINK}/approve")
    refused = await problem(await api.call("POST", f"{SETUP_LINK}/replace"))
    assert (refused["code"], "live" in refused["detail"]) == ("conflict", True)
    assert (await (await api.call("GET", SETUP_LINK)).json())["state"] == "completed"


async def test_what_is_returned_is_neither_approved_nor_forgotten(api: Api) -> None:
    await inactive(api)
    await submit_link(api)
    note = {"note": "Choose app-users, please."}
    back = await (await api.call("POST", f"{SETUP_LINK}/return", json=note)).json()
    assert (back["phase"], back["returned"]) == ("tested", note["note"])
    refused = await api.call("POST", f"{SETUP_LINK}/approve")
    assert (await problem(refused))["code"] == "conflict"
    assert not is_active(api)


async def test_nothing_untested_goes_live(api: Api) -> None:
    await inactive(api)
    # Without a chosen group: access was never decided.
    assert api.services.setup is not None
    links = api.services.setup.links
    await submit_link(api, parts=frozenset({Part.SIGN_IN, Part.ACCESS}))
    link = await links.get("acme", SETUP_LINK.rpartition("/")[2])
    assert link is not None
    work = replace(await submitted(api), everyone=False)
    assert await links.decide(link, work) is not None
    refused = await api.call("POST", f"{SETUP_LINK}/approve")
    assert (await problem(refused))["code"] == "conflict"
    assert not is_active(api)


async def test_where_the_provider_cannot_be_switched_on_the_link_is_as_before(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await inactive(api)
    await submit_link(api)

    async def away(self: Tenants, document: TenantDocument, *, etag: str | None) -> TenantRecord:
        msg = "SQL is away"
        raise UnavailableError(msg)

    with monkeypatch.context() as patched:
        patched.setattr(Tenants, "put", away)
        assert (await api.call("POST", f"{SETUP_LINK}/approve")).status == 503
    after = await (await api.call("GET", SETUP_LINK)).json()
    assert (after["state"], after["phase"]) == ("claimed", "submitted")
    assert (await api.call("POST", f"{SETUP_LINK}/approve")).status == 200


async def test_who_made_the_link_does_not_approve_it_where_another_has_to(api: Api) -> None:
    await inactive(api)
    assert api.services.setup is not None
    links = api.services.setup.links
    body = {
        "parts": ["sign_in"],
        "recipients": ["it@acme.test"],
        "approval": Approval.OTHER_PERSON,
    }
    mine = await api.key(*SIGN_IN_SCOPES, Scope.SETUP_APPROVE)
    made = await (await api.call("POST", SETUP_LINKS, json=body, key=mine)).json()
    link = await links.get("acme", made["link"]["id"])
    assert link is not None
    assert await links.decide(link, await submitted(api)) is not None
    approve = f"{SETUP_LINKS}/{link.id}/approve"
    assert (await problem(await api.call("POST", approve, key=mine)))["code"] == "conflict"
    # Nor after somebody else had it replaced: it is the same person's link.
    other = await (await api.call("POST", f"{SETUP_LINKS}/{link.id}/replace")).json()
    assert other["link"]["created_by"] == made["link"]["created_by"]
    approve = f"{SETUP_LINKS}/{other['link']['id']}/approve"
    assert (await problem(await api.call("POST", approve, key=mine)))["code"] == "conflict"
    # Nor who replaced it, and so held its address too.
    assert (await problem(await api.call("POST", approve)))["code"] == "conflict"
    third = await api.key(*SIGN_IN_SCOPES, Scope.SETUP_APPROVE, lifetime_s=3600.0)
    assert (await api.call("POST", approve, key=third)).status == 200
