"""Operators change tenants: forms of every field, what a change would do, and applying it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
from typing import TYPE_CHECKING, Any, get_origin

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel

from gateway.admin.parsing import secret_fields
from gateway.console.draft import LIFETIME_S, MAX_BYTES, Drafts
from gateway.console.fields import Kind, placed, values_of, written
from gateway.console.sign_in import Person
from gateway.console.tenant_fields import CREATE, PROVIDER, SECTIONS
from gateway.tenants.document import ProviderDocument, TenantDocument
from tests.console.conftest import EVIL, changes, inputs_of
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from tests.console.conftest import Desk, Forms

BASE = "/console/tenants/acme"
GROUPS_FORM = f"{BASE}/edit/groups"
APPLY = f"{BASE}/apply"
OF_OTHER_FORMS = {"id", "providers", "rules", "shadow_rules"}
"""``id`` cannot be changed; the others have forms of their own."""


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        parts = [field.annotation, *getattr(field.annotation, "__args__", ())]
        one = get_origin(field.annotation) is not tuple
        nested = [p for p in parts if one and isinstance(p, type) and issubclass(p, BaseModel)]
        found |= leaves(nested[0], f"{prefix}{name}.") if nested else {prefix + name}
    return found


def test_every_field_of_a_tenant_is_on_one_form() -> None:
    shown = [path for section in SECTIONS.values() for path in section.paths]
    assert len(shown) == len(set(shown))
    assert set(shown) == leaves(TenantDocument) - OF_OTHER_FORMS
    assert set(PROVIDER.paths) == leaves(ProviderDocument)


SAY_WHETHER = {"password_client.secret"}
"""Whether there is one, and not the secret."""


def test_every_secret_is_an_input_that_is_never_filled() -> None:
    names = secret_fields(TenantDocument)
    for section in (*SECTIONS.values(), PROVIDER, CREATE):
        for field in section.fields:
            is_secret = field.path.rpartition(".")[2] in names and field.path not in SAY_WHETHER
            assert is_secret is (field.kind in {Kind.SECRET, Kind.SECRETS}), field.path


async def test_a_form_that_is_sent_as_it_came_changes_nothing(forms: Forms) -> None:
    for name in SECTIONS:
        text = await forms.fill(f"{BASE}/edit/{name}", {}, "admins")
        assert "Nothing differs from what is stored." in text, name
    text = await forms.fill(f"{BASE}/providers/acme-okta/edit", {}, "admins")
    assert "Nothing differs from what is stored." in text


async def test_a_change_is_shown_with_who_loses_before_it_is_applied(forms: Forms) -> None:
    text = await forms.fill(GROUPS_FORM, {"allowed_groups": "admins"}, "admins")
    assert "1 person loses access" in text
    assert "bob@acme.test" in text
    assert "alice@acme.test" not in text
    assert "<del><code>app-users</code></del>" in text
    assert (await forms.stored())["tenant"]["allowed_groups"] == ["app-users"]

    to = await forms.send(text, APPLY, {}, "admins", status=303)
    assert "Saved." in await forms.desk.text(to, "admins")
    assert (await forms.stored())["tenant"]["allowed_groups"] == ["admins"]


async def test_whoever_may_not_see_sessions_sees_how_many_lose_and_not_who(forms: Forms) -> None:
    text = await forms.fill(GROUPS_FORM, {"allowed_groups": "admins"}, "writers")
    assert "1 person loses access" in text
    assert "bob@acme.test" not in text
    assert "<code>sessions:read</code>" in text


async def test_what_the_api_refuses_stands_beside_its_field_and_in_the_summary(
    forms: Forms,
) -> None:
    page = await forms.fill(
        f"{BASE}/edit/general", {"hosts": "acme.example.com\nhttps://x"}, "admins", status=422
    )
    why = "2: a host name such as app.example.com or *.app.example.com"
    assert f'<a href="#field-hosts">Hosts</a>: {why}' in page
    assert 'id="field-hosts-wrong" aria-live="polite"><span class="wrong">' in page
    assert 'aria-invalid="true"' in page
    assert "<title>Error: General" in page
    assert inputs_of(page, f"{BASE}/edit/general")["hosts"] == "acme.example.com\nhttps://x"
    _, answer = await _put(forms, hosts=["acme.example.com", "https://x"])
    assert answer["errors"][0]["problem"] in why


async def _put(forms: Forms, **changes: Any) -> tuple[int, dict[str, Any]]:
    answer = await forms.api.call(
        "PUT",
        "/tenants/acme",
        json=sample(**changes),
        headers={"If-Match": f'"{(await forms.stored())["etag"]}"'},
    )
    return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("form", "typed", "field", "why"),
    [
        ("edit/client", {"scopes": "email"}, "scopes", "scopes must contain openid"),
        ("edit/sessions", {"session.idle_timeout": "soon"}, "session-idle-timeout", "a duration"),
        ("edit/sessions", {"session.max_per_user": "x"}, "session-max-per-user", "integer"),
        ("edit/general", {"default_provider": "none-such"}, "default-provider", "none of"),
        ("edit/branding", {"branding.color": "blue"}, "branding-color", "pattern"),
        ("edit/headers", {"headers": "X-Dept"}, "headers", "NAME: VALUE"),
        ("providers/acme-okta/edit", {"accounts": "[{"}, "accounts", "not JSON"),
        ("providers/acme-okta/edit", {"domains": "other.test"}, "domains", "not in email_domains"),
        ("providers/acme-okta/edit", {"members_only": "1"}, "members-only", "is for kind: cognito"),
        ("providers/acme-okta/edit", {"issuer": "ftp://x"}, "issuer", "pattern"),
    ],
)
async def test_each_error_finds_its_field(
    forms: Forms, form: str, typed: dict[str, str], field: str, why: str
) -> None:
    page = await forms.fill(f"{BASE}/{form}", typed, "admins", status=422)
    beside = page.partition(f'id="field-{field}-wrong"')[2].partition("</span></span>")[0]
    assert why in beside


async def test_what_another_tenant_has_is_told_in_the_summary(forms: Forms) -> None:
    assert (await forms.api.call("PUT", "/tenants/globex", json=sample("globex"))).status == 201
    page = await forms.fill(
        f"{BASE}/edit/general", {"hosts": "globex.example.com"}, "admins", status=422
    )
    assert "globex" in page.partition('class="summary"')[2].partition("</ul>")[0]


async def test_a_secret_is_in_no_page_and_reaches_the_store(forms: Forms) -> None:
    typed = {"client_secret": "the new secret of acme", "client_id": "clientacme2"}
    page = await forms.desk.text(f"{BASE}/edit/client", "admins")
    assert "secret of acme" not in page
    preview = await forms.send(page, f"{BASE}/edit/client", typed, "admins")
    assert "the new secret of acme" not in preview
    assert "*** (another)" in preview
    again = await forms.send(preview, f"{BASE}/edit/client", {}, "admins")
    assert "the new secret of acme" not in again
    refused = await forms.fill(
        f"{BASE}/edit/client", {**typed, "scopes": "email"}, "admins", status=422
    )
    assert "the new secret of acme" not in refused
    await forms.send(preview, APPLY, {}, "admins", status=303)
    kept = await forms.api.services.tenants.reveal("acme")  # type: ignore[union-attr]  # there is one
    assert kept is not None
    assert kept.document["client_secret"] == "the new secret of acme"


async def test_somebody_who_was_faster_is_named_and_nothing_is_lost(forms: Forms) -> None:
    page = await forms.desk.text(f"{BASE}/edit/general", "admins")
    preview = await forms.send(page, f"{BASE}/edit/general", {"name": "Mine"}, "admins")
    assert (await _put(forms, allowed_groups=["admins"], name="Theirs"))[0] == 200

    for action, sent in ((f"{BASE}/edit/general", page), (APPLY, preview)):
        typed = {"name": "Mine"} if sent is page else {}
        conflict = await forms.send(sent, action, typed, "admins", status=412)
        assert "Changed by key:" in conflict
        assert "<ins><code>Theirs</code></ins>" in conflict
        compared = await forms.send(conflict, f"{BASE}/compare", {}, "admins")
        assert "<del><code>Theirs</code></del>" in compared
        assert "allowed_groups" not in compared
    await forms.send(compared, APPLY, {}, "admins", status=303)
    now = (await forms.stored())["tenant"]
    assert (now["name"], now["allowed_groups"]) == ("Mine", ["admins"])


async def test_a_draft_is_of_one_person_one_sign_in_one_tenant_and_an_hour(forms: Forms) -> None:
    preview = await forms.fill(GROUPS_FORM, {"allowed_groups": "admins"}, "admins")
    sealed = inputs_of(preview, APPLY)["draft"]
    assert (await forms.api.call("PUT", "/tenants/globex", json=sample("globex"))).status == 201
    other = await forms.fill("/console/tenants/globex/edit/general", {"name": "Another"}, "admins")
    refused = await forms.send(
        other, "/console/tenants/globex/apply", {"draft": sealed}, "admins", status=409
    )
    assert "kept for an hour" in refused
    assert (await forms.stored())["etag"] == "1"


PERSON = Person("sub", "e", "n", "ops", "p", frozenset({"g"}), 1000)


@pytest.mark.parametrize(
    ("person", "about", "later"),
    [
        (Person("other", "e", "n", "ops", "p", frozenset({"g"}), 1000), "a", 0),
        (Person("sub", "e", "n", "ops", "p", frozenset({"g"}), 1001), "a", 0),
        (PERSON, "b", 0),
        (PERSON, "a", LIFETIME_S),
    ],
    ids=["another person", "another sign-in", "another tenant", "an hour later"],
)
def test_nobody_else_opens_a_draft(person: Person, about: str, later: float) -> None:
    now = [1000.0]
    drafts = Drafts(lambda: (b"k",), lambda: now[0])
    sealed = drafts.seal(PERSON, "a", {"x": 1})
    assert Drafts(lambda: (b"new", b"k"), lambda: now[0]).open(PERSON, "a", sealed) == {"x": 1}
    now[0] += later
    assert drafts.open(person, about, sealed) is None
    assert drafts.open(PERSON, "a", sealed[:-4] + "AAAA") is None
    assert drafts.open(PERSON, "a", "ü") is None
    assert drafts.open(PERSON, "a", "") is None


def test_a_draft_of_another_form_and_one_of_any_length_open_as_none() -> None:
    drafts = Drafts(lambda: (b"k",), lambda: 1000.0)
    assert drafts.open(PERSON, "a", drafts.seal(PERSON, "a", "x" * MAX_BYTES)) is None
    key = hmac.digest(b"k", b"console draft", hashlib.sha256)
    plain, bound = json.dumps([2000, {"x": 1}]).encode(), b"ops\nsub\n1000\na"
    uncompressed = b"n" * 12 + AESGCM(key).encrypt(b"n" * 12, plain, bound)
    assert drafts.open(PERSON, "a", base64.urlsafe_b64encode(uncompressed).decode()) is None


async def test_whoever_is_limited_to_a_tenant_changes_what_its_own_key_could(forms: Forms) -> None:
    page = await forms.desk.text(f"{BASE}/edit/general", "acme-writers")
    assert "Only an operator for all tenants changes this." in page
    form = inputs_of(page, f"{BASE}/edit/general")
    assert "hosts" not in form
    preview = await forms.send(page, f"{BASE}/edit/general", {"name": "Acme Inc"}, "acme-writers")
    await forms.send(preview, APPLY, {}, "acme-writers", status=303)
    # What a browser would not send is refused by the API, or ignored.
    page = await forms.desk.text(f"{BASE}/edit/general", "acme-writers")
    text = await forms.send(
        page, f"{BASE}/edit/general", {"hosts": "stolen.example.com"}, "acme-writers"
    )
    assert "Nothing differs" in text
    await forms.desk.text("/console/tenants/globex/edit/general", "acme-writers", status=403)
    assert (await forms.stored())["tenant"]["hosts"] == ["acme.example.com"]


async def test_a_tenant_is_suspended_with_who_loses(forms: Forms) -> None:
    page = await forms.desk.text(f"{BASE}/edit/state", "admins")
    form = inputs_of(page, f"{BASE}/edit/state")
    del form["active"]
    response = await forms.desk.post(f"{BASE}/edit/state", form, "admins")
    preview = await response.text()
    assert "2 people lose access" in preview
    await forms.send(preview, APPLY, {}, "admins", status=303)
    assert (await forms.stored())["tenant"]["active"] is False


async def test_a_tenant_is_created_and_deleted(forms: Forms) -> None:
    typed = {
        "id": "initech",
        "name": "Initech",
        "hosts": "initech.example.com",
        "email_domains": "initech.test",
        "allowed_groups.any": "1",
        "provider.name": "initech-okta",
        "provider.kind": "okta",
        "provider.issuer": "https://initech.okta.com",
        "client": "",
        "client_id": "clientinitech",
        "client_secret": "a secret of initech",
    }
    wrong = {**typed, "provider.issuer": "nonsense", "client": ""}
    page = await forms.fill("/console/new-tenant", wrong, "admins", status=422)
    assert '<a href="#field-provider-issuer">' in page
    for taken, why in (("acme", "the tenant exists"), ("No", "lower-case letters")):
        page = await forms.fill("/console/new-tenant", {**typed, "id": taken}, "admins", status=422)
        assert why in page.partition('class="summary"')[2]
    preview = await forms.fill("/console/new-tenant", typed, "admins")
    to = await forms.send(preview, "/console/tenants/initech/apply", {}, "admins", status=303)
    assert "Initech" in await forms.desk.text(to, "admins")

    path = "/console/tenants/initech/delete"
    page = await forms.fill(path, {"id": "acme"}, "admins", status=422)
    assert "Nothing was deleted." in page
    await forms.send(page, path, {"id": "initech"}, "admins", status=303)
    await forms.desk.text("/console/tenants/initech", "admins", status=404)


async def test_deleting_needs_a_fresh_sign_in(forms: Forms) -> None:
    page = await forms.desk.text(f"{BASE}/delete", "admins")
    form = {**inputs_of(page, f"{BASE}/delete"), "id": "acme"}
    forms.desk.clock.now += 60
    sent = {
        "X-Auth-Request-Jwt": forms.desk.assertion(
            "admins", auth_time=int(forms.desk.clock()) - 601
        )
    }
    response = await forms.desk.post(f"{BASE}/delete", form, "admins", **sent)
    assert response.status == 403
    assert (await forms.stored())["etag"] == "1"


async def test_a_provider_is_added_changed_and_removed(forms: Forms) -> None:
    typed = {"name": "acme-entra", "kind": "entra", "issuer": "https://login.example.com/acme/v2.0"}
    preview = await forms.fill(f"{BASE}/add-provider", typed, "admins")
    await forms.send(preview, APPLY, {}, "admins", status=303)
    path = f"{BASE}/providers/acme-entra/edit"
    preview = await forms.fill(path, {"label": "Entra"}, "admins")
    await forms.send(preview, APPLY, {}, "admins", status=303)
    providers = (await forms.stored())["tenant"]["providers"]
    assert [(p["name"], p["label"]) for p in providers] == [
        ("acme-okta", ""),
        ("acme-entra", "Entra"),
    ]
    preview = await forms.fill(path, {"remove": "1"}, "admins")
    await forms.send(preview, APPLY, {}, "admins", status=303)
    assert len((await forms.stored())["tenant"]["providers"]) == 1
    await forms.desk.text(path, "admins", status=404)


async def test_a_tenant_of_a_file_is_read_only_and_says_why(desk: Desk) -> None:
    from dataclasses import replace

    desk.tenants.stored["acme"] = replace(desk.tenants.stored["acme"], origin="file")
    for path in (f"{BASE}/edit/general", f"{BASE}/providers/acme-okta/edit", f"{BASE}/delete"):
        text = await desk.text(path, "admins")
        assert "comes from a file" in text
        assert "Save…" not in text
    assert "/edit/general" not in await desk.text(BASE, "admins")


@pytest.mark.parametrize("section", [*SECTIONS, "provider"])
async def test_no_text_of_a_form_becomes_markup(forms: Forms, section: str) -> None:
    path = f"{BASE}/providers/acme-okta/edit" if section == "provider" else f"{BASE}/edit/{section}"
    fields = PROVIDER.fields if section == "provider" else SECTIONS[section].fields
    typed = {field.path: EVIL for field in fields}
    page = await forms.desk.text(path, "admins")
    response = await forms.desk.post(path, {**inputs_of(page, path), **typed}, "admins")
    text = await response.text()
    assert "<script>" not in text
    assert "<img" not in text
    assert html.escape(EVIL)[:10] in text or section == "state"


async def test_without_the_scope_nothing_of_a_form_is_there(forms: Forms) -> None:
    text = await forms.desk.text(BASE, "support")
    for absent in ("/edit/", "/delete", "/add-provider", "/rules"):
        assert absent not in text
    assert "/new-tenant" not in await forms.desk.text("/console/tenants", "support")


async def test_the_operators_own_tenant_is_changed_by_operators_alone(forms: Forms) -> None:
    assert (await forms.api.call("PUT", "/tenants/ops", json=sample("ops"))).status == 201
    path = "/console/tenants/ops/edit/general"
    text = await forms.fill(path, {"name": "Mine"}, "onboarding", status=403)
    assert "operators" in text
    assert "Apply this change?" in await forms.fill(path, {"name": "Mine"}, "admins")


def test_an_error_of_no_field_is_in_the_summary() -> None:
    found = placed(
        ["a.b"], [{"where": "c", "problem": "no"}, {"where": "a.b.3", "problem": "x"}], ""
    )
    assert (found.of, found.rest) == ({"a.b": ["4: x"]}, ["c: no"])
    assert placed([], [], "why").rest == ["why"]


def test_pairs_are_read_back_as_they_are_written() -> None:
    document = {
        "headers": {"X-A": "claim:a", "X-B": {"source": "name", "default": "", "encode": "ascii"}}
    }
    fields = SECTIONS["headers"].fields[:1]
    again, unread = written(fields, {}, values_of(fields, document))
    assert (again, unread) == (document, {})
    labels = {"branding": {"group_labels": {"a = b": "c", "d": "e"}}}
    fields = SECTIONS["branding"].fields[3:]
    assert written(fields, {}, values_of(fields, labels))[0] == json.loads(json.dumps(labels))


@pytest.mark.parametrize(
    ("path", "typed", "field"),
    [
        (f"{BASE}/edit/general", {"hosts": "not a host"}, "hosts"),
        (f"{BASE}/add-provider", {"name": "xyz", "kind": "oidc", "issuer": "http:"}, "issuer"),
        (f"{BASE}/providers/acme-okta/edit", {"domains": "a b"}, "domains"),
        ("/console/new-tenant", {"id": "NO"}, "id"),
    ],
)
async def test_what_is_typed_is_checked_with_the_apis_words_and_changes_nothing(
    forms: Forms, path: str, typed: dict[str, str], field: str
) -> None:
    before = await changes(forms.desk)
    text = await forms.fill(path, {**typed, "check": "1"}, "admins")
    wrong = re.findall(r'id="(field-[a-z_-]+)-wrong"[^>]*><span class="wrong">', text)
    assert wrong == [f"field-{field}"]
    assert "<html" not in text
    assert "<input" not in text
    right = await forms.fill(path, {"check": "1"}, "admins")
    assert 'class="wrong"' not in right, "what is empty is not wrong yet"
    assert await changes(forms.desk) == before


async def test_a_check_needs_the_form_and_the_scope_as_saving_does(forms: Forms) -> None:
    path = f"{BASE}/edit/general"
    form = {"check": "1", "hosts": "x"}
    assert (await forms.desk.post(path, form, "admins")).status == 403
    assert (await forms.desk.post(path, form, "support")).status == 403


async def test_no_value_comes_back_from_a_check(forms: Forms) -> None:
    path = f"{BASE}/add-provider"
    typed = {"name": EVIL, "issuer": EVIL, "client_secret": EVIL, "check": "1"}
    assert EVIL[:8] not in await forms.fill(path, typed, "admins")
