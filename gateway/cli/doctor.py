"""``gateway doctor cognito``: an examination of the real user pool."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli import Group, config_option, json_option, printable
from gateway.config.model import load_config
from gateway.core.model import DEFAULT_POOL

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.doctor.cognito_findings import PoolFinding
    from gateway.doctor.cognito_pool import PoolDoctor

LOGIN_S = 300.0
"""How long somebody may take to sign in; Cognito gives up after five minutes too."""


@click.group("doctor", cls=Group)
def command() -> None:
    """Examine the services that the gateway depends on."""


@command.command("cognito")
@config_option
@click.option(
    "--provision",
    is_flag=True,
    help="Also make a temporary app client, named temporary-gateway-doctor-…, and delete it.",
)
@click.option(
    "--login",
    "login_provider",
    metavar="PROVIDER",
    help="With --provision: sign in through this identity provider of the pool, in a browser on "
    "this machine.",
)
@click.option(
    "--port",
    default=0,
    show_default="a free one",
    type=click.IntRange(0, 65535),
    help="With --login: where on localhost the browser comes back.",
)
@click.option(
    "--pool",
    default=DEFAULT_POOL,
    show_default=True,
    metavar="NAME",
    help="The user pool to examine: one of cognito.pools.",
)
@json_option
def cognito(
    *,
    config_path: str,
    provision: bool,
    login_provider: str | None,
    port: int,
    pool: str,
    as_json: bool,
) -> int:
    """Check what AWS does not document: what is verified, what is not as expected, what could not
    be checked. Only reads, unless --provision is given. Uses this process' AWS credentials.
    """
    if login_provider is not None and not provision:
        msg = "--login needs an app client of its own: add --provision"
        raise click.UsageError(msg)
    config = load_config(Path(config_path))
    if pool not in config.cognito.all_pools:
        msg = f"--pool: one of {', '.join(config.cognito.all_pools)}"
        raise click.UsageError(msg)
    findings = asyncio.run(
        examine(config, provision=provision, provider=login_provider, port=port, pool=pool)
    )
    if as_json:
        click.echo(
            json.dumps(
                [{"check": f.name, "verdict": f.verdict, "detail": f.detail} for f in findings],
                indent=1,
            )
        )
    else:
        for finding in findings:
            click.echo(printable(f"{finding.verdict:15} {finding.name}: {finding.detail}"))
    return 1 if any(f.verdict == "not as expected" for f in findings) else 0


async def examine(
    config: Config, *, provision: bool, provider: str | None, port: int, pool: str = DEFAULT_POOL
) -> list[PoolFinding]:
    """Of one pool. Raises ``ConfigError`` where AWS's library or configuration is missing."""
    from gateway.cognito.api import open_cognito  # noqa: PLC0415 - not needed to list the commands
    from gateway.cognito.client_secrets import ClientSecrets  # noqa: PLC0415 - as above
    from gateway.doctor.cognito_pool import PoolDoctor  # noqa: PLC0415 - as above
    from gateway.http.client import client_session  # noqa: PLC0415 - as above
    from gateway.http.ssrf_guard import guarded_session  # noqa: PLC0415 - as above

    networks = [ipaddress.ip_network(network) for network in config.hooks.private_networks]
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(open_cognito(config, pool=pool))
        http = await stack.enter_async_context(client_session(development=config.development))
        guarded = await stack.enter_async_context(
            guarded_session(development=config.development, networks=networks)
        )
        user_pool = config.cognito.all_pools[pool]
        secrets = await stack.enter_async_context(
            ClientSecrets(endpoint_url=user_pool.endpoint_url if config.development else None)
        )
        doctor = PoolDoctor(api, http, guarded, config, user_pool, client_secrets=secrets)
        await doctor.read()
        if provision:
            await _try(doctor, provider, port)
        if provider is None:
            doctor.not_tried()
        return doctor.findings


async def _try(doctor: PoolDoctor, provider: str | None, port: int) -> None:
    from gateway.cognito.desired import POOL_USERS  # noqa: PLC0415 - as above
    from gateway.doctor.cognito_findings import unchecked  # noqa: PLC0415 - as above
    from gateway.doctor.cognito_login import PATH, LoginTrial  # noqa: PLC0415 - as above
    from gateway.errors import GatewayError  # noqa: PLC0415 - as above

    with socket.create_server(("127.0.0.1", port)) as bound:
        origin = f"http://localhost:{bound.getsockname()[1]}"
        try:
            async with doctor.trial(provider or POOL_USERS, origin + PATH) as trial:
                if provider is None:
                    return
                click.echo(f"Open {origin}/ in a browser and sign in.", err=True)
                login = LoginTrial(doctor.http, doctor.user_pool.domain, trial, provider)
                doctor.findings += await login.run(bound, within_s=LOGIN_S)
        except GatewayError as error:
            doctor.findings.append(unchecked("temporary app client", str(error)))
