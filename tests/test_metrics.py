from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from gateway import metrics

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


def test_with_workers_one_scrape_shows_the_sum_and_no_state_of_the_dead(tmp_path: Path) -> None:
    """A gauge that a dead process left behind would hold an alert for as long as the others live;
    what it has counted has happened.
    """
    # The library chooses its storage when it is imported, so every worker is a process of its own
    # here as there.
    gauges = [name for name, value in vars(metrics).items() if isinstance(value, Gauge)]
    count = f"""
import os
from gateway import metrics
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
        if line and not line.startswith("#") and not line.endswith(" 0.0")
    ] == ['gateway_checks_total{decision="allow",dialect="nginx",reason="ok",tenant="acme"} 5.0']


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
        if not re.search(rf"\b{name}\.(?:labels|inc|set|observe)\b", source)
    ] == []
