"""Load by wrk, processor time of whoever answers, and rounds that alternate between what is
measured and its yardstick.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CONNECTIONS = 32
PATHS = 64
"""Different targets of one load, so that no memory of one request flatters the measure."""
CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPUS = {CPUS[0]}
LOAD_CPUS = set(CPUS[1:]) or SERVER_CPUS
_IDLE_S = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")
_SCRIPT = """
local text, n, requests = %(text)s, 0, {}
function init(args)
  for i = 1, %(paths)d do requests[i] = (string.gsub(text, "@NUMBER@", i)) end
end
function request() n = n %% #requests + 1; return requests[n] end
%(delay)s
function done(summary, latency)
  io.write(string.format("P %%f %%f %%d\\n",
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.requests))
end
"""


@dataclass(frozen=True, slots=True)
class Target:
    """``url`` is HTTP. ``headers`` and the path may hold ``@NUMBER@``. ``pids``: whose processor
    time is counted, with their children.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk. Latencies in milliseconds; processor time in microseconds a request, less
    what the same processes use while nobody asks; 0 where it is not known.
    """

    per_second: float
    p50: float
    p99: float
    cpu_us: float
    wrong: int


@dataclass(frozen=True, slots=True)
class Row:
    """Rounds of one comparison. ``value``: of two loads the number that the goal is about."""

    name: str
    goal: str
    measured: tuple[Load, ...]
    yardstick: tuple[Load, ...]
    ratios: tuple[float, ...]

    def summary(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "goal": self.goal,
            "ratio": round(statistics.median(self.ratios), 3),
            "min": round(min(self.ratios), 3),
            "max": round(max(self.ratios), 3),
            "measured": _median(self.measured),
            "yardstick": _median(self.yardstick),
        }

    def show(self) -> None:
        said = self.summary()
        print(f"{self.name}\n  ratio {said['ratio']:.3f} (min {said['min']:.3f}, max ", end="")
        print(f"{said['max']:.3f}, {len(self.ratios)} rounds; goal {self.goal})")
        for label in ("measured", "yardstick"):
            load = said[label]
            print(
                f"  {label:9} {load['per_second']:9.0f}/s  p50 {load['p50']:.2f}  "
                f"p99 {load['p99']:.2f} ms  {load['cpu_us']:.1f} µs of processor time a request"
                + (f"  WRONG ANSWERS: {load['wrong']:.0f}" if load["wrong"] else ""),
                flush=True,
            )


def _median(loads: Sequence[Load]) -> dict[str, float]:
    rows = [asdict(load) for load in loads]
    found = {name: round(statistics.median([row[name] for row in rows]), 3) for name in rows[0]}
    return {**found, "wrong": sum(load.wrong for load in loads)}


def rate(measured: Load, yardstick: Load) -> float:
    return measured.per_second / yardstick.per_second


def p99(measured: Load, yardstick: Load) -> float:
    return measured.p99 / yardstick.p99


def compare(
    name: str,
    measured: Callable[[], Load],
    yardstick: Callable[[], Load],
    *,
    goal: str,
    rounds: int,
    ratio: Callable[[Load, Load], float] = rate,
) -> Row:
    loads, yardsticks = [], []
    for _ in range(rounds):
        loads.append(measured())
        yardsticks.append(yardstick())
    ratios = tuple(ratio(m, y) for m, y in zip(loads, yardsticks, strict=True))
    row = Row(name, goal, tuple(loads), tuple(yardsticks), ratios)
    row.show()
    return row


def load(
    target: Target,
    seconds: int,
    *,
    connections: int = CONNECTIONS,
    per_second: float | None = None,
) -> Load:
    """``per_second``: about so many, instead of as many as there can be."""
    base, _, path = target.url.partition("://")[2].partition("/")
    delay = ""
    if per_second is not None:
        # Each connection thinks between two requests, for times that spread evenly around a mean.
        mean = max(connections / per_second * 1000, 2)
        delay = f"function delay() return math.random(1, {round(2 * mean)}) end"
    script = _SCRIPT % {
        "text": json.dumps(_request(f"/{path}", {"Host": base, **target.headers})),
        "paths": PATHS,
        "delay": delay,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        idle = idle_share(target.pids)
        before, began = cpu_seconds(target.pids), time.monotonic()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", file.name, target.url]
        said = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 30,
            preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CPUS),
        ).stdout
        used = cpu_seconds(target.pids) - before - idle * (time.monotonic() - began)
    found = re.search(r"^P ([\d.]+) ([\d.]+) (\d+)$", said, re.MULTILINE)
    speed = re.search(r"Requests/sec:\s+([\d.]+)", said)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    assert found and speed, said
    return Load(
        float(speed[1]),
        float(found[1]),
        float(found[2]),
        max(used, 0.0) / max(int(found[3]), 1) * 1e6,
        int(wrong[1]) if wrong else 0,
    )


def _request(path: str, headers: Mapping[str, str]) -> str:
    """In this order, as a proxy sends it: a table of Lua has none."""
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""])


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split():
            yield from family(int(child))


def cpu_seconds(pids: Sequence[int]) -> float:
    """Of these processes and all below them, so far."""
    return sum(own_seconds(pid) for first in pids for pid in family(first))


def own_seconds(pid: int) -> float:
    """Of one process; 0 where it has ended."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


_IDLE: dict[tuple[int, ...], float] = {}


def idle_share(pids: tuple[int, ...]) -> float:
    """Of a processor, what they use while nobody asks: looked at once."""
    if pids not in _IDLE:
        before = cpu_seconds(pids)
        time.sleep(_IDLE_S)
        _IDLE[pids] = (cpu_seconds(pids) - before) / _IDLE_S
    return _IDLE[pids]


def pin(pids: Sequence[int], cpus: set[int]) -> None:
    """All threads of these processes, and of those below them."""
    for pid in (one for first in pids for one in family(first)):
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cpus)
