"""What ``match`` and ``decide`` take, with twenty rules: the first, the last, one that compares
segments, and none.

    python -m tests.bench.deciding

The best of several rounds: everything above it is the machine's other work. The target is 2 µs.
"""

from __future__ import annotations

import os
import timeit
from functools import partial
from typing import TYPE_CHECKING

from gateway.core.decide import decide, match
from tests.core.build import NOW, request, rule, session, tenant

if TYPE_CHECKING:
    from gateway.core.model import AuthRequest, Session, Tenant

CALLS = 20_000
ROUNDS = 9


def measured() -> dict[str, float]:
    """Microseconds, by what is asked for."""
    rules = [rule(f"/t1/public/{n}/**", public=True) for n in range(5)]
    rules += [
        rule(f"/t1/area/{n}/**", methods=["GET", "POST"], groups=frozenset({"users", f"group-{n}"}))
        for n in range(14)
    ]
    at, signed_in = (
        tenant(rules=(*rules, rule("/t1/*/*.pdf", groups=frozenset({"users"})))),
        session(),
    )
    found = {}
    for name, path in {
        "first rule": "/t1/public/0/x",
        "last folder": "/t1/area/13/x/y",
        "a glob": "/t1/files/report.pdf",
        "no rule": "/nothing/at/all",
    }.items():
        found[name] = (
            min(
                timeit.repeat(
                    partial(_once, at, request(path), signed_in), number=CALLS, repeat=ROUNDS
                )
            )
            / CALLS
            * 1e6
        )
    return found


def _once(at: Tenant, asked: AuthRequest, signed_in: Session) -> None:
    decide(at, asked, match(at, asked), session=signed_in, machine=None, now=NOW)


def show() -> None:
    print(
        "match and decide with 20 rules: "
        f"{', '.join(f'{name} {took:.2f}' for name, took in measured().items())} µs"
    )


if __name__ == "__main__":
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    show()
