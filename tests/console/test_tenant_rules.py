"""Rules in rows, and a person who tries them before they are stored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.console.draft import LIFETIME_S
from gateway.console.rules_form import Part, Row, mistakes_of_rows, rows_of, rules_of, typed_rows
from gateway.console.views.tenant_rules import TYPED_S
from gateway.core.tenants import TenantTable
from gateway.tenants.explanations import Explanations
from tests.console.conftest import EVIL, HEADER, ORIGIN, Desk, Forms, console_of, inputs_of
from tests.database.fixtures import config_with
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_aiohttp.plugin import AiohttpClient

PATH = "/console/tenants/acme/rules"
APPLY = "/console/tenants/acme/apply"
RULES: list[dict[str, Any]] = [
    {"path": "/public/**", "allow": "public"},
    {"path": "/admin/**", "groups": ["admins"], "methods": ["GET", "POST"]},
    {"path": "/api/**", "bearer": {"clients": None, "scopes": ["a"]}, "browser_sessions": False},
    {"path": "/all/**", "groups": "any", "roles": ["r"], "override_tenant_groups": True},
]


@pytest.fixture
async def rules(forms: Forms, aiohttp_client: AiohttpClient, tmp_path: Path) -> Forms:
    """``acme`` with two rules and a shadow rule; explanations are the real ones."""
    config = config_with(tmp_path / "state")

    async def nothing(_tenant: str) -> tuple[()]:
        return ()

    explainer = Explanations(
        lambda: TenantTable.of([]),
        standing=nothing,
        clock=forms.desk.clock,
        config=config,
    )
    services = replace(forms.api.services, explainer=explainer)
    api = replace(forms.api, services=services)
    clock, links = forms.desk.clock, forms.desk.links
    client = await aiohttp_client(console_of(api, clock, links, tmp_path))
    document = sample(rules=RULES[:2], shadow_rules=[{"path": "/admin/**", "allow": "deny"}])
    answer = await api.call("PUT", "/tenants/acme", json=document, headers={"If-Match": '"1"'})
    assert answer.status == 200
    return Forms(Desk(client, api, clock, forms.desk.tenants, links), api)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["path"]))
def test_a_rule_is_read_back_as_it_is_written(rule: dict[str, Any]) -> None:
    document = {"rules": [rule], "shadow_rules": [rule]}
    found = rules_of(rows_of(document)).lists
    without = {k: v for k, v in found["rules"][0].items() if v is not None}
    assert without == rule
    assert found["rules"] == found["shadow_rules"]


def test_rows_are_tried_in_the_order_of_their_numbers() -> None:
    rows = [
        Row("20", "/b"),
        Row("5", "/a"),
        Row("20", "/c"),
        Row("30"),
        Row("1", "/x", remove=True),
    ]
    found = rules_of(rows)
    assert [rule["path"] for rule in found.lists["rules"]] == ["/a", "/b", "/c"]
    assert found.places == {"rules.0": 1, "rules.1": 0, "rules.2": 2}


@pytest.mark.parametrize("number", ["1", "2", "3"])
@pytest.mark.parametrize("shadow", [False, True])
def test_added_rows_stand_where_they_are_shown(number: str, *, shadow: bool) -> None:
    some = [{"path": f"/{n}", "allow": "public"} for n in range(30)]
    part = Part.of(rows_of({"rules": some, "shadow_rules": some}), number)
    typed = part.shown
    for _ in range(10):
        typed += part.blank(typed, 2)
    typed = [
        row if row.path else replace(row, path=f"/new/{n}", shadow=shadow)
        for n, row in enumerate(typed)
    ]
    every = part.with_typed(typed)
    for name, rules in rules_of(every).lists.items():
        shown = [row.path for row in every if row.shadow == (name == "shadow_rules")]
        assert [rule["path"] for rule in rules] == shown


@pytest.mark.parametrize(
    "row",
    [
        Row("x", "/a"),
        Row("1", "/a", more="["),
        Row("1", "/a", more="[]"),
        Row("1", "/a", more='{"path": "/b"}'),
        Row("1", "/a", more="[" * 100_000),
    ],
    ids=["order", "no JSON", "a list", "a field of the row", "nested"],
)
def test_what_cannot_be_read_is_told_at_its_row(row: Row) -> None:
    assert set(rules_of([Row("1"), row]).unread) == {1}


def test_a_count_that_is_none_has_no_rows() -> None:
    assert typed_rows({"rows": "many"}) == []
    assert len(typed_rows({"rows": "9999999"})) < 1000


def test_errors_find_their_rows() -> None:
    rules = rules_of([Row("1"), Row("2", "/a"), Row("3", "/b", shadow=True)])
    errors = [
        {"where": "rules.0.methods.0", "problem": "no such method"},
        {"where": "(whole body)", "problem": "shadow_rules.0.path: write /B"},
        {"where": "rules.0", "problem": "incoherent"},
        {"where": "rules", "problem": "too many"},
    ]
    of_row, rest = mistakes_of_rows(rules, errors, "")
    assert of_row == {
        1: ["methods.0: no such method", "incoherent"],
        2: ["shadow_rules.0.path: write /B"],
    }
    assert rest.rest == ["rules: too many"]
    assert mistakes_of_rows(rules, [], "why")[1].rest == ["why"]


async def test_a_form_that_is_sent_as_it_came_changes_nothing(rules: Forms) -> None:
    text = await rules.fill(PATH, {"action": "save"}, "admins")
    assert "Nothing differs from what is stored." in text


async def test_a_rule_is_changed_with_who_loses_and_what_the_shadow_would(rules: Forms) -> None:
    text = await rules.fill(PATH, {"action": "save", "rule.0.needs": "deny"}, "admins")
    assert "<del><code>public</code></del>" in text
    assert "loses access" in text
    shadow = text.partition("What the shadow rules would change")[2]
    assert "alice@acme.test" in shadow
    await rules.send(text, APPLY, {}, "admins", status=303)
    stored = (await rules.stored())["tenant"]["rules"]
    assert [rule["allow"] for rule in stored] == ["deny", None]


async def test_a_wrong_rule_is_told_at_its_row(rules: Forms) -> None:
    typed = {"action": "save", "rule.1.path": "admin"}
    text = await rules.fill(PATH, typed, "admins", status=422)
    assert '<a href="#rule-1-path">20 admin</a>' in text
    assert 'id="rule-1-wrong"' in text
    again = await rules.fill(PATH, {**typed, "action": "try"}, "admins", status=422)
    assert 'id="rule-1-wrong"' in again
    assert inputs_of(again, PATH)["rule.1.path"] == "admin"


@pytest.mark.parametrize(
    ("typed", "decision"),
    [
        ({"try.url": "https://acme.example.com/public/x"}, "allowed"),
        ({"try.url": "/other"}, "sent to sign in"),
        (
            {"try.url": "/admin/x", "try.email": "bob@acme.test", "try.groups": "app-users"},
            "denied",
        ),
        (
            {
                "try.url": "acme.example.com/admin/x?a=b",
                "try.email": "alice@acme.test",
                "try.groups": "app-users\nadmins",
            },
            "allowed",
        ),
        ({"try.url": "/public/x", "rule.0.needs": "deny"}, "denied"),
    ],
)
async def test_the_draft_is_tried_and_nothing_is_stored(
    rules: Forms, typed: dict[str, str], decision: str
) -> None:
    before = await rules.stored()
    text = await rules.fill(PATH, {"action": "try", **typed}, "admins")
    told = text.partition('<div role="status">')[2].partition("</strong>")[0]
    assert decision in told
    assert await rules.stored() == before


async def test_the_shadow_rules_answer_beside(rules: Forms) -> None:
    typed = {
        "action": "try",
        "try.url": "/admin/x",
        "try.email": "alice@acme.test",
        "try.groups": "app-users\nadmins",
    }
    text = await rules.fill(PATH, typed, "admins")
    assert "denied" in text.partition("By the shadow rules:")[2].partition("</p>")[0]


@pytest.mark.parametrize("url", ["https://[x/", "https://nowhere.example.com/", "x y"])
async def test_an_address_of_nobody_is_told(rules: Forms, url: str) -> None:
    page = await rules.desk.text(PATH, "admins")
    form = {**inputs_of(page, PATH), "action": "try", "try.url": url}
    response = await rules.desk.post(PATH, form, "admins")
    assert response.status in {200, 422}
    assert "allowed" not in (await response.text()).partition('<div role="status">')[2]


async def test_whoever_only_reads_tries_and_saves_nothing(rules: Forms) -> None:
    page = await rules.desk.text(PATH, "support")
    assert 'value="save"' not in page
    typed = {"action": "try", "try.url": "/public/x", "rule.0.needs": "deny"}
    assert "denied" in await rules.send(page, PATH, typed, "support")
    await rules.send(page, PATH, {"action": "save", "rule.0.needs": "deny"}, "support", status=403)


async def test_more_rows_keep_what_was_typed(rules: Forms) -> None:
    text = await rules.fill(PATH, {"action": "more", "rule.3.path": "/new"}, "admins")
    again = inputs_of(text, PATH)
    assert (again["rule.3.path"], again["rows"]) == ("/new", "7")


@pytest.fixture
async def many(rules: Forms) -> Forms:
    """Of 256 rules and as many shadow rules."""
    some = [{"path": f"/part/{n}/**", "groups": ["app-users", f"g{n}"]} for n in range(256)]
    answer = await rules.api.call(
        "PUT",
        "/tenants/acme",
        json=sample(rules=some, shadow_rules=some),
        headers={"If-Match": f'"{(await rules.stored())["etag"]}"'},
    )
    assert answer.status == 200, await answer.text()
    return rules


async def test_a_page_of_many_rules_has_60_kb(many: Forms) -> None:
    for number in (1, 11, 21, 99):
        page = await many.desk.text(f"{PATH}?page={number}", "admins")
        assert len(page.encode()) <= 60_000
    typed = {"rule.0.needs": "deny", "action": "save"}
    preview = await many.send(page, PATH, typed, "admins")
    assert len(preview.encode()) <= 60_000


async def test_what_was_typed_on_several_pages_is_saved_at_once(many: Forms) -> None:
    page = await many.desk.text(PATH, "admins")
    page = await many.send(page, PATH, {"rule.24.needs": "deny", "action": "next"}, "admins")
    assert inputs_of(page, PATH)["rule.0.path"] == "/part/25/**"
    typed = {"rule.25.order": "5", "rule.25.path": "/first", "action": "go", "to": "1"}
    page = await many.send(page, PATH, typed, "admins")
    shown = inputs_of(page, PATH)
    assert (shown["rule.0.path"], shown["rule.25.path"]) == ("/first", "")
    assert "Nothing differs" not in page
    preview = await many.send(page, PATH, {"rule.1.remove": "1", "action": "save"}, "admins")
    assert await many.send(preview, PATH, {}, "admins"), "back to the form"
    await many.send(preview, APPLY, {}, "admins", status=303)
    stored = (await many.stored())["tenant"]
    paths = [rule["path"] for rule in stored["rules"]]
    assert paths == ["/first", *(f"/part/{n}/**" for n in range(1, 256))]
    assert [r["path"] for r in stored["rules"] if r["allow"] == "deny"] == ["/part/24/**"]
    assert len(stored["shadow_rules"]) == 256


async def test_a_rule_between_two_pages_stands_between_them(many: Forms) -> None:
    page = await many.desk.text(PATH, "admins")
    new = {"rule.25.path": "/new", "rule.25.needs": "public", "rule.24.remove": "1"}
    preview = await many.send(page, PATH, {**new, "action": "save"}, "admins")
    await many.send(preview, APPLY, {}, "admins", status=303)
    paths = [rule["path"] for rule in (await many.stored())["tenant"]["rules"]]
    assert paths[23:26] == ["/part/23/**", "/new", "/part/25/**"]


async def test_what_was_typed_is_kept_after_a_working_day_over_the_same_rules_alone(
    many: Forms,
) -> None:
    signed_in = int(many.desk.clock()) - 60

    async def send(page: str, typed: dict[str, str], status: int) -> str:
        headers = {HEADER: many.desk.assertion("admins", auth_time=signed_in)}
        form = {**inputs_of(page, PATH), **typed}
        response = await many.desk.post(PATH, form, "admins", **headers)
        assert response.status == status
        return await response.text()

    page = await many.desk.text(f"{PATH}?page=2", "admins")
    many.desk.clock.now += TYPED_S + 1
    page = await send(page, {"rule.0.needs": "deny", "action": "next"}, 200)
    page = await send(page, {"action": "previous"}, 200)
    shown = inputs_of(page, PATH)
    assert (shown["rule.0.path"], shown["rule.0.needs"]) == ("/part/25/**", "deny")
    many.desk.clock.now += LIFETIME_S + 1
    page = await send(page, {"rule.1.needs": "deny", "action": "next"}, 200)
    many.desk.clock.now += TYPED_S + 1
    await send(page, {"action": "save"}, 409)


async def test_somebody_elses_pages_are_not_taken(many: Forms) -> None:
    page = await many.desk.text(PATH, "admins")
    page = await many.send(page, PATH, {"rule.0.needs": "deny", "action": "next"}, "admins")
    form = {**inputs_of(page, PATH), "action": "save"}
    for base in ("x", form["base"][:-8] + "AAAAAAA="):
        answer = await many.desk.post(PATH, {**form, "base": base}, "admins")
        assert answer.status == 409
    form["action"] = "next"
    theirs = {"Origin": ORIGIN, HEADER: many.desk.assertion("admins", sub="eve-sub")}
    response = await many.desk.client.post(PATH, data=form, headers=theirs)
    assert response.status == 403


async def test_whoever_was_faster_is_told_on_a_later_page(many: Forms) -> None:
    page = await many.desk.text(f"{PATH}?page=3", "admins")
    stored = await many.stored()
    document = sample(rules=[{"path": "/theirs", "allow": "public"}])
    headers = {"If-Match": f'"{stored["etag"]}"'}
    answer = await many.api.call("PUT", "/tenants/acme", json=document, headers=headers)
    assert answer.status == 200
    typed = {"rule.0.needs": "deny", "action": "save"}
    text = await many.send(page, PATH, typed, "admins", status=412)
    assert "It was changed in the meantime" in text


async def test_a_draft_of_rules_is_reopened(rules: Forms) -> None:
    preview = await rules.fill(PATH, {"action": "save", "rule.0.needs": "deny"}, "admins")
    text = await rules.send(preview, PATH, {}, "admins")
    assert inputs_of(text, PATH)["rule.0.needs"] == "deny"


async def test_no_text_of_a_rule_or_a_trial_becomes_markup(rules: Forms) -> None:
    names = ("path", "methods", "groups", "more", "order")
    typed = {f"rule.0.{name}": EVIL for name in names}
    typed |= {f"try.{name}": EVIL for name in ("url", "method", "email", "groups", "provider")}
    page = await rules.desk.text(PATH, "admins")
    for action in ("try", "save", "more"):
        form = {**inputs_of(page, PATH), **typed, "action": action}
        text = await (await rules.desk.post(PATH, form, "admins")).text()
        assert "<script>" not in text
        assert "<img" not in text


async def test_a_bound_key_asks_of_its_own_draft_alone(rules: Forms) -> None:
    key = await rules.api.key(*_reading(), tenant="acme")
    body = {"host": "acme.example.com", "draft": sample()}
    assert (await rules.api.call("POST", "/explain", json=body, key=key)).status != 403
    other = {"host": "globex.example.com", "draft": sample("globex")}
    assert (await rules.api.call("POST", "/explain", json=other, key=key)).status == 404


def _reading() -> tuple[Any, ...]:
    from gateway.admin.keys import Scope

    return (Scope.TENANTS_READ,)
