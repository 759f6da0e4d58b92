"""All answers on one page; from it the work is submitted, or goes live."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.portal.guides import NAMES
from gateway.portal.texts import VALUES
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Shown
from gateway.setup.go_live import GoLive
from gateway.setup.letters import name_of
from gateway.setup.model import Approval, Part, Phase, SetupProvider
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.portal.visit import Visit
    from gateway.setup.model import SetupLink

HERE: Final = f"{PREFIX}/review"


async def show_review(visit: Visit) -> Shown | Moved:
    link = visit.link
    if not link.ready:
        return Moved(PREFIX)
    new = link.request.new_tenant
    answer = await visit.reach.ask("get_tenant")
    tenant = answer.document["tenant"] if answer.ok else {}
    connection = link.request.connection
    return Shown(
        "review",
        {
            "work": link.work,
            "value_names": VALUES,
            "provider": NAMES[SetupProvider(link.work.provider)],
            "tenant_name": tenant.get("name") or (new.name if new is not None else link.tenant),
            "hosts": tenant.get("hosts", ()),
            "domains": tenant.get("email_domains", ())
            if connection is None
            else connection.email_domains,
            "groups": link.work.chosen
            or (connection is not None and connection.groups)
            or (tenant.get("allowed_groups") or ()),
            # A process ended half way: the provider is off still.
            "unfinished": link.work.phase is Phase.LIVE and answer.etag == link.work.basis,
            "needs_approval": link.request.approval is not Approval.NONE,
        },
    )


async def finish(visit: Visit) -> Moved | Failed:
    link = visit.link
    if link.work.phase is Phase.LIVE:
        if link.request.approval is not Approval.NONE:
            return Failed(409, "read_only")
    elif not link.ready or link.work.phase is not Phase.TESTED:
        return Failed(409, "incomplete")
    if link.request.approval is not Approval.NONE:
        submitted = replace(link.work, phase=Phase.SUBMITTED, returned="")
        what = {"provider": link.work.name}
        letters, record = visit.rooms.letters, await visit.rooms.tenants.get(link.tenant)
        domains = record.document["email_domains"] if record is not None else ()
        if link.request.connection is not None:
            domains = link.request.connection.email_domains

        async def tell(connection: AsyncConnection, stored: SetupLink) -> None:
            await letters.submitted(connection, stored, name_of(stored, record), domains)

        outcome = await visit.save(submitted, "setup.submitted", what, tell=tell)
        letters.mailer.wake()
        return outcome if isinstance(outcome, Failed) else Moved(HERE, "submitted")
    # Approved beforehand, by whoever made the link.
    launch = GoLive(
        visit.rooms.links, visit.rooms.tenants, visit.rooms.letters, visit.rooms.renewal
    )
    result = await launch.go_live(link, action="setup.live")
    return (
        Failed(409, "changed", result.message)
        if isinstance(result, Rejected)
        else Moved(HERE, "live")
    )


_PARTS: Final = frozenset({Part.SIGN_IN})
PAGES: Final = (
    Page("/review", show_review, _PARTS),
    Page("/review/finish", finish, _PARTS, form=True, ends_live=False),
)
