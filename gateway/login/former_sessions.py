"""Sessions that a login puts an end to: of somebody else in this browser, and of the same person
where the identity provider says less of them by now.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.core.model import SAME_SUBJECT_IN_EVERY_POOL
from gateway.core.outdated import is_outdated
from gateway.core.tenants import HostKind
from gateway.log import fields

if TYPE_CHECKING:
    from gateway.core.login import Accepted
    from gateway.core.model import Provider, Session, Tenant
    from gateway.login.request import Browser
    from gateway.sessions.api import LoginConsumed, Names, SessionView

_LOG = logging.getLogger(__name__)


def names_elsewhere(
    tenant: Tenant, provider: Provider, *, idp_subject: str, email: str = "", oid: str = ""
) -> Names:
    """By which the same person is found who came in through another user pool of the tenant, where
    they have another ``sub``. After a move, app passwords outlive the sessions. ``email``: only of
    whoever has proven it; ``oid``: the directory's own name of the person, in every pool the same.
    """
    if len(tenant.pools) < 2 and not tenant.takes_app_passwords:
        return ()
    names = [("idp_subject", idp_subject)]
    if provider.kind not in SAME_SUBJECT_IN_EVERY_POOL:
        names += [("oid", oid), ("email", email)]
    return tuple((kind, value) for kind, value in names if value)


async def end_denied(
    browser: Browser, taken: LoginConsumed, sub: str, *, names: Names = ()
) -> None:
    """The identity provider says of this very person what keeps them out: what an earlier login of
    theirs through it has made ends too. ``names``: of ``names_elsewhere``.
    """
    sessions, pending = browser.services.sessions, taken.pending
    present = await browser.session(pending.tenant if browser.found is HostKind.LOGIN else None)
    if present is not None and present[0].began < taken.began:
        session = present[0]
        if (session.tenant, session.identity.sub, session.identity.provider) == (
            pending.tenant,
            sub,
            pending.provider,
        ):
            # The one whose cookie is at hand: its refresh token can be revoked too.
            await _end_now(browser, present)
    count = await sessions.end_earlier(
        pending.tenant,
        user=sub,
        names=names,
        began=taken.began,
        outdated=lambda view: view.provider == pending.provider,
    )
    await sessions.unlink(
        pending.tenant, user=sub, names=names, provider=pending.provider, began=taken.began
    )
    _LOG.info(
        "outdated_sessions_ended",
        extra=fields(
            request_id=browser.request_id,
            tenant=pending.tenant,
            user=sub,
            provider=pending.provider,
            ended=count,
        ),
    )


async def end_outdated(
    browser: Browser, taken: LoginConsumed, tenant: Tenant, provider: Provider, accepted: Accepted
) -> None:
    """Earlier sessions of the same person that say more of them than the identity provider does
    now, wherever they are.
    """
    identity = accepted.identity

    def outdated(view: SessionView) -> bool:
        if view.provider != identity.provider:
            return False
        if view.app_password is not None and view.user != identity.sub:
            # It arrives as the last login of another pool, which no later one brings up to date.
            return True
        return is_outdated(tenant, accepted, email=view.email, groups=view.groups, roles=view.roles)

    count = await browser.services.sessions.end_earlier(
        tenant.id,
        user=identity.sub,
        names=names_elsewhere(
            tenant,
            provider,
            idp_subject=identity.idp_subject,
            email=identity.email,
            oid=identity.oid,
        ),
        began=taken.began,
        outdated=outdated,
    )
    if count:
        _LOG.info(
            "outdated_sessions_ended",
            extra=fields(
                request_id=browser.request_id,
                tenant=tenant.id,
                user=identity.sub,
                provider=identity.provider,
                ended=count,
            ),
        )


async def end_former_session(browser: Browser, tenant: Tenant, accepted: Accepted) -> bool:
    """Whoever was signed in here before, if it was somebody else (also a planted cookie), is not
    any more. The same person's former session ends a little later: nobody holds its cookie now, but
    tabs that sign in together may have sent something with it; one that this login contradicts ends
    at once. True if it was somebody else.
    """
    present = await browser.session(tenant.id if browser.found is HostKind.LOGIN else None)
    if present is None:
        return False
    former, now = present[0].identity, accepted.identity
    if (present[0].tenant, former.sub) != (tenant.id, now.sub):
        # On a shared host the other person may be another tenant's.
        await _end_now(browser, present)
        return True
    if former.provider == now.provider and is_outdated(
        tenant, accepted, email=former.email, groups=former.groups, roles=former.roles
    ):
        await _end_now(browser, present)
    else:
        browser.services.token_revocation.end_replaced_soon(*present)
    return False


async def _end_now(browser: Browser, present: tuple[Session, str]) -> None:
    """A session whose cookie is at hand, and its refresh token at Cognito."""
    session, cookie = present
    outcome = await browser.services.sessions.end_family(session, cookie=cookie)
    browser.services.token_revocation.revoke_soon(
        session.tenant, outcome.refresh_token, client_id=session.client_id
    )
