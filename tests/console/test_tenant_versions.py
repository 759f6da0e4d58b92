"""History: any two versions side by side, and one of them restored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from gateway.console.change import differences
from tests.console.conftest import EVIL, inputs_of
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from tests.console.conftest import Forms

BASE = "/console/tenants/acme"
APPLY = f"{BASE}/apply"


async def change(forms: Forms, form: str, **typed: str) -> None:
    preview = await forms.fill(f"{BASE}/{form}", typed, "admins")
    await forms.send(preview, APPLY, {}, "admins", status=303)


async def versions(forms: Forms) -> list[str]:
    """Newest first."""
    page = await forms.desk.text(f"{BASE}/history", "admins")
    return re.findall(r'name="before" value="(\d+)"', page)


async def test_a_version_is_compared_with_another_and_restored(forms: Forms) -> None:
    await change(forms, "edit/sessions", **{"app_passwords.lifetime": "3d"})
    await change(forms, "providers/acme-okta/edit", secret_expires="2030-01-02")
    await change(forms, "edit/groups", allowed_groups="admins")
    newest, dated, _limited, first = await versions(forms)

    text = await forms.desk.text(f"{BASE}/versions?before={newest}&after={first}", "admins")
    assert re.search(r'scope="col">#\d+</th><th scope="col">#\d+', text)
    assert "<ins><code>admins</code></ins>" in text
    assert "<ins><code>2030-01-02</code></ins>" in text
    assert "<ins><code>3d</code></ins>" in text

    text = await forms.desk.text(f"{BASE}/versions?before={dated}&after=now", "admins")
    restore = f"{BASE}/versions/{dated}/restore"
    preview = await forms.send(text, restore, {}, "admins")
    assert "1 person gains access" in preview
    assert "secret_expires" not in preview
    await forms.send(preview, APPLY, {}, "admins", status=303)
    now = (await forms.stored())["tenant"]
    assert now["allowed_groups"] == ["app-users"]
    assert now["providers"][0]["secret_expires"] == "2030-01-02"
    assert now["app_passwords"]["lifetime"] == "3d"
    text = await forms.desk.text(f"{BASE}/versions?before={dated}&after=now", "admins")
    assert "The two versions are the same." in text


async def test_history_has_no_dry_runs_and_versions_have_their_defaults(forms: Forms) -> None:
    await change(forms, "edit/general", name="Acme Inc")
    page = await forms.desk.text(f"{BASE}/history", "admins")
    assert page.count("<code>put_tenant</code>") == 2
    full: dict[str, Any] = {
        "id": "acme",
        "name": "A",
        "email_domains": ["a.test"],
        "allowed_groups": "any",
    }
    full |= {"client": "managed", "providers": [{"name": "a-okta", "kind": "okta"}]}
    assert differences(full, {**full, "active": True, "rules": []}) == []
    assert [row.key for row in differences({"odd": 1}, {"odd": 2})] == ["odd"]


async def test_a_secret_that_is_gone_cannot_be_restored_and_is_told(forms: Forms) -> None:
    secret = "0123456789abcdef" * 3
    await change(
        forms, "edit/webhook", **{"webhook.url": "https://x.test/", "webhook.secret": secret}
    )
    await change(forms, "edit/webhook", **{"webhook.url": ""})
    _, with_secret, _ = await versions(forms)
    text = await forms.desk.text(f"{BASE}/versions?before={with_secret}&after=now", "admins")
    assert secret not in text
    path = f"{BASE}/versions/{with_secret}/restore"
    refused = await forms.send(text, path, {}, "admins", status=400)
    assert "webhook.secret" in refused


@pytest.mark.parametrize(
    "query", ["", "before=1", "before=x&after=now", "before=999999&after=now", "before=1&after=-1"]
)
async def test_what_is_no_version_is_not_found(forms: Forms, query: str) -> None:
    await forms.desk.text(f"{BASE}/versions?{query}", "admins", status=404)


async def test_versions_of_another_tenant_stay_there(forms: Forms) -> None:
    assert (await forms.api.call("PUT", "/tenants/globex", json=sample("globex"))).status == 201
    page = await forms.desk.text("/console/tenants/globex/history", "admins")
    theirs = re.findall(r'name="before" value="(\d+)"', page)[0]
    await forms.desk.text(f"{BASE}/versions?before={theirs}&after=now", "admins", status=404)
    await forms.desk.text(f"{BASE}/versions?before={theirs}&after=now", "acme-team", status=404)
    mine = (await versions(forms))[0]
    text = await forms.desk.text(f"{BASE}/versions?before={mine}&after=now", "acme-team")
    assert "/restore" not in text
    await forms.desk.text(
        f"/console/tenants/globex/versions?before={mine}&after=now", "acme-team", status=403
    )


async def test_a_tenant_that_was_deleted_comes_back_without_its_secret(forms: Forms) -> None:
    first = (await versions(forms))[0]
    page = await forms.desk.text(f"{BASE}/versions?before={first}&after=now", "admins")
    delete = await forms.desk.text(f"{BASE}/delete", "admins")
    await forms.send(delete, f"{BASE}/delete", {"id": "acme"}, "admins", status=303)
    refused = await forms.send(page, f"{BASE}/versions/{first}/restore", {}, "admins", status=400)
    assert "client_secret" in refused


async def test_no_text_of_a_version_becomes_markup(forms: Forms) -> None:
    await change(forms, "edit/general", name=EVIL)
    newest, first = await versions(forms)
    for path in (f"{BASE}/versions?before={first}&after={newest}", f"{BASE}/history"):
        text = await forms.desk.text(path, "admins")
        assert "<script>" not in text
        assert "<img" not in text
    text = await forms.desk.text(f"{BASE}/versions?before={first}&after={newest}", "admins")
    assert "&lt;script&gt;" in text
    assert inputs_of(text, f"{BASE}/versions/{first}/restore")["token"]
