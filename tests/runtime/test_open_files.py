from __future__ import annotations

import errno
import resource
import subprocess
import sys

import pytest

from gateway.runtime.open_files import MOST, WANTED, connection_limits, raise_limit


@pytest.mark.parametrize(
    ("hard", "expected"), [(300, 300), (WANTED + 10, WANTED), (WANTED - 1, WANTED - 1)]
)
def test_the_soft_limit_becomes_the_hard_one_as_far_as_it_helps(hard: int, expected: int) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("the machine's own limit is lower")
    script = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, {hard})); from "
        "gateway.runtime.open_files import raise_limit; print(raise_limit(), "
        "resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == f"{expected} ({expected}, {hard})"


def test_where_a_sandbox_forbids_more_the_shares_are_of_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", _forbidden)
    assert raise_limit() == 1024


def _forbidden(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("open_files", [64, 256, 512, 1024, 4096, 20_000, WANTED])
def test_all_listeners_together_leave_descriptors_for_everything_else(open_files: int) -> None:
    limits = connection_limits(open_files)
    assert sum(limits.values()) <= open_files - min(256, open_files // 2)
    assert limits["check"] >= max(limits.values())
    assert all(0 < limits[name] <= most for name, most in MOST.items())


def test_with_what_systems_permit_today_no_listener_is_short() -> None:
    assert connection_limits(20_000) == dict(MOST)
