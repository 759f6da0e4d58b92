"""Ten thousand tenants: start-up, memory, the check beside ten, one change, and a swap of all of
them under checks.

    python -m tests.bench.tenants [--tenants 10000] [--checks 4000]

Each tenant has 3 hosts, 2 wildcards and 20 rules of its own. The gateway is the real one, ``serve``
with embedded stores; a client asks over one connection, one check after the other, and counts what
each took.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from demo.processes import free_port
from tests.bench import deciding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KEY = "a key for the bench of no worth"
FEW = 10
SLOW_MS = 20
"""What no check may wait while all tenants change."""


def tenant(number: int, *, group: str = "app-users", fresh: str = "") -> dict[str, Any]:
    """Names and rules that no other tenant shares: nothing is cheaper here than with real
    customers. ``fresh``: one more public path.
    """
    t = f"t{number}"
    rules: list[dict[str, Any]] = [
        {"path": f"/{t}/public/{rule}/**", "allow": "public"} for rule in range(5)
    ]
    rules += [{"path": fresh, "allow": "public"}] if fresh else []
    rules += [
        {
            "path": f"/{t}/area/{rule}/**",
            "methods": ["GET", "POST"],
            "groups": [f"{t}-group-{rule}", "admins"],
        }
        for rule in range(15)
    ]
    return {
        "id": t,
        "name": f"Customer {number}",
        "hosts": [
            f"{t}.example.com",
            f"app.{t}.example.net",
            f"www.{t}.example.org",
            f"*.{t}.wild.example",
            f"*.w.{t}.example.com",
        ],
        "email_domains": [f"{t}.test"],
        "allowed_groups": [group, f"{t}-users"],
        "client_id": f"client{number}",
        "client_secret": f"secret-of-{number}-which-is-long-enough",
        "providers": [
            {
                "name": f"{t}-okta",
                "kind": "okta",
                "label": "Sign in with Okta",
                "issuer": f"https://{t}.okta.example.com",
            }
        ],
        "rules": rules,
        "branding": {"support": f"it@{t}.test"},
    }


def write(folder: Path, number: int, **more: Any) -> None:
    path = folder / f"t{number}.yaml"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(
        yaml.dump(tenant(number, **more), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)),
        encoding="utf-8",
    )
    temporary.replace(path)


@dataclass
class Gateway:
    """Processes of one configuration: one for everything, or one for each role."""

    root: Path
    roles: tuple[str, ...]
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started_s: float = 0.0
    started_mb: dict[str, float] = field(default_factory=dict)
    _of_role: dict[str, dict[str, int]] = field(default_factory=dict)
    """Ports. They stay at a restart: another configuration would have all files read again."""

    @property
    def folder(self) -> Path:
        return self.root / "tenants"

    def start(self) -> None:
        self._launch(self.roles)
        self.started_mb = self.memory_mb()

    def restart(self, role: str) -> None:
        self.processes[role].send_signal(signal.SIGTERM)
        self.processes[role].wait(30)
        self._launch((role,))

    def _launch(self, roles: Sequence[str]) -> None:
        before = time.monotonic()
        for role in roles:
            ports = self._of_role.setdefault(
                role, {name: free_port() for name in ("check", "public", "hooks", "admin")}
            )
            if role != "admin":
                self.ports = ports
            config = {
                "listen": {name: f"127.0.0.1:{port}" for name, port in ports.items()},
                "ingress": {"keys": [KEY]},
                "login_host": "login.gateway.example",
                "state_dir": str(self.root / "state"),
                "cognito": {
                    "region": "eu-north-1",
                    "user_pool_id": "eu-north-1_AbCdEfGhI",
                    "domain": "https://pool.example.com",
                },
                "log": {"level": "warning"},
                **({"tenants": {"directory": str(self.folder)}} if role != "auth" else {}),
            }
            path = self.root / f"{role}.yaml"
            path.write_text(yaml.safe_dump(config), encoding="utf-8")
            log = (self.root / f"{role}.log").open("ab")
            self.processes[role] = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "-c", str(path), "--role", role],
                stderr=log,
                stdout=log,
            )
            log.close()
        self.wait_until(lambda: self.ask("t1.example.com", "/t1/public/0/x")[0] == 200)
        self.started_s = time.monotonic() - before

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 300) -> float:
        """How long it took."""
        before = time.monotonic()
        while time.monotonic() - before < seconds:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if condition():
                    return time.monotonic() - before
            if any(p.poll() is not None for p in self.processes.values()):
                raise RuntimeError(
                    "\n".join((self.root / f"{role}.log").read_text() for role in self.roles)
                )
            time.sleep(0.01)
        raise TimeoutError

    def ask(self, host: str, path: str) -> tuple[int, float]:
        connection = Connection(self.ports["check"])
        try:
            return connection.ask(host, path)
        finally:
            connection.close()

    def memory_mb(self) -> dict[str, float]:
        found = {}
        for role, process in self.processes.items():
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
            found[role] = next(
                int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")
            )
        return found

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)


class Connection:
    """A kept-alive connection that measures."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._http.connect()

    def ask(self, host: str, path: str) -> tuple[int, float]:
        before = time.perf_counter()
        self._http.request(
            "GET",
            "/auth/traefik",
            headers={
                "X-Gateway-Key": KEY,
                "X-Forwarded-Method": "GET",
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": host,
                "X-Forwarded-Uri": path,
            },
        )
        answer = self._http.getresponse()
        answer.read()
        return answer.status, (time.perf_counter() - before) * 1000

    def close(self) -> None:
        self._http.close()


@contextlib.contextmanager
def gateway(tenants: int, *, roles: tuple[str, ...] = ("all",)) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        made = Gateway(Path(folder), roles)
        made.folder.mkdir()
        for number in range(tenants):
            write(made.folder, number)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def latencies(made: Gateway, tenants: int, checks: int) -> list[float]:
    """A public path and one that wants a login, at hosts, wildcards and tenants as they come."""
    chance = random.Random(7)
    connection = Connection(made.ports["check"])
    found = []
    for _ in range(checks):
        number = chance.randrange(tenants)
        host = chance.choice(
            (f"t{number}.example.com", f"app.t{number}.example.net", f"x.t{number}.wild.example")
        )
        path, expected = chance.choice(
            ((f"/t{number}/public/4/x", 200), (f"/t{number}/area/14/x", 401), ("/nothing", 401))
        )
        status, took = connection.ask(host, path)
        assert status == expected, (host, path, status)
        found.append(took)
    connection.close()
    return found


def line(name: str, values: Sequence[float]) -> str:
    ordered = sorted(values)
    quantiles = (
        f"p50 {statistics.median(ordered):.2f}  p99 {ordered[int(len(ordered) * 0.99)]:.2f}  "
        f"p99.9 {ordered[int(len(ordered) * 0.999)]:.2f}  max {ordered[-1]:.1f}"
    )
    return (
        f"  {name:42} {quantiles} ms, over {SLOW_MS} ms: {sum(t > SLOW_MS for t in ordered)} "
        f"of {len(ordered)}"
    )


class Asking:
    """Checks one after the other in a thread, until told to stop."""

    def __init__(self, made: Gateway) -> None:
        self._made = made
        self._stop = threading.Event()
        self.took: list[float] = []
        self.wrong = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        connection = Connection(self._made.ports["check"])
        while not self._stop.is_set():
            status, took = connection.ask("t1.example.com", "/t1/public/0/x")
            self.took.append(took)
            self.wrong += status != 200
            time.sleep(0.001)
        connection.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def swap(made: Gateway, tenants: int) -> list[str]:
    """Every tenant changes at once: prepared beside, moved in place in one go, then waited for."""
    with Asking(made) as calm:
        time.sleep(5)
    beside = made.root / "next"
    beside.mkdir()
    for number in range(tenants):
        write(beside, number, group="other-users", fresh="/swapped")
    watched = {*range(0, tenants, max(1, tenants // 20)), tenants - 1}
    with Asking(made) as asking:
        began = time.monotonic()
        for path in beside.iterdir():
            path.replace(made.folder / path.name)
        for number in watched:
            made.wait_until(
                lambda number=number: made.ask(f"t{number}.example.com", "/swapped")[0] == 200  # type: ignore[misc]
            )
        took = time.monotonic() - began
        time.sleep(1)
    return [
        f"  all {tenants} changed, served after {took:.2f} s; wrong answers: {asking.wrong}",
        line("checks in calm", calm.took),
        line("checks while all change", asking.took),
    ]


def one_change(made: Gateway) -> list[float]:
    """Seconds from the change of a file to the first answer by it, ten times."""
    found = []
    for round_ in range(10):
        wanted = f"/fresh/{round_}"
        write(made.folder, 1, fresh=wanted)
        found.append(
            made.wait_until(lambda wanted=wanted: made.ask("t1.example.com", wanted)[0] == 200)  # type: ignore[misc]
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--checks", type=int, default=4000)
    arguments = parser.parse_args()
    load, told = os.getloadavg()[0], []
    with gateway(FEW) as few, gateway(arguments.tenants) as many:
        rounds: list[tuple[list[float], list[float]]] = [
            (
                latencies(few, FEW, arguments.checks // 4),
                latencies(many, arguments.tenants, arguments.checks // 4),
            )
            for _ in range(4)
        ]
        small, large = [t for r in rounds for t in r[0]], [t for r in rounds for t in r[1]]
        warm = latencies(many, FEW, arguments.checks // 2)
        told += [
            f"one process for both roles: {FEW} tenants / {arguments.tenants} tenants",
            (
                f"  start to first answer                      {few.started_s:.2f} s / "
                f"{many.started_s:.2f} s"
            ),
            (
                f"  memory at start, after the checks          {few.memory_mb()['all']:.0f} MB "
                f"/ {many.started_mb['all']:.0f} MB, {many.memory_mb()['all']:.0f} MB"
            ),
            line(f"checks at {FEW}", small),
            line(f"checks at {arguments.tenants}, most for the first time", large),
            line(f"checks at {arguments.tenants}, the same ten", warm),
            (
                "  ratio of medians                           "
                f"{statistics.median(large) / statistics.median(small):.2f}, for the same ten "
                f"{statistics.median(warm) / statistics.median(small):.2f}"
            ),
        ]
        changes = sorted(one_change(many))
        told.append(
            "  one file changed, live after               median "
            f"{statistics.median(changes):.2f} s, longest {changes[-1]:.2f} s, of "
            f"{len(changes)}"
        )
        told += swap(many, arguments.tenants)
    with gateway(arguments.tenants, roles=("admin", "auth")) as split:
        told += [
            f"a process for each role, {arguments.tenants} tenants",
            f"  start to first answer                      {split.started_s:.2f} s",
        ]
        told.append(
            "  memory at start                            "
            f"{', '.join(f'{role} {mb:.0f} MB' for role, mb in split.memory_mb().items())}"
        )
        changes = sorted(one_change(split))
        told.append(
            "  one file changed, live after               median "
            f"{statistics.median(changes):.2f} s, longest {changes[-1]:.2f} s, of "
            f"{len(changes)}"
        )
        told += swap(split, arguments.tenants)
        split.restart("auth")
        told.append(f"  auth role restarted, start to first answer {split.started_s:.2f} s")
    print(
        f"\nload average {load:.1f} at the beginning, {os.getloadavg()[0]:.1f} at the end; "
        f"{os.cpu_count()} processors; {arguments.checks} checks a side"
    )
    print("\n".join(told))
    deciding.show()


if __name__ == "__main__":
    main()
