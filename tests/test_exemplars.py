"""Exemplars of several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway import exemplars
from gateway.exemplars import RECORD_BYTES, ExemplarFiles

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = """
import os, sys
from gateway import metrics
from gateway.metrics import LOGIN_DURATION, REVOCATION_DURATION, observe
pids = []
for number in (1, 2):
    pid = os.fork()
    if not pid:
        trace = {"trace_id": str(number) * 32, "span_id": str(number) * 16}
        observe(REVOCATION_DURATION.labels("api"), 0.004, trace)
        observe(LOGIN_DURATION, number / 10, trace)
        observe(LOGIN_DURATION, 100.0, None)
        os._exit(0)
    os.waitpid(pid, 0)
    pids.append(pid)
print(metrics.scrape(metrics.OPENMETRICS)[0].decode())
print("=====")
print(metrics.scrape()[0].decode())
print("=====")
metrics.worker_died(pids[1])
print(metrics.scrape(metrics.OPENMETRICS)[0].decode())
"""


def traces(exposition: str) -> dict[tuple[str, ...], str]:
    return {
        (sample.name, *sorted(sample.labels.values())): sample.exemplar.labels["trace_id"][0]
        for family in text_string_to_metric_families(exposition)  # type: ignore[no-untyped-call]  # the library leaves it untyped
        for sample in family.samples
        if sample.exemplar is not None
    }


def test_with_workers_a_bucket_has_the_newest_trace_of_all_that_live(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", WORKERS],
        env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    both, plain, left = (part.strip() + "\n" for part in said.split("====="))
    login, revocation = (
        f"gateway_{name}_duration_seconds_bucket" for name in ("login", "revocation")
    )
    assert traces(both) == {
        (login, "0.1"): "1",
        (login, "0.25"): "2",
        (revocation, "0.005", "api"): "2",
    }
    assert "# {" not in plain and "trace_id" not in plain
    assert traces(left) == {(login, "0.1"): "1", (revocation, "0.005", "api"): "1"}


@pytest.fixture
def histogram() -> Histogram:
    return Histogram("seconds", "Of a test.", registry=CollectorRegistry(), buckets=(1, 2))


def test_what_is_half_written_is_passed_over(tmp_path: Path, histogram: Histogram) -> None:
    kept = ExemplarFiles(tmp_path)
    kept.keep(histogram, 0.5, {"trace_id": "a"})
    kept.keep(histogram, 1.5, {"trace_id": "b"})
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    content = bytearray(path.read_bytes())
    assert len(content) == 2 * RECORD_BYTES
    content[20] ^= 1
    path.write_bytes(content + b"\x01\x02\x03\x04\xff\xff{")
    (found,) = kept.newest().values()
    assert (found.labels, found.value) == ({"trace_id": "b"}, 1.5)


def test_files_are_bounded_and_a_full_disk_harms_nobody(
    tmp_path: Path, histogram: Histogram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exemplars, "MOST_RECORDS", 1)
    kept = ExemplarFiles(tmp_path)
    kept.keep(histogram, 0.5, {"trace_id": "a" * RECORD_BYTES})
    assert kept.newest() == {}
    kept.keep(histogram, 0.5, {"trace_id": "a"})
    kept.keep(histogram, 1.5, {"trace_id": "b"})
    kept.keep(histogram, 0.6, {"trace_id": "c"})
    assert [one.labels["trace_id"] for one in kept.newest().values()] == ["c"]
    kept.forget(os.getpid())
    kept.forget(os.getpid())
    assert kept.newest() == {}
    ExemplarFiles(tmp_path / "gone").keep(histogram, 0.5, {"trace_id": "a"})
