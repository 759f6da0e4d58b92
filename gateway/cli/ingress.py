"""``gateway ingress render | doctor``: a ready ingress configuration, and an examination of a live
one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli import Group, config_option, json_option
from gateway.config.model import load_config, resolve_secret
from gateway.config.yaml import read_yaml
from gateway.core.app_cookies import AppCookie
from gateway.doctor.app_session import AppSession
from gateway.doctor.run import Doctor, Target, parse_address
from gateway.errors import ConfigError
from gateway.ingress_config import RENDERED, SiteError, render, site_of
from gateway.ingress_config.files import write_files
from gateway.ingress_config.render import IN_A_CLUSTER
from gateway.ingress_config.site import CHECK_ENTRY_POINT, STREAM_LIMIT_S, parse_version

if TYPE_CHECKING:
    from gateway.core.model import Secret


@click.group("ingress", cls=Group)
def command() -> None:
    """Render an ingress configuration, or probe a live one."""


@command.command("render")
@click.argument("kind", type=click.Choice(list(RENDERED)))
@config_option
@click.option(
    "--listen", default="0.0.0.0:443", show_default=True, help="Where the ingress listens."
)
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="[HOST=]ADDRESS",
    help="The application's host:port; with HOST= only for that host or wildcard. Repeatable.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help=(
        "Guard this host or wildcard and others that are named, instead of every host. Repeatable."
    ),
)
@click.option(
    "--known-hosts",
    is_flag=True,
    help=(
        "Guard the hosts of the tenants that exist now, in files and in SQL, instead of every host."
    ),
)
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="ADDRESS",
    help=(
        "How the ingress reaches listen.check of a replica, if not at the address it binds: "
        "host:port or unix:/path. Repeatable."
    ),
)
@click.option(
    "--public",
    "publics",
    multiple=True,
    metavar="ADDRESS",
    help=(
        "How the ingress reaches listen.public of a replica, if not at the address it binds: "
        "host:port or unix:/path. Repeatable."
    ),
)
@click.option(
    "--certificate",
    nargs=2,
    metavar="CHAIN KEY",
    help="TLS ends here, with these files. Without, TLS ends in front of the ingress.",
)
@click.option(
    "--redirect",
    metavar="ADDRESS",
    help=(
        "Where plain http is answered by a redirect to https, such as 0.0.0.0:80. Protected "
        "hosts only."
    ),
)
@click.option(
    "--stream-limit",
    default=STREAM_LIMIT_S,
    show_default=True,
    type=click.IntRange(1, 86400),
    metavar="SECONDS",
    help="How long a WebSocket or stream may last, or be idle, as the proxy can.",
)
@click.option(
    "--stats-socket",
    metavar="PATH",
    help="HAProxy: a Unix socket of level admin, over which open connections can be cut.",
)
@click.option(
    "--hooks-host",
    metavar="HOST",
    help="Where identity providers deliver events: only listen.hooks is served at this host.",
)
@click.option(
    "--hooks",
    multiple=True,
    metavar="ADDRESS",
    help="How the ingress reaches listen.hooks, if not at the address it binds. Repeatable.",
)
@click.option(
    "--pages",
    metavar="ADDRESS",
    help="How the ingress reaches listen.pages, if not at the address it binds: host:port.",
)
@click.option(
    "--hsts",
    type=click.IntRange(1, 63_072_000),
    metavar="SECONDS",
    help="Browsers use nothing but https at these hosts for so long.",
)
@click.option(
    "--real-ip",
    multiple=True,
    metavar="NETWORK",
    help=(
        "nginx, HAProxy, Caddy: load balancers in front, whose X-Forwarded-For names the client. "
        "Repeatable."
    ),
)
@click.option(
    "--check-entry-point",
    default=CHECK_ENTRY_POINT,
    show_default=True,
    metavar="ADDRESS",
    help="Traefik with several --check: where it shares them out, for itself alone.",
)
@click.option(
    "--nginx-version",
    metavar="VERSION",
    help="nginx: as nginx -v says it. Left out, what 1.18 and later take.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the files into this folder instead of to the terminal. They hold the ingress key.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Replace files that say something else, and keep a copy of each beside it.",
)
def render_command(
    kind: str,
    config_path: str,
    listen: str,
    upstreams: tuple[str, ...],
    hosts: tuple[str, ...],
    known_hosts: bool,
    checks: tuple[str, ...],
    publics: tuple[str, ...],
    certificate: tuple[str, str] | None,
    redirect: str | None,
    stream_limit: int,
    stats_socket: str | None,
    hooks_host: str | None,
    hooks: tuple[str, ...],
    pages: str | None,
    hsts: int | None,
    real_ip: tuple[str, ...],
    check_entry_point: str,
    nginx_version: str | None,
    output: Path | None,
    force: bool,
) -> None:
    """Write a ready configuration: hosts, header names, key and addresses are those of the
    gateway's configuration.
    """
    if redirect and kind in IN_A_CLUSTER:
        raise SiteError("--redirect: in a cluster the controller's own entry point redirects")
    if stats_socket is not None and kind != "haproxy":
        raise SiteError(f"--stats-socket: {kind} has none")
    if nginx_version is not None and kind != "nginx":
        raise SiteError("--nginx-version: is for nginx")
    if hooks and hooks_host is None:
        raise SiteError("--hooks: needs --hooks-host")
    if force and output is None:
        raise SiteError("--force: needs --output")
    config = load_config(Path(config_path))
    if pages is not None and not config.has_pages:
        raise SiteError("--pages: needs console.host or setup.enabled")
    default, by_host = _upstreams(upstreams)
    tenant_hosts = (
        (*_hosts(config.tenants.directory), *asyncio.run(_hosts_in_sql(config_path)))
        if known_hosts
        else ()
    )
    site = site_of(
        config,
        listen=listen,
        upstream=default,
        upstreams=by_host,
        hosts=(*tenant_hosts, *hosts) if known_hosts or hosts else None,
        checks=checks,
        publics=publics,
        certificate=certificate,
        hooks_host=hooks_host,
        hooks=hooks,
        pages=pages,
        hsts_s=hsts,
        real_ip=real_ip,
        redirect=redirect,
        stream_limit_s=stream_limit,
        stats_socket=stats_socket,
        check_entry_point=check_entry_point,
        nginx_version=None if nginx_version is None else parse_version(nginx_version),
    )
    files = render(kind, site)
    if output is None:
        for name, text in files.items():
            click.echo((f"# ==> {name} <==\n" if len(files) > 1 else "") + text, nl=False)
        return
    for path, is_changed in write_files(output, files, force=force).items():
        click.echo(f"{path}{'' if is_changed else ' (unchanged)'}")


def _hosts(folder: Path | None) -> list[str]:
    """Of the tenant files. Nothing else of them is read, so that rendering needs none of their
    secrets.
    """
    hosts: list[str] = []
    for path in sorted(folder.glob("*.y*ml")) if folder is not None else ():
        names = read_yaml(path).get("hosts") or []
        if not isinstance(names, list):
            raise ConfigError(f"{path}: hosts is a list")
        hosts += map(str, names)
    return hosts


async def _hosts_in_sql(config_path: str) -> list[str]:
    """Raises ``ConfigError`` and ``UnavailableError``."""
    # Only where it is asked for: whoever guards every host needs no database to render.
    from gateway.cli.local import configured_database  # noqa: PLC0415
    from gateway.tenants.database import TenantDatabase  # noqa: PLC0415

    async with configured_database(config_path) as (config, database):
        tenants = await TenantDatabase(database, config).all()
    return [host for tenant in tenants.values() for host in tenant.document.hosts]


def _upstreams(options: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    by_host: dict[str, str] = {}
    default = ""
    for option in options:
        host, equals, address = option.rpartition("=")
        if equals:
            by_host[host.lower()] = address
        elif default:
            raise SiteError(f"--upstream: {default} and {address}: one without HOST= at most")
        else:
            default = address
    return default or "127.0.0.1:9100", by_host


@command.command("doctor")
@click.argument("url")
@click.option(
    "--admin",
    "admin_url",
    default="http://127.0.0.1:8082",
    show_default=True,
    metavar="URL",
    help="The admin listener, reached on a way of its own.",
)
@click.option(
    "--key",
    default="env:DOCTOR_KEY",
    show_default=True,
    metavar="SECRET",
    help="A key of scope doctor: env:NAME or file:PATH. It never travels through the ingress.",
)
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="PATH",
    help="One more path that must be asked about. Repeatable.",
)
@click.option(
    "--public",
    "public",
    multiple=True,
    metavar="PATH",
    help=(
        "A page that anybody may read: the application's way of reading paths is examined on "
        "it. Repeatable."
    ),
)
@click.option(
    "--app",
    metavar="ADDRESS",
    help="The application's own host:port, which must not be reachable from here.",
)
@click.option(
    "--check",
    metavar="ADDRESS",
    help="listen.check's host:port, which must not be reachable from here.",
)
@click.option(
    "--app-session",
    "app_sessions",
    multiple=True,
    metavar="SECRET",
    help=(
        "Twice: the gateway's cookie of two people at this host, env:NAME or file:PATH. Does "
        "the application keep the previous user?"
    ),
)
@click.option(
    "--app-page",
    "app_pages",
    multiple=True,
    metavar="PATH",
    help=(
        "With --app-session: a page that shows who is signed in; left out, /. Repeatable, "
        "opened in order."
    ),
)
@click.option(
    "--app-cookie",
    "app_cookies",
    multiple=True,
    metavar="ENTRY",
    help=(
        "With --app-session: an entry of the tenant's app_cookies, in force or to be tried. "
        "Repeatable."
    ),
)
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False),
    help="Certificates to trust, for an ingress with its own.",
)
@json_option
def doctor_command(
    url: str,
    admin_url: str,
    key: str,
    paths: tuple[str, ...],
    public: tuple[str, ...],
    app: str | None,
    check: str | None,
    app_sessions: tuple[str, ...],
    app_pages: tuple[str, ...],
    app_cookies: tuple[str, ...],
    ca: str | None,
    as_json: bool,
) -> int:
    """Probe the live ingress at URL for every way around the gateway. Nothing is broken to find
    out.
    """
    secret = _secret("--key", key)
    for option, values in (("--path", paths), ("--public", public)):
        wrong = [path for path in values if not path.startswith("/")]
        if wrong:
            raise ConfigError(f"{option}: {wrong[0]}: begins with /")
    examination = Doctor(
        Target.of(url),
        admin_url,
        secret,
        paths=paths,
        public=public,
        ca_file=ca,
        app=parse_address(app) if app else None,
        check=parse_address(check) if check else None,
        progress=_progress,
        app_session=_app_session(app_sessions, app_pages, app_cookies),
    )
    findings = asyncio.run(examination.examine())
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "code": f.code,
                        "severity": f.severity,
                        "title": f.title,
                        "evidence": list(f.evidence),
                        "fix": f.fix,
                    }
                    for f in findings
                ],
                indent=1,
            )
        )
    else:
        for finding in findings:
            click.echo(f"{finding.severity.upper():8}  {finding.title}  [{finding.code}]")
            for line in finding.evidence:
                click.echo(f"          - {line}")
            click.echo(f"          {finding.fix}\n")
        click.echo(
            f"{len(findings)} findings at {url}"
            if findings
            else f"no way around the gateway found at {url}"
        )
    return 1 if findings else 0


def _secret(option: str, said: str) -> Secret:
    if not said.startswith(("env:", "file:")):
        raise ConfigError(
            f"{option}: env:NAME or file:PATH; a secret on the command line is seen by "
            "everybody on the machine"
        )
    try:
        return resolve_secret(said)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error


def _app_session(
    sessions: tuple[str, ...], pages: tuple[str, ...], cookies: tuple[str, ...]
) -> AppSession | None:
    if not sessions and not pages and not cookies:
        return None
    if len(sessions) != 2:
        raise ConfigError("--app-session: twice, for two people")
    first, second = (_secret("--app-session", source) for source in sessions)
    try:
        return AppSession((first, second), pages or ("/",), tuple(map(AppCookie.parse, cookies)))
    except ValueError as error:
        raise ConfigError(f"--app-cookie: {error}") from error


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(
            f"\r{done} of {total} probes" + ("\n" if done == total else ""), err=True, nl=False
        )
