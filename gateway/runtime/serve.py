"""Processes, sockets and signals. The supervisor binds, starts the embedded store and forks;
workers serve and die with it.

one process     roles as asked, everything in one event loop
workers         N auth workers share the sockets of check, public (and admin, in role auth);
                in role all one further process holds the admin role
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import importlib.util
import logging
import os
import signal
import socket
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.background import forever
from gateway.cognito.kms import key_wrapping
from gateway.errors import ConfigError, GatewayError
from gateway.http.listener import BACKLOG, cannot_listen
from gateway.keys import ring
from gateway.log import fields, write_in_background
from gateway.metrics import BUILD, LOG_LINES_DROPPED
from gateway.runtime.app import Process, Role, run
from gateway.runtime.open_files import connection_limits, raise_limit
from gateway.runtime.service_manager import ServiceManager
from gateway.runtime.supervisor import SharedFlags, Supervisor
from gateway.sessions.embedded import EmbeddedValkey
from gateway.tracing.library import require_library

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.config.model import Config

_LOG = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
LISTENERS = {
    Role.AUTH: ("check", "public", "admin"),
    Role.ADMIN: ("admin", "hooks"),
    Role.ALL: ("check", "public", "admin", "hooks"),
}
"""Keys of ``listen`` that each role serves, besides ``pages``."""


def listeners(config: Config, role: Role) -> tuple[str, ...]:
    """Keys of ``listen`` that ``role`` serves as configured."""
    pages = ("pages",) if config.has_pages and role is not Role.AUTH else ()
    return (*LISTENERS[role], *pages)


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """One process: what it does and which sockets it serves."""

    name: str
    role: Role
    sockets: dict[str, socket.socket]
    limits: dict[str, int]
    """Connections, by listener."""
    manager: ServiceManager
    """Told by this process; a worker has one that nobody listens to."""
    started: Callable[[], None] = lambda: None
    ready: Callable[[], None] = lambda: None
    owns_sockets: Callable[[], bool] = lambda: True
    """Whether the sockets end with this process: asked when it ends."""
    alive: Callable[[], None] = lambda: None
    workers: Callable[[], Sequence[bool]] | None = None
    """Others serve the checks, and this one tells whether they do: of each, whether it serves."""


def require_role(role: Role) -> None:
    """Raises ``ConfigError`` where this installation has not what it needs."""
    needs = ("aioboto3", "sqlalchemy", "gateway.admin")
    if role is not Role.AUTH and any(importlib.util.find_spec(name) is None for name in needs):
        raise ConfigError(
            f"--role {role} needs AWS and SQL, and this installation has the auth role alone: "
            "install the release's wheel with the extra [admin], use the image of every role, or "
            "choose --role auth"
        )


def serve(
    config_path: Path, config: Config, manager: ServiceManager, *, role: str, workers: int
) -> int:
    """Run until SIGTERM or SIGINT. Exit code 0, or 1 if it could not go on."""
    require_role(Role(role))
    require_library(config.tracing)
    # Before a worker reads it: of two rings made at once one would be nobody's, and one made later
    # would end every session.
    ring.load(config.key_file, create=config.makes_key_ring, wrapping=key_wrapping(config))
    limits = connection_limits(raise_limit())
    BUILD.role = role
    store = EmbeddedValkey.start(config.state_dir) if config.embedded_redis else None
    sockets: dict[str, socket.socket] = {}
    files: dict[str, tuple[int, int] | None] = {}
    try:
        for name in listeners(config, Role(role)):
            sockets[name] = bind(getattr(config.listen, name), key=f"listen.{name}")
            _refuse_twice(name, sockets)
            files[name] = identity(sockets[name])
            _LOG.info(
                "listening", extra=fields(listener=name, address=_address(sockets[name]), role=role)
            )
        socket_path = store.socket_path if store is not None else None
        if workers == 1:
            return _serve_here(
                ProcessPlan("gateway", Role(role), sockets, limits, manager),
                config_path,
                config,
                socket_path,
                store,
            )
        plans = _plans(Role(role), workers, sockets, limits)
        return _supervise(plans, config_path, config, socket_path, store, manager)
    finally:
        for name, bound in sockets.items():
            unbind(bound, files.get(name))
        if store is not None:
            store.stop()


def _plans(
    role: Role, workers: int, sockets: dict[str, socket.socket], limits: dict[str, int]
) -> list[ProcessPlan]:
    if role is Role.ADMIN:
        raise ConfigError(
            "--workers is for the auth role: several admin processes are several replicas"
        )
    browsers = {name: sockets[name] for name in ("check", "public")}
    if role is Role.AUTH:
        browsers["admin"] = sockets["admin"]
    nobody = ServiceManager()
    plans = [
        ProcessPlan(f"worker-{number}", Role.AUTH, browsers, limits, nobody)
        for number in range(workers)
    ]
    if role is Role.ALL:
        plans.append(
            ProcessPlan(
                "admin",
                Role.ADMIN,
                {name: sockets[name] for name in ("admin", "hooks", "pages") if name in sockets},
                limits,
                nobody,
            )
        )
    return plans


def bind(address: str, *, key: str) -> socket.socket:
    """A socket for ``host:port`` or ``unix:PATH``. Raises ``ConfigError`` that names ``key``.

    Of TCP it does not listen yet: who connects while nobody can serve is refused, and an ingress
    asks another replica. A Unix socket does: it takes the place of a predecessor's, and who
    connects waits for the moment that it takes.
    """
    is_path = address.startswith("unix:")
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    bound = socket.socket(socket.AF_UNIX if is_path else family, socket.SOCK_STREAM)
    try:
        if is_path:
            path = address.removeprefix("unix:")
            _take_away(Path(path), key=key)
            bound.bind(path)
            os.chmod(path, 0o660)  # noqa: PTH101 - the ingress' group may connect
            bound.listen(BACKLOG)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host.strip("[]"), int(port)))
        bound.setblocking(False)
    except (OSError, ConfigError) as error:
        bound.close()
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{key}: cannot listen on {address}: {cannot_listen(error)}") from error
    return bound


def _refuse_twice(name: str, sockets: Mapping[str, socket.socket]) -> None:
    """The system lets two sockets have one port until one listens; that is too late for a message.
    Raises ``ConfigError``.
    """
    new = sockets[name]
    for other, bound in sockets.items():
        if other == name or socket.AF_UNIX in {new.family, bound.family}:
            continue
        (host, port), (other_host, other_port) = new.getsockname()[:2], bound.getsockname()[:2]
        if port == other_port and (host == other_host or {host, other_host} & {"0.0.0.0", "::"}):  # noqa: S104 - compared, not bound
            why = cannot_listen(OSError(errno.EADDRINUSE, ""))
            msg = f"listen.{name}: cannot listen on {_address(new)}: {why}"
            raise ConfigError(msg)


def _take_away(path: Path, *, key: str) -> None:
    """The socket that a predecessor left. Raises ``ConfigError`` for any other file: the name is
    then a mistake, and the file somebody's.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            msg = f"{key}: {path} is there, and is no socket: it is left as it is"
            raise ConfigError(msg)
        path.unlink()


def _address(bound: socket.socket) -> str:
    name = bound.getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"


def identity(bound: socket.socket) -> tuple[int, int] | None:
    """Of the file that a Unix socket has in its folder just now; None for any other socket, and
    where there is no such file.
    """
    if bound.family != socket.AF_UNIX:
        return None
    try:
        status = Path(bound.getsockname()).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def unbind(bound: socket.socket, made: tuple[int, int] | None) -> None:
    """Close it, and take its file away unless that is a successor's by now; ``made``: its
    ``identity`` when it was bound.
    """
    ours = made is not None and identity(bound) == made
    name = bound.getsockname()
    bound.close()
    if ours:
        with contextlib.suppress(OSError):
            Path(name).unlink()


def _serve_here(
    plan: ProcessPlan,
    config_path: Path,
    config: Config,
    socket_path: str | None,
    store: EmbeddedValkey | None,
) -> int:
    import uvloop  # noqa: PLC0415 - the supervisor needs none

    async def main() -> None:
        watcher = asyncio.create_task(forever(store.watch)) if store is not None else None
        try:
            process = Process(
                plan.role,
                plan.sockets,
                plan.limits,
                socket_path,
                plan.manager,
                plan.started,
                plan.ready,
                plan.owns_sockets,
                plan.alive,
                plan.workers,
            )
            await run(config, process, config_path=config_path)
        finally:
            if watcher is not None:
                watcher.cancel()

    try:
        uvloop.run(main())
    except GatewayError:
        raise
    except KeyboardInterrupt:
        return 0
    return 0


def _supervise(
    plans: list[ProcessPlan],
    config_path: Path,
    config: Config,
    socket_path: str | None,
    store: EmbeddedValkey | None,
    manager: ServiceManager,
) -> int:
    flags = SharedFlags()
    checking = [number for number, plan in enumerate(plans) if "check" in plan.sockets]

    def child(number: int) -> None:
        beside = (
            None if number in checking else lambda: [flags.serves(worker) for worker in checking]
        )
        _child(
            replace(
                plans[number],
                started=lambda: flags.started(number),
                ready=lambda: flags.ready(number),
                owns_sockets=lambda: flags.stopping,
                alive=lambda: flags.alive(number),
                workers=beside,
            ),
            config_path,
            config,
            socket_path,
        )

    return Supervisor([plan.name for plan in plans], flags, child, manager).run(
        store.ensure if store is not None else _nothing
    )


def _nothing() -> None:
    pass


def _child(plan: ProcessPlan, config_path: Path, config: Config, socket_path: str | None) -> None:
    """Never returns."""
    code = 1
    try:
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        write_in_background(dropped=LOG_LINES_DROPPED.inc)
        code = _serve_here(plan, config_path, config, socket_path, None)
    except ConfigError as error:
        _LOG.critical("config_invalid", extra=fields(error=str(error)))
        code = 2
    except GatewayError as error:
        _LOG.critical("stopped", extra=fields(error=str(error)))
    except BaseException:  # noqa: BLE001 - a forked child must never return into the supervisor
        _LOG.exception("worker_failed")
    finally:
        logging.shutdown()
        os._exit(code)
