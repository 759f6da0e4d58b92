"""``gateway sessions list | show | revoke``."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway.cli import config_option, json_option
from gateway.cli.audited import audited
from gateway.cli.stores import configured_stores
from gateway.cli.tenant_table import expect_tenant, tenant_ids
from gateway.core.revocation import RevocationKind, RevocationRequest, Who

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.revocation import RevocationStatus
    from gateway.sessions.api import SessionView

PAGE = 200


@click.group("sessions")
def command() -> None:
    """List and end sessions."""


def who_options(function: Callable[..., object]) -> Callable[..., object]:
    """The names a person, group or session goes by; at most one of them."""
    for name, text in reversed(
        (
            ("--user", "Cognito's sub."),
            ("--email", "E-mail address."),
            ("--idp-subject", "The subject at the identity provider."),
            ("--oid", "Entra's object id."),
            ("--group", "Everybody in this group."),
        )
    ):
        function = click.option(name, help=text)(function)
    return click.option("--provider", help="Means the name at this identity provider only.")(
        function
    )


def one_who(*, session: str | None = None, **names: str | None) -> Who:
    """Raises ``UsageError`` unless at most one name is given (``provider`` narrows)."""
    provider = names.pop("provider", None)
    given = {
        name: value for name, value in {"session": session, **names}.items() if value is not None
    }
    if len(given) > 1:
        msg = "only one of " + ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(msg)
    return Who(provider=provider, **given)


@command.command("list")
@config_option
@click.option("--tenant", help="Only this tenant's.")
@click.option("--user", help="Cognito's sub.")
@click.option("--email", help="E-mail address.")
@click.option(
    "--all",
    "everybody",
    is_flag=True,
    help="Of every tenant, which is what is meant where none is named.",
)
@json_option
def list_sessions(
    *,
    config_path: str,
    tenant: str | None,
    user: str | None,
    email: str | None,
    everybody: bool,
    as_json: bool,
) -> None:
    """Live sessions: one line per family of sessions, never a credential."""
    if everybody and tenant is not None:
        msg = "--tenant or --all"
        raise click.UsageError(msg)
    found = asyncio.run(_list(config_path, tenant=tenant, user=user, email=email))
    if as_json:
        click.echo(json.dumps([asdict(view) for view in found], indent=1))
        return
    if not found:
        click.echo("no live sessions", err=True)
    for view in found:
        click.echo(
            f"{view.session}  {view.tenant}  {view.email}  {view.provider}  since "
            f"{when(view.created_at)}  until {when(view.expires_at)}  "
            f"{','.join(view.hosts)}"
        )


@command.command()
@config_option
@click.argument("session")
@json_option
def show(*, config_path: str, session: str, as_json: bool) -> int:
    """One session by its id."""
    view = asyncio.run(_find(config_path, session))
    if view is None:
        click.echo(f"gateway: no live session {session!r}", err=True)
        return 1
    if as_json:
        click.echo(json.dumps(asdict(view), indent=1))
        return 0
    for name, value in asdict(view).items():
        if name not in {"current", "app_password"}:
            shown = (
                when(value)
                if name.endswith("_at")
                else ", ".join(value)
                if isinstance(value, tuple | list)
                else value
            )
            click.echo(f"{name:12} {shown}")
    return 0


@command.command()
@config_option
@click.argument("session", required=False)
@click.option("--tenant", help="Tenant id; needed unless a session is named.")
@who_options
@click.option("--all", "everybody", is_flag=True, help="Everybody in the tenant.")
@click.option("--reason", default="", help="For the record.")
@json_option
def revoke(
    *,
    config_path: str,
    session: str | None,
    tenant: str | None,
    everybody: bool,
    reason: str,
    as_json: bool,
    **names: str | None,
) -> int:
    """End sessions; returns when no replica lets them in any more."""
    who = one_who(session=session, **names)
    named = any(
        value is not None for value in (session, *(v for n, v in names.items() if n != "provider"))
    )
    if named == everybody:
        msg = "name a session, --user, --email, --idp-subject, --oid or --group, or say --all"
        raise click.UsageError(msg)
    if tenant is None and session is None:
        msg = "--tenant is needed"
        raise click.UsageError(msg)
    status = asyncio.run(_revoke(config_path, tenant=tenant, who=who, reason=reason))
    if status is None:
        click.echo(f"gateway: no live session {session!r}", err=True)
        return 1
    click.echo(json.dumps(describe(status), indent=1) if as_json else summary(status))
    return 0


def describe(status: RevocationStatus) -> dict[str, object]:
    """As the admin API answers it."""
    request = status.request
    return {
        "id": status.id,
        "tenant": request.tenant,
        "who": {n: v for n, v in asdict(request.who).items() if v is not None},
        "kind": str(request.kind),
        "reason": request.reason,
        "source": request.source,
        "received_at": status.received_at,
        "durable_ms": status.durable_ms,
        "replicas": [{"replica": name, "confirmed_ms": ms} for name, ms in status.replicas],
        "acknowledged_ms": status.acknowledged_ms,
        "ended": status.ended,
        "lifted": status.lifted,
        "users_to_enable": status.users_to_enable,
    }


def summary(status: RevocationStatus) -> str:
    return (
        f"{status.id}: {status.ended} sessions ended, acknowledged after "
        f"{status.acknowledged_ms} ms ({len(status.replicas)} replicas)"
    )


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
                page = await stores.directory.page(
                    tenant=name, user=user, email=email, position=position, limit=PAGE
                )
                found += page.items
                position = page.position
                if position is None:
                    break
        return found


async def _find(config_path: str, session: str) -> SessionView | None:
    async with configured_stores(config_path) as stores:
        return await stores.directory.find(session)


async def _revoke(
    config_path: str, *, tenant: str | None, who: Who, reason: str
) -> RevocationStatus | None:
    async with configured_stores(config_path) as stores:
        if tenant is None:
            view = await stores.directory.find(who.session or "")
            if view is None:
                return None
            tenant = view.tenant
        else:
            await expect_tenant(stores, tenant)
        request = RevocationRequest(tenant, who, RevocationKind.END_SESSIONS, reason, "cli")
        return await audited(
            stores.database, "revoke", tenant, who, lambda: stores.revoker.revoke(request)
        )


def when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
