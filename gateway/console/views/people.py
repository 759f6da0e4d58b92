"""People: find one, what they may open and why, and what they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.console.outcome import Failed, Moved, Shown
from gateway.console.page import Page
from gateway.console.visit import address, failed

if TYPE_CHECKING:
    from gateway.console.visit import Visit

STATUSES: Final = ("active", "blocked", "deprovisioned")
MAX_TENANTS: Final = 10
"""In which an address is looked for where no tenant is named."""
SHOWN: Final = 50
"""Of a person's sessions and app passwords each."""
BLOCK_PAGES: Final = 5
"""Of 200 blocks each, among which a person's are looked for."""
_NAMES: Final = ("user", "email", "idp_subject", "oid")


async def list_people(visit: Visit) -> Shown | Failed:
    tenant, email, group = (visit.text(name) for name in ("tenant", "email", "group"))
    status = visit.text("status") if visit.text("status") in STATUSES else ""
    filters = {"email": email, "group": group, "status": status}
    rows: list[dict[str, Any]] = []
    following = None
    if tenant:
        answer = await visit.ask(
            "list_people",
            tenant=tenant,
            path={"tenant": tenant},
            query={**filters, "cursor": visit.text("after")},
        )
        if not answer.ok:
            return failed(answer)
        rows, following = answer.document["items"], answer.document["next"]
    elif "@" in email:
        rows = await _everywhere(visit, filters)
    return Shown(
        "people",
        {
            "rows": rows,
            "filter": {"tenant": tenant, **filters},
            "statuses": STATUSES,
            "next": following
            and address("/people", tenant=tenant, **filters, after=str(following)),
            "asked": bool(tenant or "@" in email),
        },
    )


async def _everywhere(visit: Visit, wanted: dict[str, str]) -> list[dict[str, Any]]:
    """Whoever has the address, in the tenants whose e-mail domain it is."""
    rows: list[dict[str, Any]] = []
    domain = wanted["email"].rpartition("@")[2].lower()
    tenants = await visit.list_tenants({"search": domain, "limit": str(MAX_TENANTS)})
    for row in tenants.document["items"] if tenants.ok else []:
        name = row["tenant"]["id"]
        answer = await visit.ask("list_people", tenant=name, path={"tenant": name}, query=wanted)
        rows += answer.document["items"] if answer.ok else []
    return rows


async def show_person(visit: Visit) -> Shown | Failed:
    tenant = visit.path["tenant"]
    answer = await visit.ask("get_person", tenant=tenant, path=visit.path)
    if not answer.ok:
        return failed(answer)
    person = answer.document
    whose = {"tenant": tenant, "user": person["user"], "limit": str(SHOWN)}
    sessions = await visit.ask("list_sessions", tenant=tenant, query=whose)
    passwords = await visit.ask("list_app_passwords", tenant=tenant, query=whose)
    blocks, all_blocks = await _blocks(visit, person)
    return Shown(
        "person",
        {
            "person": person,
            "sessions": sessions.document["items"] if sessions.ok else None,
            "passwords": passwords.document["items"] if passwords.ok else None,
            "blocks": blocks,
            "all_blocks": all_blocks,
            "may_revoke": visit.may("revoke"),
            "hosts": await _hosts(visit, tenant),
            "asked": {name: visit.text(name) for name in ("host", "path", "method")},
            "explanation": await _explained(visit, person),
            "may_explain": visit.may("explain"),
        },
    )


async def _blocks(visit: Visit, person: dict[str, Any]) -> tuple[list[dict[str, Any]] | None, bool]:
    """What stands against this person by a name or a group of theirs, then what a provider said and
    imposes nothing; None: not known. And whether all of the tenant's were looked at.
    """
    tenant = person["tenant"]
    mine: list[dict[str, Any]] = []
    is_all = True
    for remembered in ("", "true"):
        cursor = None
        for _ in range(BLOCK_PAGES):
            wanted = {"tenant": tenant, "remembered": remembered, "limit": "200", "cursor": cursor}
            answer = await visit.ask("list_blocks", tenant=tenant, query=wanted)
            if not answer.ok:
                return None, False
            mine += [row for row in answer.document["items"] if _is_about(row["who"], person)]
            cursor = answer.document["next"]
            if cursor is None:
                break
        is_all = is_all and cursor is None
    return mine, is_all


def _is_about(who: dict[str, str], person: dict[str, Any]) -> bool:
    """By one of their names, their group, or the whole tenant's."""
    if who.get("provider", person["provider"]) != person["provider"]:
        return False
    names = {name: who[name] for name in _NAMES if name in who}
    if names:
        return all(person[name] == value for name, value in names.items())
    return "session" not in who and ("group" not in who or who["group"] in person["groups"])


async def _hosts(visit: Visit, tenant: str) -> list[str]:
    """Of the tenant, to choose from; none where they may not be read."""
    if not visit.may("get_tenant"):
        return []
    answer = await visit.ask("get_tenant", tenant=tenant, path={"tenant": tenant})
    return list(answer.document["tenant"]["hosts"]) if answer.ok else []


async def _explained(visit: Visit, person: dict[str, Any]) -> dict[str, Any] | None:
    """What their next request would come to; None where nothing was asked."""
    host, path = visit.text("host"), visit.text("path") or "/"
    if not host or not visit.may("explain"):
        return None
    answer = await visit.ask(
        "explain",
        tenant=person["tenant"],
        body={
            "host": host,
            "path": path,
            "method": visit.text("method") or "GET",
            "email": person["email"],
            "groups": person["groups"],
            "roles": person["roles"],
            "provider": person["provider"] or None,
        },
    )
    return answer.document if answer.ok else {"problem": answer.detail or answer.code}


async def end_sessions(visit: Visit) -> Moved | Failed:
    person = await _named(visit)
    if isinstance(person, Failed):
        return person
    body = {
        "tenant": person["tenant"],
        "user": person["user"],
        "kind": "end_sessions",
        "reason": "ended in the console",
    }
    answer = await visit.ask("revoke", tenant=person["tenant"], body=body)
    if not answer.ok:
        return failed(answer)
    return Moved(address(f"/revocations/{person['tenant']}/{answer.document['id']}"), "ended")


async def block(visit: Visit) -> Moved | Failed:
    person = await _named(visit)
    if isinstance(person, Failed):
        return person
    body = {
        "tenant": person["tenant"],
        "user": person["user"],
        "reason": visit.form.get("reason", "").strip() or "blocked in the console",
    }
    answer = await visit.ask("add_block", tenant=person["tenant"], body=body)
    return _back(visit, "blocked") if answer.ok else failed(answer)


async def lift(visit: Visit) -> Moved | Failed:
    """A block, or a group that was taken away: "give back"."""
    answer = await visit.ask(
        "remove_block", tenant=visit.path["tenant"], path={"block": visit.path["block"]}
    )
    return _back(visit, "lifted") if answer.ok else failed(answer)


async def revoke_app_password(visit: Visit) -> Moved | Failed:
    answer = await visit.ask(
        "revoke_app_password",
        tenant=visit.path["tenant"],
        path={"app_password": visit.path["app_password"]},
    )
    return _back(visit, "app_password_revoked") if answer.ok else failed(answer)


async def _named(visit: Visit) -> dict[str, Any] | Failed:
    """Of the address, as the register knows them: only they are blocked, and by their own id."""
    answer = await visit.ask(
        "get_person",
        tenant=visit.path["tenant"],
        path={name: visit.path[name] for name in ("tenant", "person")},
    )
    return answer.document if answer.ok else failed(answer)


def _back(visit: Visit, notice: str) -> Moved:
    return Moved(address(f"/people/{visit.path['tenant']}/{visit.path['person']}"), notice)


_ONE: Final = "/people/{tenant}/{person}"
PAGES: Final = (
    Page("/people", "list_people", "people", list_people),
    Page(_ONE, "get_person", "people", show_person),
    Page(f"{_ONE}/end", "revoke", "people", end_sessions, form=True),
    Page(f"{_ONE}/block", "add_block", "people", block, form=True),
    Page(f"{_ONE}/blocks/{{block}}/lift", "remove_block", "people", lift, form=True),
    Page(
        f"{_ONE}/app-passwords/{{app_password}}/revoke",
        "revoke_app_password",
        "people",
        revoke_app_password,
        form=True,
    ),
)
