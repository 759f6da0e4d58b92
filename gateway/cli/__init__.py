"""The command line. One file per group, imported when used: ``gateway serve --role auth`` never
loads SQL or AWS.

Exit codes: 0 done; 1 it did not work; 2 the command or the configuration is wrong.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING

import click

from gateway import __version__
from gateway.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "serve": ("gateway.cli.serve", "Run the gateway."),
    "health": ("gateway.cli.health", "Ask a running gateway whether it is healthy."),
    "config": ("gateway.cli.config", "Check, show and describe the configuration."),
    "tenants": ("gateway.cli.tenants", "Plan, apply and inspect tenants."),
    "provision": ("gateway.cli.provision", "Create and check a tenant's resources in Cognito."),
    "policy": ("gateway.cli.policy", "Explain what a request would come to, and why."),
    "sessions": ("gateway.cli.sessions", "List and end sessions."),
    "app-passwords": ("gateway.cli.app_passwords", "List and revoke people's app passwords."),
    "blocks": ("gateway.cli.blocks", "Keep people out, and let them in again."),
    "hooks": (
        "gateway.cli.hooks",
        "What to set up at an identity provider, and what has arrived from it.",
    ),
    "keys": ("gateway.cli.keys", "List and rotate the gateway's own keys."),
    "database": (
        "gateway.cli.database_commands",
        "Upgrade, back up and restore the database.",
    ),
    "admin-keys": ("gateway.cli.admin_keys", "Bearer keys of the admin API."),
    "ingress": ("gateway.cli.ingress", "Render an ingress configuration, or probe a live one."),
}
"""Name of the group → module that defines ``command``, and its one line of help."""


class LazyGroup(click.Group):
    """Imports the module of a command when it is called, not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


EXAMPLES = """\b
Examples:
  gateway config check -c config/gateway.yaml
  gateway serve --role auth --workers 2
  gateway tenants test acme
  gateway policy explain --host acme.example.com --path /admin/x --email bob@acme.com --group app-users
  gateway sessions revoke --tenant acme --email bob@acme.com --reason "left the company"
\b
Exit codes: 0 done; 1 it did not work; 2 the command or the configuration is wrong.
"""  # noqa: E501 - one text, as it is


@click.command(
    cls=LazyGroup,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="gateway")
def cli() -> None:
    """Forward-auth gateway for multi-tenant SaaS on AWS Cognito."""


config_option = click.option(
    "-c",
    "--config",
    "config_path",
    default="config/gateway.yaml",
    show_default=True,
    envvar="GATEWAY_CONFIG",
    help="The configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


def run(arguments: Sequence[str]) -> int:
    """Every error becomes one clear message on stderr and an exit code."""
    # A command says what it did itself; `serve` turns the log on.
    logging.getLogger("gateway").addHandler(logging.NullHandler())
    try:
        result = cli.main(args=list(arguments), prog_name="gateway", standalone_mode=False)
    except click.exceptions.Abort as stopped:
        interrupted = isinstance(stopped.__cause__, KeyboardInterrupt)
        print(
            "gateway: interrupted"
            if interrupted
            else "gateway: not confirmed, nothing was done (see --yes)",
            file=sys.stderr,
        )
        return 1
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        print(f"gateway: {error.format_message()}", file=sys.stderr)
        return 1
    except ConfigError as error:
        print(str(error), file=sys.stderr)
        return 2
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    return result if isinstance(result, int) else 0
