"""``gateway serve``: one process, or a supervisor with workers."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path

import click

from gateway.cli import config_option
from gateway.config.model import load_config
from gateway.log import configure, fields, write_in_background


@click.command("serve")
@config_option
@click.option(
    "--role",
    type=click.Choice(["all", "auth", "admin"]),
    default="all",
    show_default=True,
    help="auth holds no AWS rights and no SQL; admin never sees a browser.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that answer checks and browsers.",
)
def command(config_path: str, role: str, workers: int) -> int:
    """Run the gateway."""
    config = load_config(Path(config_path))
    configure(config.log.format, config.log.level)
    with contextlib.ExitStack() as stack:
        if workers > 1:
            # The metrics library chooses its storage when it is first imported, so this comes
            # before the application. One folder for each supervisor: ``state_dir`` may be shared.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="gateway-metrics-")
            )
        from gateway.metrics import LOG_LINES_DROPPED  # noqa: PLC0415 - after the environment is set
        from gateway.runtime.serve import serve  # noqa: PLC0415 - as above
        from gateway.runtime.service_manager import ServiceManager  # noqa: PLC0415 - as above

        write_in_background(dropped=LOG_LINES_DROPPED.inc)
        if config.development:
            # A log record like every other: whoever reads the log as JSON reads this line too.
            logging.getLogger(__name__).warning(
                "development",
                extra=fields(
                    detail=(
                        "http is permitted on loopback and *.localhost; never use this in "
                        "production"
                    )
                ),
            )
        return serve(
            Path(config_path),
            config,
            ServiceManager.of(os.environ),
            role=role,
            workers=workers,
        )
