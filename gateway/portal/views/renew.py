"""Another secret, or other metadata, of a connection that people sign in with: entered, tested
beside it, put in its place, put back.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from gateway.core.model import ProviderKind, Secret
from gateway.portal.texts import FIELD_PROBLEMS
from gateway.portal.values import read_renewal
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Shown
from gateway.provisioning.renewal import NewMetadata, NewSecret, Trial, can_renew
from gateway.setup.go_live import GoLive, refused
from gateway.setup.letters import name_of
from gateway.setup.links import edited
from gateway.setup.model import Approval, Part, Phase, Protocol
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.portal.visit import Visit
    from gateway.setup.model import SetupLink

HERE: Final = f"{PREFIX}/renew"
_SHOWN: Final = ("name", "kind", "label", "issuer", "entity_id", "secret_expires")
REVIEW: Final = f"{HERE}/review"


async def show_connections(visit: Visit) -> Shown | Moved | Failed:
    """Which one, where there are several."""
    found = await _connections(visit)
    if isinstance(found, Failed):
        return found
    if len(found) == 1:
        return Moved(f"{HERE}/values/{next(iter(found))}")
    return Shown("renew_choose", {"rows": list(found.values()), "work": visit.link.work})


async def show_values(visit: Visit) -> Shown | Failed:
    found = await _connections(visit)
    if isinstance(found, Failed):
        return found
    entry = found.get(visit.path["provider"])
    if entry is None:
        return Failed(404, "not_found")
    is_same = visit.link.work.renews == entry["name"]
    return _form(entry, visit.link.work.values if is_same else {})


def _form(
    entry: Mapping[str, Any],
    values: Mapping[str, str],
    problems: Mapping[str, str] | None = None,
    refused_with: tuple[str, ...] = (),
) -> Shown:
    return Shown(
        "renew",
        {
            "entry": entry,
            "is_oidc": _protocol(entry) is Protocol.OIDC,
            "values": values,
            "problems": {name: FIELD_PROBLEMS[key] for name, key in (problems or {}).items()},
            "refused": refused_with,
        },
        status=422 if problems or refused_with else 200,
    )


async def save_values(visit: Visit) -> Shown | Moved | Failed:
    """What is new goes to a provider for tests. The test of the one before is void first: while
    this one is made, nothing takes the connection's place.
    """
    found, link = await _connections(visit), visit.link
    if isinstance(found, Failed):
        return found
    entry = found.get(visit.text("provider"))
    if entry is None or visit.rooms.renewal is None:
        return Failed(409, "no_renewal")
    name, protocol = str(entry["name"]), _protocol(entry)
    today = datetime.fromtimestamp(visit.now, UTC).date()
    read = read_renewal(visit.form, protocol=protocol, today=today)
    if read.problems:
        return _form(entry, read.shown, read.problems)
    owner = link.work.owner or link.id
    begun = edited(link.work, name="", renews=name, owner=owner, values={})
    marked = await visit.rooms.links.save(link, begun, cookie=visit.cookie)
    if marked is None:
        return Failed(409, "changed")
    made = await visit.rooms.renewal.begin(
        link.tenant, name, _new(protocol, read.provider), owner=owner, actor=f"setup:{link.actor}"
    )
    if not isinstance(made, Trial):
        return _form(entry, read.shown, refused_with=(refused(made).message,))
    work = edited(
        marked.work,
        name=made.name,
        run=made.run,
        since=made.since,
        keeps_certificate=made.keeps_certificate,
        expires=read.shown.get("secret_expires", ""),
        former_expires=entry["secret_expires"],
        values=dict(read.shown),
    )
    what = {"provider": name, **read.shown}
    saved = await replace(visit, link=marked).save(work, "setup.renewal.saved", what)
    return saved if isinstance(saved, Failed) else Moved(f"{PREFIX}/test", "renewal_saved")


def _new(protocol: Protocol, read: Mapping[str, str]) -> NewSecret | NewMetadata:
    if protocol is Protocol.OIDC:
        ends = read["secret_expires"]
        expires = date.fromisoformat(ends) if ends else None
        return NewSecret(Secret(read["client_secret"]), expires)
    text = read["metadata_file"] or read["metadata"]
    return NewMetadata(url=read["metadata_url"] or None, text=text or None)


async def show_review(visit: Visit) -> Shown | Moved:
    link, work = visit.link, visit.link.work
    if not link.ready:
        return Moved(PREFIX)
    is_kept = work.put_back_until is not None and visit.now < work.put_back_until
    return Shown(
        "renew_review",
        {
            "work": work,
            "unfinished": work.phase is Phase.LIVE and not work.basis,
            "can_put_back": work.phase is Phase.LIVE and is_kept and not work.put_back,
            "needs_approval": link.request.approval is not Approval.NONE,
        },
    )


async def finish(visit: Visit) -> Moved | Failed:
    """As going live: by whoever may."""
    link = visit.link
    needs_approval = link.request.approval is not Approval.NONE
    if link.work.phase is Phase.LIVE:
        if needs_approval:
            return Failed(409, "read_only")
    elif not link.ready or link.work.phase is not Phase.TESTED:
        return Failed(409, "incomplete")
    if needs_approval:
        submitted = replace(link.work, phase=Phase.SUBMITTED, returned="")
        letters, record = visit.rooms.letters, await visit.rooms.tenants.get(link.tenant)

        async def tell(connection: AsyncConnection, stored: SetupLink) -> None:
            await letters.submitted(connection, stored, name_of(stored, record), ())

        what = {"provider": link.work.renews}
        saved = await visit.save(submitted, "setup.submitted", what, tell=tell)
        letters.mailer.wake()
        return saved if isinstance(saved, Failed) else Moved(REVIEW, "submitted")
    done = await _going(visit).go_live(link, action="setup.live")
    if isinstance(done, Rejected):
        return Failed(409, "changed", done.message)
    return Moved(REVIEW, "renewed")


async def put_back(visit: Visit) -> Moved | Failed:
    done = await _going(visit).put_back(visit.link)
    if isinstance(done, Rejected):
        return Failed(409, "too_late", done.message)
    return Moved(REVIEW, "put_back")


def _going(visit: Visit) -> GoLive:
    rooms = visit.rooms
    return GoLive(rooms.links, rooms.tenants, rooms.letters, rooms.renewal)


async def _connections(visit: Visit) -> dict[str, dict[str, Any]] | Failed:
    """The tenant's that can be renewed, by name."""
    found = await visit.reach.ask("get_tenant")
    if not found.ok:
        return Failed(404, "no_renewal") if found.status == 404 else Failed(503, "unavailable")
    tenant = found.document["tenant"]
    names = can_renew(tenant)
    rows = {
        each["name"]: {name: each.get(name) or "" for name in _SHOWN}
        for each in tenant["providers"]
        if each["name"] in names
    }
    return rows or Failed(404, "no_renewal")


def _protocol(entry: Mapping[str, Any]) -> Protocol:
    return Protocol.SAML if entry["kind"] == ProviderKind.SAML else Protocol.OIDC


_PARTS: Final = frozenset({Part.RENEW})
PAGES: Final = (
    Page("/renew", show_connections, _PARTS),
    Page(
        "/renew/values/{provider}",
        show_values,
        _PARTS,
        parameters={"provider": "[A-Za-z0-9_.-]{1,32}"},
    ),
    Page("/renew/save", save_values, _PARTS, form=True, upload=True),
    Page("/renew/review", show_review, _PARTS),
    Page("/renew/finish", finish, _PARTS, form=True, ends_live=False),
    Page("/renew/put-back", put_back, _PARTS, form=True, ends_live=False),
)
