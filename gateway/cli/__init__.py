"""The command line. One file per group, imported when used: ``gateway serve --role auth`` never
loads SQL or AWS.

Commands about tenants, people and hooks are clients of the admin API (``client``): of the gateway
on this machine over its socket, or of a server. The others work on this machine's files.

Exit codes: 0 done; 1 it did not work, or was refused; 2 the command, a file or the configuration is
wrong; 3 no gateway with the admin role answers; 4 the key may not do this.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from gateway import __version__
from gateway.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.cli.client import Api

DEFAULT_CONFIG = "config/gateway.yaml"
DEFAULT_TIMEOUT_S = 300.0

COMMANDS = {
    "serve": ("gateway.cli.serve", "Run the gateway."),
    "quickstart": ("gateway.cli.quickstart", "Start a demo of everything on this machine."),
    "health": ("gateway.cli.health", "Ask a running gateway whether it is healthy."),
    "config": ("gateway.cli.config", "Check, show and describe the configuration."),
    "tenants": ("gateway.cli.tenants", "Plan, apply and inspect tenants."),
    "revocations": ("gateway.cli.revocations", "Follow revocations until every replica obeys."),
    "provision": ("gateway.cli.provision", "Create and check a tenant's resources in Cognito."),
    "policy": ("gateway.cli.policy", "Explain the decision for a request."),
    "connections": (
        "gateway.cli.connections",
        "Show whether identity providers can be used, and what ends when.",
    ),
    "domains": ("gateway.cli.domains", "Prove a tenant's e-mail domains, or vouch for them."),
    "pools": ("gateway.cli.pools", "Show the user pools, and switch between their regions."),
    "mail": ("gateway.cli.mail", "Try whether mail is sent."),
    "people": ("gateway.cli.people", "Show who signed in at a tenant's applications."),
    "users": ("gateway.cli.users", "Manage users of the Cognito pool who are a tenant's."),
    "sessions": ("gateway.cli.sessions", "List and end sessions."),
    "app-passwords": ("gateway.cli.app_passwords", "List and revoke users' app passwords."),
    "blocks": ("gateway.cli.blocks", "Block users, and unblock them."),
    "hooks": (
        "gateway.cli.hooks",
        "What to set up at an identity provider, and what has arrived from it.",
    ),
    "console": ("gateway.cli.console", "Open the console before any operator can sign in."),
    "keys": ("gateway.cli.keys", "List and rotate the gateway's own keys."),
    "database": (
        "gateway.cli.database",
        "Upgrade, back up and restore the database.",
    ),
    "admin-keys": ("gateway.cli.admin_keys", "Bearer keys of the admin API."),
    "ingress": ("gateway.cli.ingress", "Render an ingress configuration, or probe a live one."),
    "setup-links": ("gateway.cli.setup_links", "Send customers links to connect themselves."),
    "doctor": ("gateway.cli.doctor", "Examine the Cognito user pool."),
}
"""Name of the group → module that defines ``command``, and its one line of help."""


# --- what every command is given: where the gateway is --------------------------------------------


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> object:
    """For the whole command line: the rightmost value counts."""
    source = context.get_parameter_source(parameter.name or "")
    if source in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}:
        context.meta[f"gateway.{parameter.name}"] = value
        if source is ParameterSource.COMMANDLINE:
            context.meta[f"gateway.{parameter.name}.said"] = True
    return value


def connection_options(*, root: bool = False, hidden: bool = False) -> list[click.Parameter]:
    """``root``: the environment is read once, so that it never hides an option."""

    def option(*names: str, variable: str | None = None, **more: Any) -> click.Option:
        settings: dict[str, Any] = {"default": None, **more}
        if root and variable is not None:
            settings |= {"envvar": variable, "show_envvar": True}
        return click.Option(
            names, expose_value=False, callback=_keep, hidden=hidden, is_eager=True, **settings
        )

    return [
        option(
            "-c",
            "--config",
            "config_path",
            metavar="FILE",
            variable="GATEWAY_CONFIG",
            help=f"The configuration file of this machine's gateway.  [default: {DEFAULT_CONFIG}]",
        ),
        option(
            "--server",
            metavar="URL",
            variable="GATEWAY_SERVER",
            help="The admin API of a gateway elsewhere, such as https://gateway.internal:8082.",
        ),
        option(
            "--key",
            metavar="SECRET-REF",
            help="With --server: the admin key, env:NAME or file:PATH.  [env var: "
            "GATEWAY_ADMIN_KEY, the key itself]",
        ),
        option(
            "--ca",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="With --server: certificates to trust instead of the system's.",
        ),
        option(
            "--insecure-http",
            is_flag=True,
            flag_value=True,
            help="With --server: permit http:// to another machine.",
        ),
        option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(1, 3600),
            metavar="SECONDS",
            help=f"How long an answer may take.  [default: {DEFAULT_TIMEOUT_S:g}]",
        ),
    ]


def api_options(function: Callable[..., object]) -> Callable[..., object]:
    """Of a command that is a client of the admin API."""
    for option in reversed(connection_options()):
        function = _with(option)(function)
    return function


def _with(option: click.Parameter) -> Callable[[Callable[..., object]], Callable[..., object]]:
    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        # As click's own decorators do.
        vars(function).setdefault("__click_params__", []).append(option)
        return function

    return decorate


def api() -> Api:
    """For the command that runs now."""
    from gateway.cli.client import Target, connect  # noqa: PLC0415 - not needed to list the commands

    meta = click.get_current_context().meta
    return connect(
        Target(
            config_path=meta.get("gateway.config_path", DEFAULT_CONFIG),
            server=meta.get("gateway.server"),
            key=meta.get("gateway.key"),
            ca=meta.get("gateway.ca"),
            insecure_http=meta.get("gateway.insecure_http", False),
            timeout_s=meta.get("gateway.timeout_s", DEFAULT_TIMEOUT_S),
        )
    )


def _local_config(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    _keep(context, parameter, value)
    if context.meta.get("gateway.server.said"):
        msg = (
            f"'{context.command_path}' works on this machine's files: --server means nothing to it"
        )
        raise click.UsageError(msg, context)
    path: str = context.meta.get("gateway.config_path", DEFAULT_CONFIG)
    return path


config_option = click.option(
    "-c",
    "--config",
    "config_path",
    metavar="FILE",
    callback=_local_config,
    help=f"The configuration file.  [default: {DEFAULT_CONFIG}]",
)
"""Of a command that works on this machine's files."""
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


# --- groups --------------------------------------------------------------------------------------


class Group(click.Group):
    """Takes the connection's options before the name of the command too."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params = [*self.params, *connection_options(hidden=True)]


class LazyGroup(Group):
    """Imports the module of a command when it is called, not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        try:
            module = importlib.import_module(COMMANDS[cmd_name][0])
        except ModuleNotFoundError as error:
            msg = (
                f"gateway {cmd_name} is not part of this installation, which has the auth role "
                f"alone ({error.name}): install the release's wheel with the extra [admin], or use "
                "the image of every role"
            )
            raise ConfigError(msg) from error
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=COMMANDS, ctx=ctx
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


EXAMPLES = """\b
Examples:
  gateway config check -c /etc/gateway/gateway.yaml
  gateway serve --role auth --workers 2
  gateway tenants test acme
  gateway policy explain --host acme.example.com --path /admin/x --email bob@acme.com --group app-users
  gateway sessions revoke --tenant acme --email bob@acme.com --reason "left the company"
  gateway --server https://gateway.internal:8082 --key env:ADMIN_KEY tenants apply customers/
\b
Exit codes: 0 done; 1 it did not work, or was refused; 2 the command, a file or the configuration is
wrong; 3 no gateway with the admin role answers; 4 the key may not do this.
"""  # noqa: E501 - one text, as it is


@click.command(
    cls=LazyGroup,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="gateway")
def cli() -> None:
    """Forward-auth gateway for multi-tenant SaaS on AWS Cognito.

    Commands about tenants, people and hooks ask the gateway on this machine, over the socket in its
    state_dir, or the one that --server names. The others (serve, config, keys, admin-keys,
    database, health, ingress, doctor) work on this machine's files.
    """


cli.params = [
    *(p for p in cli.params if p.name not in {o.name for o in connection_options()}),
    *connection_options(root=True),
]


def printable(text: str) -> str:
    """Names come from people and providers: what is no text is shown, and not obeyed by the
    terminal.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


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
        print(f"gateway: {printable(str(error))}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except BrokenPipeError:
        return 1
    except UnicodeEncodeError:
        print("gateway: an argument is not UTF-8 text", file=sys.stderr)
        return 2
    except OSError as error:
        # A file or socket that somebody named; what ours can say better is said where it is known.
        name = f"{printable(str(error.filename))}: " if error.filename else ""
        print(f"gateway: {name}{error.strerror or 'input or output failed'}", file=sys.stderr)
        return 1
    return result if isinstance(result, int) else 0
