"""Sessions: who is signed in, and ending what they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.console.outcome import Failed, Moved, Shown
from gateway.console.page import Page
from gateway.console.visit import address, failed

if TYPE_CHECKING:
    from gateway.console.visit import Visit

MAX_COUNTED: Final = 200
"""Sessions that are counted before all are ended; of more, "200 or more" is what is typed for."""


async def list_sessions(visit: Visit) -> Shown | Failed:
    tenant, email = visit.text("tenant"), visit.text("email")
    values: dict[str, object] = {"tenant": tenant, "email": email, "rows": [], "next": None}
    if tenant:
        answer = await visit.ask(
            "list_sessions",
            tenant=tenant,
            query={"tenant": tenant, "email": email, "cursor": visit.text("after")},
        )
        if not answer.ok:
            return failed(answer)
        following = answer.document["next"]
        values["rows"] = answer.document["items"]
        values["next"] = following and address(
            "/sessions", tenant=tenant, email=email, after=str(following)
        )
    values["may_end"] = visit.may("end_session")
    return Shown("sessions", values)


async def end_session(visit: Visit) -> Moved | Failed:
    session, tenant = visit.form.get("session", ""), visit.path["tenant"]
    answer = await visit.ask(
        "end_session",
        tenant=tenant,
        path={"session": session},
        query={"reason": "ended in the console"},
    )
    return _moved(tenant, str(answer.document["id"])) if answer.ok else failed(answer)


async def confirm_end(visit: Visit) -> Shown | Failed:
    """Counts, and asks for the count to be typed."""
    tenant, email = visit.path["tenant"], visit.text("email")
    count = await _count(visit, tenant, email)
    if isinstance(count, Failed):
        return count
    return Shown("end_sessions", {"tenant": tenant, "email": email, "count": count, "wrong": False})


async def end_sessions(visit: Visit) -> Shown | Moved | Failed:
    tenant, email = visit.path["tenant"], visit.form.get("email", "").strip()
    count = await _count(visit, tenant, email)
    if isinstance(count, Failed):
        return count
    if visit.form.get("count", "").strip() != str(count) or not count:
        values = {"tenant": tenant, "email": email, "count": count, "wrong": True}
        return Shown("end_sessions", values, status=422)
    body = {"tenant": tenant, "kind": "end_sessions", "reason": "ended in the console"}
    if email:
        body["email"] = email
    answer = await visit.ask("revoke", tenant=tenant, body=body)
    return _moved(tenant, str(answer.document["id"])) if answer.ok else failed(answer)


async def _count(visit: Visit, tenant: str, email: str) -> int | Failed:
    """How many there are, up to ``MAX_COUNTED``."""
    answer = await visit.ask(
        "list_sessions",
        tenant=tenant,
        query={"tenant": tenant, "email": email, "limit": str(MAX_COUNTED)},
    )
    return len(answer.document["items"]) if answer.ok else failed(answer)


def _moved(tenant: str, revocation: str) -> Moved:
    return Moved(address(f"/revocations/{tenant}/{revocation}"), "ended")


PAGES: Final = (
    Page("/sessions", "list_sessions", "sessions", list_sessions),
    Page("/sessions/{tenant}/end-one", "end_session", "sessions", end_session, form=True),
    Page("/sessions/{tenant}/end", "revoke", "sessions", confirm_end),
    Page("/sessions/{tenant}/end", "revoke", "sessions", end_sessions, form=True, fresh=True),
)
