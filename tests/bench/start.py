"""From the start to the first answered check, by number of tenants; memory; and how long checks
wait while all tenants change. No wrk.

    scripts/bench start [--tenants 10000] [--put 500]

Seconds pass more slowly where the machine does other work, so the CPU time of the process stands
beside them. Each tenant has 3 hosts, 2 wildcards and 20 rules of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.bench.tenants import Asking, Gateway, gateway, line, swap, tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW: Final = 10
WATCHED_S: Final = 1.5
"""After the first answer: what the start left to do would be felt here."""


def cpu_s(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> tuple[float, float]:
    """All that is resident, and of it what is no file's: shared libraries count in the first
    alone.
    """
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(values["VmRSS"].split()[0]) / 1024, int(values["RssAnon"].split()[0]) / 1024


def told(made: Gateway, role: str, name: str) -> str:
    """A row of the table: of the process that has just answered its first check."""
    process = made.processes[role]
    used, (resident, own) = cpu_s(process.pid), memory_mb(process.pid)
    with Asking(made) as asking:
        time.sleep(WATCHED_S)
    return (
        f"| {name} | {made.started_s:.1f} s | {used:.1f} s | {max(asking.took):.1f} ms | "
        f"{resident:.0f}, {own:.0f} MB |"
    )


class Local(http.client.HTTPConnection):
    """The admin API at its socket on this machine."""

    def __init__(self, path: Path) -> None:
        super().__init__("admin.sock", timeout=600)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(600)
        self.sock.connect(str(self._path))


def put(made: Gateway, documents: Sequence[dict[str, Any]]) -> float:
    """Seconds that it took."""
    before = time.monotonic()
    with contextlib.closing(Local(made.root / "state" / "admin.sock")) as connection:
        connection.request(
            "PUT",
            "/admin/v1/tenants",
            body=json.dumps({"tenants": documents}),
            headers={"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text[:500]
    return time.monotonic() - before


def starts(many: int, *, new: int) -> tuple[list[str], list[str]]:
    """Rows of the table, and lines about changes."""
    rows, changes = [], []
    for count in (FEW, many):
        with gateway(count) as made:
            rows.append(told(made, "all", f"both roles, {count} tenants in files"))
            made.restart("all")
            rows.append(told(made, "all", "the same, started again"))
            if count == many:
                changes += swap(made, many)
            else:
                with Asking(made) as asking:
                    took = put(made, [tenant(100_000 + number) for number in range(new)])
                changes.append(line(f"checks while {new} are created in {took:.0f} s", asking.took))
        with gateway(count, roles=("admin", "auth")) as made:
            made.restart("auth")
            rows.append(told(made, "auth", f"auth role, {count} tenants in the snapshot"))
    return rows, changes


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench start",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--put", type=int, default=500)
    arguments = parser.parse_args()
    rows, changes = starts(arguments.tenants, new=arguments.put)
    print("| start | first check after | CPU time | slowest check then | memory: all, its own |")
    print("|---|---|---|---|---|")
    print("\n".join((*rows, "", *changes, f"load average {os.getloadavg()[0]:.1f}")))


if __name__ == "__main__":
    main()
