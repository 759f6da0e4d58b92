"""``gateway config check | show | schema``."""

from __future__ import annotations

import asyncio
import json
from importlib.util import find_spec
from pathlib import Path

import click
import yaml

from gateway.cli import Group, config_option, json_option
from gateway.config.json_schema import with_plain_descriptions
from gateway.config.model import Config, load_config


def _installed_role() -> str:
    """``all``, or ``auth`` where the image or installation has that role alone."""
    return "all" if find_spec("gateway.database") and find_spec("sqlalchemy") else "auth"


@click.group("config", cls=Group)
def command() -> None:
    """Check, show and describe the configuration."""


@command.command()
@config_option
@click.option(
    "--role",
    type=click.Choice(["all", "auth", "admin"]),
    default=_installed_role,
    show_default="all, or auth where only that is installed",
    help="Check what `gateway serve --role` needs: auth has no SQL and no AWS credentials.",
)
@json_option
def check(config_path: str, role: str, as_json: bool) -> int:
    """Validate the files, and ask Redis, SQL, Cognito and AWS. Nothing is written."""
    from gateway.runtime.config_check import check_config  # noqa: PLC0415 - keeps `schema` free of adapters

    config = load_config(Path(config_path))
    findings = asyncio.run(check_config(config, role=role))
    if as_json:
        click.echo(
            json.dumps(
                [
                    {"check": f.name, "ok": f.ok, "detail": f.detail, "warnings": f.warnings}
                    for f in findings
                ],
                indent=1,
            )
        )
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'} {finding.name}: {finding.detail}")
            for warning in finding.warnings:
                click.echo(f"     ! {warning}")
    return 2 if any(f.wrong for f in findings) else 0 if all(f.ok for f in findings) else 1


@command.command()
@config_option
@json_option
def show(config_path: str, as_json: bool) -> None:
    """Print the effective configuration, secrets redacted."""
    document = load_config(Path(config_path)).model_dump(mode="json")
    click.echo(
        json.dumps(document, indent=1)
        if as_json
        else yaml.safe_dump(document, sort_keys=False, allow_unicode=True),
        nl=as_json,
    )


@command.command()
def schema() -> None:
    """Print the JSON Schema of gateway.yaml."""
    # As files spell it: a default is 30m, not PT30M.
    click.echo(
        json.dumps(
            with_plain_descriptions(Config.model_json_schema(mode="serialization")), indent=1
        )
    )
