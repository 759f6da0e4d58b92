"""Real applications behind the whole product: one gateway, one ingress after the other, each
application once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from demo.processes import die_with_parent, free_port
from demo.world import World
from tests.apps.application import Place
from tests.apps.walk import ZOE, ZOES_NAME
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from tests.apps.application import Application

START_TIMEOUT_S = 60.0


class ApplicationsWorld(World):
    """The demo, with the applications' hosts, headers, cookies and rules as their pages show
    them.
    """

    def __init__(
        self, directory: Path, *, ingress: str, sides: Iterable[tuple[Application, int]]
    ) -> None:
        self._sides = [(application.gateway_side(), port) for application, port in sides]
        super().__init__(
            directory, ingress=ingress, applications={side.host: port for side, port in self._sides}
        )

    def _write_config(self) -> None:
        super()._write_config()
        self.cloud.customers["acme-okta"].server.directory.add_person(
            ZOE, name=ZOES_NAME, groups=("app-users", "admins")
        )
        gateway, tenant = self.config_path, self.directory / "config" / "tenants" / "acme.yaml"
        whole, acme = (yaml.safe_load(path.read_text("utf-8")) for path in (gateway, tenant))
        for rule in acme["rules"]:
            rule.setdefault("hosts", ["acme.localhost"])
        for side, _ in self._sides:
            _merge(whole, side.gateway)
            _merge(acme, side.tenant)
        gateway.write_text(yaml.safe_dump(whole), "utf-8")
        tenant.write_text(yaml.safe_dump(acme), "utf-8")


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Lists are joined, mappings united; two pages that give one key two values are an error."""
    for key, value in more.items():
        if isinstance(value, list):
            into[key] = [*into.get(key, []), *value]
        elif isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            assert into.setdefault(key, value) == value, f"{key}: {into[key]} and {value}"


class Running:
    """Start with ``with``, from the main thread: applications end with the thread that started
    them.
    """

    def __init__(self, applications: Iterable[Application], *, ingress: str) -> None:
        self._stack = ExitStack()
        self._applications = tuple(applications)
        self._ingress = ingress
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.places: dict[str, Place] = {}
        self.running: RunningWorld

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Not below pytest's own folder: Apache's children are nobody, who may not look into
            # that.
            folder = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="applications-", ignore_cleanup_errors=True)
                )
            )
            folder.chmod(0o755)
            port, world = free_port(), folder / "world"
            for application in self._applications:
                place = Place(
                    folder / application.name,
                    free_port(),
                    f"http://{application.gateway_side().host}:{port}",
                )
                place.folder.mkdir()
                self.places[application.name] = place
            product = ApplicationsWorld(
                world,
                ingress=self._ingress,
                sides=[
                    (application, self.places[application.name].port)
                    for application in self._applications
                ],
            )
            product.port = port
            self.running = stack.enter_context(RunningWorld(product))
            for application in self._applications:
                self._processes[application.name] = self._launch(
                    stack, application, self.places[application.name]
                )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def log(self, name: str) -> str:
        return (self.places[name].folder / "log").read_text("utf-8", errors="replace")[-4000:]

    def _launch(
        self, stack: ExitStack, application: Application, place: Place
    ) -> subprocess.Popen[bytes]:
        command = application.start(place)
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(place.folder),
            **command.environment,
        }
        with (place.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command.arguments,
                cwd=place.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, as for the gateways
            )
        stack.callback(_stop, process)
        return process

    def wait_for(self, application: Application) -> None:
        """Until it listens; the others go on starting meanwhile."""
        process, place = self._processes[application.name], self.places[application.name]
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", place.port), timeout=1),
            ):
                return
            assert process.poll() is None and time.monotonic() < deadline, (
                f"{application.name} did not start:\n{self.log(application.name)}"
            )
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def missing() -> str | None:
    """What has to be installed before the applications of the suite can run."""
    from tests.apps.applications import APACHE, PYTHON

    if not Path(PYTHON).exists():
        return "the applications are not installed: scripts/venv apps"
    return None if APACHE and shutil.which("git") else "Apache or git is not installed"
