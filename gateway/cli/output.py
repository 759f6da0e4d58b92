"""What commands print: text for people without anything that moves a terminal's cursor, JSON as the
admin API sent it.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import yaml

from gateway.cli import printable

if TYPE_CHECKING:
    from collections.abc import Callable

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def say(text: str, *, err: bool = False) -> None:
    click.echo(printable(text), err=err)


def say_json(document: object) -> None:
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def failed(message: str) -> int:
    say(f"gateway: {message}", err=True)
    return 1


def when(seconds: float | None) -> str:
    """UTC epoch seconds."""
    return (
        "never"
        if seconds is None
        else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    )


def as_yaml(document: Any) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return text


def confirm(question: str, *, yes: bool) -> None:
    """Asks somebody at a terminal; a script has said it by its command."""
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


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
