"""Keys of the admin API: which there are, a new one, and the end of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.console.fields import Mistakes, placed, values_of, written
from gateway.console.key_fields import key_fields
from gateway.console.outcome import Failed, Moved, Shown
from gateway.console.page import Page
from gateway.console.views.tenant_forms import is_mistake, typed
from gateway.console.visit import address, failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.console.visit import Visit

_DEFAULTS: Final = {"expires_in": str(90 * 86_400)}
_TO_THE_FORM: Final = frozenset({"scope_missing", "wrong_tenant", "not_found"})
"""What the API says of a wish that can be wished otherwise."""


async def list_keys(visit: Visit) -> Shown | Failed:
    tenant = visit.text("tenant")
    answer = await visit.ask(
        "list_admin_keys",
        tenant=tenant or None,
        query={"tenant": tenant, "cursor": visit.text("after")},
    )
    if not answer.ok:
        return failed(answer)
    following = answer.document["next"]
    return Shown(
        "keys",
        {
            "rows": answer.document["items"],
            "tenant": tenant,
            "next": following and address("/keys", tenant=tenant, after=str(following)),
        },
    )


async def ask(visit: Visit) -> Shown:
    return _form(visit, values_of(key_fields(visit.operator), _DEFAULTS))


def _form(visit: Visit, values: Mapping[str, str], mistakes: Mistakes | None = None) -> Shown:
    return Shown(
        "key_new",
        {
            "fields": key_fields(visit.operator),
            "values": values,
            "mistakes": mistakes or Mistakes(),
        },
        status=422 if mistakes else 200,
    )


async def create(visit: Visit) -> Shown | Failed:
    """The key is on this page, and on no other."""
    fields = key_fields(visit.operator)
    values = typed(fields, visit)
    body, _ = written(fields, {}, visit.form)
    body = {name: value for name, value in body.items() if value is not None}
    lifetime = str(body.pop("expires_in", ""))
    if lifetime:
        body["expires_in"] = int(lifetime) if lifetime.isdecimal() else lifetime
    tenant = str(body.get("tenant", ""))
    answer = await visit.ask("create_admin_key", tenant=tenant or None, body=body)
    if is_mistake(answer) or answer.code in _TO_THE_FORM:
        errors = answer.document.get("errors", ())
        mistakes = placed((one.path for one in fields), errors, answer.detail)
        return _form(visit, values, mistakes)
    if not answer.ok:
        return failed(answer)
    return Shown("key_made", {"made": answer.document})


async def revoke(visit: Visit) -> Moved | Failed:
    answer = await visit.ask(
        "revoke_admin_key",
        tenant=visit.form.get("tenant") or None,
        path={"admin_key": visit.path["admin_key"]},
    )
    return Moved(address("/keys"), "key_revoked") if answer.ok else failed(answer)


PAGES: Final = (
    Page("/keys", "list_admin_keys", "keys", list_keys),
    Page("/keys/new", "create_admin_key", "keys", ask),
    Page("/keys/new", "create_admin_key", "keys", create, form=True, fresh=True),
    Page("/keys/{admin_key}/revoke", "revoke_admin_key", "keys", revoke, form=True, fresh=True),
)
