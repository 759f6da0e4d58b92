from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from gateway import __version__, metrics

GATEWAY = Path(metrics.__file__).parent


@pytest.fixture(autouse=True)
def _fresh_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_tenant_labels", set[str]())
    monkeypatch.setattr(metrics, "_provider_labels", set[tuple[str, str]]())


def test_tenants_beyond_the_cap_share_a_label_and_earlier_ones_keep_theirs() -> None:
    labels = [metrics.tenant_label(f"t{n}") for n in range(metrics.MAX_TENANT_LABELS + 5)]
    assert labels[: metrics.MAX_TENANT_LABELS] == [
        f"t{n}" for n in range(metrics.MAX_TENANT_LABELS)
    ]
    assert set(labels[metrics.MAX_TENANT_LABELS :]) == {"other"}
    assert metrics.tenant_label("t0") == "t0"


def test_providers_do_not_undo_the_cap_on_tenants() -> None:
    """20,000 series were one login each of 20,000 tenants, or one tenant's providers under new
    names.
    """
    many = {metrics.provider_labels(f"t{n}", f"t{n}-okta") for n in range(20_000)}
    assert len(many) == metrics.MAX_TENANT_LABELS + 1
    assert ("other", "other") in many
    renamed = {metrics.provider_labels("t0", f"okta-{n}") for n in range(20_000)}
    assert len(many | renamed) <= metrics.MAX_PROVIDER_LABELS + 2
    assert metrics.provider_labels("t0", "t0-okta") == ("t0", "t0-okta")


def test_no_metric_takes_a_providers_name_uncapped() -> None:
    """Whatever has the label gets it from ``provider_labels``."""
    objects = {
        name: value
        for name, value in vars(metrics).items()
        if isinstance(value, Counter | Gauge | Histogram)
    }
    for name, value in objects.items():
        if "provider" in value._labelnames:
            for path in GATEWAY.rglob("*.py"):
                for call in re.findall(rf"\b{name}\.labels\(([^\n]*)", path.read_text("utf-8")):
                    assert call.startswith(
                        (
                            "*provider_labels(",
                            "*capped)",
                            'tenant_label(browser.tenant.id) if browser.tenant else "", "", ',
                        )
                    ), (path.name, call)


def test_a_scrape_is_what_prometheus_reads() -> None:
    metrics.CHECKS.labels(tenant="acme", dialect="nginx", decision="allow", reason="ok").inc()
    body, content_type = metrics.scrape()
    assert content_type.startswith("text/plain")
    assert (
        b'gateway_checks_total{decision="allow",dialect="nginx",reason="ok",tenant="acme"}' in body
    )
    build = f'python="{platform.python_version()}",role="",version="{__version__}"'
    assert f"gateway_build_info{{{build}}} 1.0" in body.decode()
    assert {name.partition(b" ")[0] for name in body.splitlines() if name[:8] == b"process_"} == {
        b"process_cpu_seconds_total",
        b"process_max_fds",
        b"process_open_fds",
        b"process_resident_memory_bytes",
        b"process_start_time_seconds",
        b"process_virtual_memory_bytes",
    }


def test_with_workers_one_scrape_shows_the_sum_and_no_state_of_the_dead(tmp_path: Path) -> None:
    """A gauge that a dead process left behind would hold an alert for as long as the others live;
    what it has counted has happened.
    """
    # The library chooses its storage when it is imported, so every worker is a process of its own
    # here as there.
    gauges = [name for name, value in vars(metrics).items() if isinstance(value, Gauge)]
    count = f"""
import os
from gateway import __version__, metrics
metrics.CHECKS.labels("acme", "nginx", "allow", "ok").inc({{number}})
for name in {gauges}:
    gauge = getattr(metrics, name)
    (gauge.labels(*gauge._labelnames) if gauge._labelnames else gauge).set({{number}})
print(os.getpid())
"""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def told(code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    pids = [int(told(count.format(number=number))) for number in (2, 3)]
    scraped = "from gateway import metrics; {} print(metrics.scrape()[0].decode())"
    shown = told(scraped.format(""))
    assert (
        'gateway_checks_total{decision="allow",dialect="nginx",reason="ok",tenant="acme"} 5.0'
        in shown
    )
    assert "gateway_tenants 3.0" in shown
    left = told(scraped.format("".join(f"metrics.worker_died({pid});" for pid in pids)))
    assert [
        line
        for line in left.splitlines()
        if line
        and not line.startswith(("#", "process_", "gateway_build_info"))
        and not line.endswith(" 0.0")
    ] == ['gateway_checks_total{decision="allow",dialect="nginx",reason="ok",tenant="acme"} 5.0']


def write_process(proc: Path, pid: int, *, parent: int, ticks: int, reaped: int, fds: int) -> None:
    """What of proc(5) is read: ``ticks`` of its own, ``reaped`` of children it waited for."""
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    for number in range(fds):
        (folder / "fd" / str(number)).touch()
    (folder / "limits").write_text("Max open files            4096     4096     files\n", "utf-8")
    head = f"{pid} (a ) name) S {parent} 0 0 0 0 0 0 0 0 0 {ticks} 0 {reaped} 0 0 0 0 0"
    (folder / "stat").write_text(f"{head} {100 * pid} 1000000 10", "utf-8")


def test_the_process_metrics_are_those_of_all_workers_and_never_of_strangers(
    tmp_path: Path,
) -> None:
    """Standard dashboards and alerts (restarts, memory, descriptors) read one series of each."""
    proc, folder = tmp_path / "proc", tmp_path / "metrics"
    folder.mkdir()
    proc.mkdir()
    (proc / "stat").write_text("btime 1000\n", "utf-8")
    write_process(proc, 1, parent=0, ticks=100, reaped=50, fds=3)
    for pid, ticks, fds in ((2, 300, 5), (3, 400, 7)):
        write_process(proc, pid, parent=1, ticks=ticks, reaped=0, fds=fds)
        (folder / f"counter_{pid}.db").touch()
    write_process(proc, 4, parent=1, ticks=10_000, reaped=0, fds=50)  # the embedded store
    write_process(proc, 5, parent=9, ticks=10_000, reaped=0, fds=50)  # a dead worker's number
    (folder / "gauge_livesum_5.db").touch()
    (folder / "counter_6.db").touch()
    processes = metrics.Processes(1, folder, proc=proc)

    def read() -> dict[str, float]:
        return {one.name: one.value for metric in processes.collect() for one in metric.samples}

    hz, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    assert read() == {
        "process_cpu_seconds_total": 850 / hz,
        "process_resident_memory_bytes": 30 * page,
        "process_virtual_memory_bytes": 3_000_000,
        "process_start_time_seconds": 1000 + 100 / hz,
        "process_open_fds": 7,
        "process_max_fds": 4096,
    }
    shutil.rmtree(proc / "2")
    assert read()["process_cpu_seconds_total"] == 850 / hz, "not yet among what was waited for"
    shutil.rmtree(proc / "1")
    write_process(proc, 1, parent=0, ticks=100, reaped=350, fds=3)
    assert read()["process_cpu_seconds_total"] == 850 / hz
    alone = metrics.Processes(3, None, proc=proc)
    assert next(m for m in alone.collect() if m.name == "process_open_fds").samples[0].value == 7


def test_every_metric_is_counted_by_somebody() -> None:
    """A name that a dashboard asks for and nobody ever counts reads as "all is well"."""
    source = "".join(
        path.read_text("utf-8") for path in GATEWAY.rglob("*.py") if path.name != "metrics.py"
    )
    objects = [
        name
        for name, value in vars(metrics).items()
        if isinstance(value, Counter | Gauge | Histogram)
    ]
    assert len(objects) > 15
    assert [
        name
        for name in objects
        if not re.search(rf"\b{name}\.(?:labels|inc|set|observe)\b|observe\({name},", source)
    ] == []
