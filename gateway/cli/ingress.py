"""``gateway ingress render``: a ready ingress configuration for this gateway's configuration."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli import config_option
from gateway.config import load_config
from gateway.core.model import Secret
from gateway.deploy import KINDS, SiteError, render, site_of
from gateway.registry.document import compile_tenant
from gateway.registry.files import read_folder


@click.group("ingress")
def command() -> None:
    """Render an ingress configuration, or probe a live one."""


@command.command("render")
@click.argument("kind", type=click.Choice(list(KINDS)))
@config_option
@click.option("--listen", default="0.0.0.0:443", show_default=True, help="Where the ingress listens.")
@click.option("--upstream", "upstreams", multiple=True, metavar="[HOST=]ADDRESS", help="The application's host:port; with HOST= only for that protected host. Repeatable.")
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="One more protected host, of a tenant that does not live in files. Repeatable.")
@click.option("--header", "headers", multiple=True, metavar="NAME", help="One more managed header, of a tenant that does not live in files. Repeatable.")
@click.option("--check", metavar="ADDRESS", help="How the ingress reaches listen.check, if not at the address it binds.")
@click.option("--public", metavar="ADDRESS", help="How the ingress reaches listen.public, if not at the address it binds.")
@click.option("--certificate", nargs=2, metavar="CHAIN KEY", help="TLS ends here, with these files. Without, TLS ends in front of the ingress.")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Write the files into this folder instead of to the terminal. They hold the ingress key.")
def render_command(
    kind: str,
    config_path: str,
    listen: str,
    upstreams: tuple[str, ...],
    hosts: tuple[str, ...],
    headers: tuple[str, ...],
    check: str | None,
    public: str | None,
    certificate: tuple[str, str] | None,
    output: Path | None,
) -> None:
    """Write a ready configuration: hosts, header names, key and addresses are those of the gateway's configuration."""
    config = load_config(Path(config_path))
    documents = read_folder(config.tenants.files, config).values() if config.tenants.files else ()
    tenants = [compile_tenant(document, config, client_id="", client_secret=Secret("")) for document in documents]
    default, by_host = _upstreams(upstreams)
    site = site_of(config, tenants, listen=listen, upstream=default, upstreams=by_host, check=check, public=public, certificate=certificate, hosts=hosts, headers=headers)
    files = render(kind, site)
    if output is None:
        for name, text in files.items():
            click.echo((f"# ==> {name} <==\n" if len(files) > 1 else "") + text, nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = output / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        click.echo(str(path))


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
