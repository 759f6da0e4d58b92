"""Everything that is said about speed, measured on this machine in one run.

    scripts/bench [all]                                  the whole table, in six minutes
    scripts/bench checks [--only ROW ...]                the check, as ratios to a bare protocol
    scripts/bench logins                                 logins, refreshes, revocations
    scripts/bench proxies                                each proxy, to itself without the gateway
    scripts/bench sessions                               a million sessions in the store, to one
    scripts/bench lists                                  the console's lists, to the admin API's
    scripts/bench pages [--visits 5]                     every page in Chromium: bytes, first paint
    scripts/bench profile check|login [--seconds 10]     where the time goes, by py-spy
    scripts/bench --compare URL --header 'Cookie: …'     another server beside the gateway
    scripts/bench --compare 'COMMAND …' --url URL        the same; starts it, and ends it

``--rounds`` and ``--seconds`` of each round; ``--json FILE``; ``--page`` writes the tables of
docs/operator/performance.md. Rows of ``checks``: alone, records, latency, nginx, unix, tenants,
workers. Needs wrk.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import platform
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from demo.processes import free_port
from tests.bench import lists, logins, proxies, sessions
from tests.bench.checks import ROWS, Bench, compare_other, launch, static
from tests.bench.load import Load, Row
from tests.bench.profile import SUBJECTS, profile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.logins import Cost
    from tests.bench.proxies import Proxied

PAGE: Final = Path(__file__).parents[2] / "docs" / "operator" / "performance.md"
PARTS: Final = ("checks", "logins", "proxies", "sessions", "lists")
LOGINS, REFRESHES, REVOCATIONS = 150, 80, 60
"""Of each round."""
MANY_SESSIONS: Final = 1_000_000


class Report:
    """What was measured, as far as it came."""

    def __init__(self) -> None:
        self.rows: Sequence[Row] = ()
        self.costs: list[Cost] = []
        self.proxies: list[Proxied] = []
        self.began = time.monotonic()
        self.load_average = os.getloadavg()[0]

    def document(self) -> dict[str, Any]:
        model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
        return {
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "machine": f"{model[1] if model else platform.machine()}, {os.cpu_count()} processors",
            "python": platform.python_version(),
            "load_average": round(self.load_average, 1),
            "took_s": round(time.monotonic() - self.began),
            "rows": [row.summary() for row in self.rows],
            "costs": [cost.summary() for cost in self.costs],
            "proxies": [proxied.summary() for proxied in self.proxies],
        }


def measure(parts: Sequence[str], bench: Bench, only: Sequence[str], report: Report) -> None:
    with contextlib.ExitStack() as stack:
        refreshes = None
        if "logins" in parts:
            # They are due in a minute: meanwhile the rest is measured.
            world = bench.running("refresh", logins.Refreshes.ENVIRONMENT)
            refreshes = logins.Refreshes(world, REFRESHES, bench.rounds)
            asyncio.run(refreshes.prepare())
        if "checks" in parts:
            for name in ROWS:
                if name in only:
                    getattr(bench, name)()
        if "logins" in parts:
            rounds = bench.rounds
            for name, world in (
                ("login, through login_host", bench.running("recording", {})),
                ("login, callback at the own host", bench.running("own", {}, central=False)),
            ):
                report.costs.append(asyncio.run(logins.login_cost(world, name, LOGINS, rounds)))
                report.costs[-1].show()
            report.costs.append(asyncio.run(logins.revocation_cost(world, REVOCATIONS, rounds)))
            report.costs[-1].show()
        if refreshes is not None:
            report.costs.append(asyncio.run(refreshes.measure()))
            report.costs[-1].show()
        if "proxies" in parts:
            app, gateway = free_port(), bench.recording()
            launch(stack, bench.folder / "app", static(app), app)
            report.proxies += proxies.measure(
                gateway, bench.folder / "proxies", app, seconds=bench.seconds, rounds=bench.rounds
            )
        if "sessions" in parts:
            bench.rows.append(sessions_row(bench.seconds))
            bench.rows[-1].show()
        if "lists" in parts:
            bench.rows += asyncio.run(lists.measure(bench.rounds))


def sessions_row(seconds: float) -> Row:
    one, many = asyncio.run(sessions.measure([1, MANY_SESSIONS], seconds))
    loads = [
        Load(1e6 / row["check_us_p50"], row["check_us_p50"] / 1e3, row["check_us_p99"] / 1e3, 0, 0)
        for row in (many, one)
    ]
    return Row(
        f"time of a check from the store, with {MANY_SESSIONS:,} sessions / with 1",
        "≤ 1.05",
        (loads[0],),
        (loads[1],),
        (many["check_us_p50"] / one["check_us_p50"],),
    )


# --- what is printed and written -----------------------------------------------------------------


_COST_HEAD: Final = (
    "| operation | per second and processor (min–max) | goal | CPU time: gateway, Redis, stand-ins "
    "| p50, p99 |"
)
_PROXY_HEAD: Final = (
    "| proxy with gateway / alone | ratio (min–max) | per second | CPU time | connections per "
    f"1,000 checks: 32 clients, {proxies.MANY_CONNECTIONS} clients |"
)


def tables(found: Mapping[str, Any]) -> str:
    """Markdown."""
    where = f"{found['date']}, {found['machine']}, Python {found['python']}"
    lines = [f"{where}, load average of other work {found['load_average']}."]
    if found["rows"]:
        lines += [
            "",
            "| measured / yardstick | ratio (min–max) | goal | per second | CPU time |",
            "|---|---|---|---|---|",
            *map(_row, found["rows"]),
        ]
    if found["costs"]:
        lines += [
            "",
            _COST_HEAD,
            "|---|---|---|---|---|",
            *map(_cost, found["costs"]),
        ]
    if found["proxies"]:
        lines += [
            "",
            _PROXY_HEAD,
            "|---|---|---|---|---|",
            *map(_proxied, found["proxies"]),
        ]
    return "\n".join(lines) + "\n"


def _ratio(row: Mapping[str, Any]) -> str:
    return f"{row['ratio']:.2f} ({row['min']:.2f}–{row['max']:.2f})"


def _rates(row: Mapping[str, Any]) -> str:
    return f"{row['measured']['per_second']:,.0f} / {row['yardstick']['per_second']:,.0f}"


def _cpu(row: Mapping[str, Any]) -> str:
    measured, yardstick = row["measured"]["cpu_us"], row["yardstick"]["cpu_us"]
    return f"{measured:.0f} / {yardstick:.0f} µs" if measured else "–"


def _row(row: Mapping[str, Any]) -> str:
    return f"| {row['name']} | {_ratio(row)} | {row['goal']} | {_rates(row)} | {_cpu(row)} |"


def _cost(cost: Mapping[str, Any]) -> str:
    ms = cost["ms"]
    remark = f"; {cost['remark']}" if cost["remark"] else ""
    return (
        f"| {cost['name']}{remark} | {cost['per_second_and_processor']} ({cost['min']}–"
        f"{cost['max']}) | {cost['goal']} | {ms['gateway']:.1f}, {ms['store']:.1f}, "
        f"{ms['stand-ins']:.1f} ms | {cost['p50']:.0f}, {cost['p99']:.0f} ms |"
    )


def _proxied(row: Mapping[str, Any]) -> str:
    few, many = row["opened_per_1000"]
    return (
        f"| {row['proxy']} | {_ratio(row)} | {_rates(row)} | {_cpu(row)} | {few:.0f}, {many:.0f} |"
    )


def write_page(found: Mapping[str, Any]) -> None:
    text = PAGE.read_text("utf-8")
    begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
    before, rest = text.split(begin, 1)
    PAGE.write_text(before + begin + tables(found) + end + rest.split(end, 1)[1], "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", default="all", choices=("all", *PARTS, "profile"))
    parser.add_argument("subject", nargs="?", choices=SUBJECTS, help="of a profile")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--compare", help="URL, or a command that serves --url")
    parser.add_argument("--url")
    parser.add_argument("--header", action="append", default=[])
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        bench = Bench(Path(folder), seconds=arguments.seconds, rounds=arguments.rounds)
        try:
            if arguments.compare:
                headers = dict(line.split(": ", 1) for line in arguments.header)
                compare_other(bench, arguments.compare, url=arguments.url, headers=headers)
            elif arguments.what == "profile":
                profile(bench, arguments.subject or SUBJECTS[0], seconds=arguments.seconds)
            else:
                parts = PARTS if arguments.what == "all" else (arguments.what,)
                measure(parts, bench, arguments.only, report)
        finally:
            report.rows = bench.rows
            bench.close()
    found = report.document()
    if report.rows or report.costs or report.proxies:
        print(f"\n{tables(found)}\n{found['took_s']} s; load average {found['load_average']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if arguments.page:
        write_page(found)


if __name__ == "__main__":
    main()
