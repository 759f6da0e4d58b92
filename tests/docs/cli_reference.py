"""Writes the second half of docs/operator/cli.md: every command and option as click knows them.

``python -m tests.docs.cli_reference`` writes; ``test_drift`` fails while the committed file
differs.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli import COMMANDS, cli, connection_options

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).parents[2] / "docs" / "operator" / "cli.md"
BAR = "\\|"
LOCAL = ("serve", "health", "config", "keys", "admin-keys", "database", "ingress")
"""Groups that work on this machine's files; the others are clients of the admin API."""
MARK = "<!-- What follows is written by scripts/reference, from the commands themselves. -->\n"


def render() -> str:
    context = click.Context(cli, info_name="gateway")
    shared = [p for p in connection_options(root=True) if isinstance(p, click.Option)]
    words, mark, _ = TARGET.read_text(encoding="utf-8").partition(MARK)
    heading = "## Options that say which gateway\n"
    parts = [words + mark, heading, *_options(shared, context), ""]
    for title, names in (
        ("Commands that ask a gateway", [name for name in COMMANDS if name not in LOCAL]),
        ("Commands on this machine's files", list(LOCAL)),
    ):
        parts.append(f"## {title}\n")
        for name in names:
            command = cli.get_command(context, name)
            if command is None:
                raise LookupError(name)
            parts += _described(command, click.Context(command, parent=context, info_name=name))
    return "\n".join(parts).rstrip() + "\n"


def _described(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        depth = "###" if context.parent is not None and context.parent.parent is None else "####"
        yield f"{depth} gateway {_path(context)}\n"
        yield f"{_text(command)}\n"
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _described(below, click.Context(below, parent=context, info_name=name))
        return
    arguments = [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
    yield f"#### gateway {' '.join([_path(context), *arguments])}\n"
    yield f"{_text(command)}\n"
    shared = {option.name for option in connection_options()}
    own = [p for p in command.params if isinstance(p, click.Option) and p.name not in shared]
    if own:
        yield from _options(own, context)
        yield ""


def _path(context: click.Context) -> str:
    return context.command_path.removeprefix("gateway ")


def _text(command: click.Command) -> str:
    """At most 120 columns."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or "").replace("\b", ""))
    return "\n\n".join(textwrap.fill(p, 118) for p in paragraphs).replace("*", "\\*")


def _options(options: list[click.Option], context: click.Context) -> Iterator[str]:
    yield "| option | does |"
    yield "|---|---|"
    for option in options:
        names, text = option.get_help_record(context) or ("", "")
        shown = text.replace("|", "\\|").replace("*", "\\*").replace("  [", " [")
        yield f"| `{names.replace('|', BAR)}` | {shown} |"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
