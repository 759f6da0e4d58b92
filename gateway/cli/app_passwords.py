"""``gateway app-passwords list | revoke``."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gateway.cli import config_option, json_option
from gateway.cli.audited import audited
from gateway.cli.sessions import PAGE, describe, summary, when
from gateway.cli.stores import configured_stores
from gateway.cli.tenant_table import expect_tenant, tenant_ids
from gateway.core.revocation import RevocationKind, RevocationRequest, Who

if TYPE_CHECKING:
    from gateway.core.revocation import RevocationStatus
    from gateway.sessions.api import SessionView


@click.group("app-passwords")
def command() -> None:
    """List and revoke people's app passwords."""


@command.command("list")
@config_option
@click.option("--tenant", help="Only this tenant's; left out, every tenant's.")
@click.option("--user", help="Cognito's sub.")
@click.option("--email", help="E-mail address.")
@json_option
def list_app_passwords(
    *, config_path: str, tenant: str | None, user: str | None, email: str | None, as_json: bool
) -> None:
    """App passwords that are good now: one line each, never a credential."""
    found = asyncio.run(_list(config_path, tenant=tenant, user=user, email=email))
    if as_json:
        click.echo(json.dumps([asdict(view) for view in found], indent=1))
        return
    if not found:
        click.echo("no app passwords", err=True)
    for view in found:
        click.echo("  ".join(_columns(view)))


@command.command()
@config_option
@click.argument("app_password", metavar="ID")
@click.option("--reason", default="", help="For the record.")
@json_option
def revoke(*, config_path: str, app_password: str, reason: str, as_json: bool) -> int:
    """Revoke one by its id, the 25 characters behind gwap_; returns when no replica takes it any
    more.
    """
    status = asyncio.run(_revoke(config_path, app_password, reason))
    if status is None:
        click.echo(f"gateway: no app password {app_password!r}", err=True)
        return 1
    click.echo(json.dumps(describe(status), indent=1) if as_json else summary(status))
    return 0


def _columns(view: SessionView) -> list[str]:
    of = view.app_password
    used = of.last_used_at if of is not None else None
    return [
        view.session,
        view.tenant,
        view.email,
        of.name if of is not None else "",
        f"made {when(view.created_at)}",
        f"until {when(view.expires_at)}",
        f"last used {when(used)}" if used is not None else "never used",
        ",".join(of.hosts) if of is not None and of.hosts else "all hosts",
        ",".join(of.paths) if of is not None else "",
    ]


async def _list(
    config_path: str, *, tenant: str | None, user: str | None, email: str | None
) -> list[SessionView]:
    async with configured_stores(config_path) as stores:
        if tenant is not None:
            await expect_tenant(stores, tenant)
        found: list[SessionView] = []
        for name in (tenant,) if tenant is not None else await tenant_ids(stores):
            position: str | None = None
            while True:
                page = await stores.directory.app_passwords(
                    tenant=name, user=user, email=email, position=position, limit=PAGE
                )
                found += page.items
                position = page.position
                if position is None:
                    break
        return found


async def _revoke(config_path: str, app_password: str, reason: str) -> RevocationStatus | None:
    async with configured_stores(config_path) as stores:
        view = await stores.directory.find(app_password)
        if view is None or view.app_password is None:
            return None
        who = Who(session=view.session)
        request = RevocationRequest(view.tenant, who, RevocationKind.END_SESSIONS, reason, "cli")
        return await audited(
            stores.database, "revoke", view.tenant, who, lambda: stores.revoker.revoke(request)
        )
