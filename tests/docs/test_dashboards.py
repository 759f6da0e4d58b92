"""The dashboards of deploy/grafana ask for what the gateway exposes."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from gateway import metrics
from tests.docs.dashboards import FOLDER, dashboards, query_of, specified
from tests.runtime.alerts import PROMTOOL

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIXES: dict[type, tuple[str, ...]] = {
    Counter: ("_total",),
    Gauge: ("",),
    Histogram: ("_bucket", "_count", "_sum"),
}
_TARGET = {"job", "instance"}
"""Labels that Prometheus adds."""
_PROCESS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
}


def series() -> dict[str, set[str]]:
    """Names of series and their labels."""
    found: dict[str, set[str]] = {"gateway_build_info": {"version", "python", "role"}}
    found |= {name: set() for name in _PROCESS}
    for metric in vars(metrics).values():
        for kind, suffixes in _SUFFIXES.items():
            if isinstance(metric, kind):
                labels = set(metric._labelnames)  # type: ignore[attr-defined]  # the library names no public way
                labels |= {"le"} if kind is Histogram else set()
                found |= {metric._name + suffix: labels for suffix in suffixes}  # type: ignore[attr-defined]  # as above
    return found


PANELS = [(board["uid"], panel) for board in specified() for panel in board["panels"]]


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\b(?:gateway|process)_\w+", query))


@pytest.mark.parametrize(
    "panel", [pytest.param(panel, id=f"{uid}: {panel['title']}") for uid, panel in PANELS]
)
def test_a_query_names_series_and_labels_that_are_exposed(panel: dict[str, Any]) -> None:
    query, known = query_of(panel), series()
    names = names_in(query)
    assert names and names <= known.keys()
    has = _TARGET.union(*(known[name] for name in names))
    grouped = re.findall(r"by \(([^)]*)\)", query)
    matched = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query)
    assert {label for group in grouped for label in group.split(", ")} | set(matched) <= has
    shown = set(re.findall(r"{{(\w+)}}", panel.get("legend", "")))
    summed = re.search(r"\b(?:sum|max|min|count)\b", query)
    assert shown <= ({label for group in grouped for label in group.split(", ")} if summed else has)


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for board in specified()
        for panel in board["panels"]
        for name in names_in(query_of(panel))
    }
    exposed = {re.sub(r"_(bucket|count|sum)$", "", name) for name in series()}
    assert exposed - shown == set()


def test_the_dashboards_are_those_that_the_panels_say() -> None:
    """``scripts/reference`` writes them."""
    written = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert written == dict(dashboards())


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    for _, text in dashboards():
        board = json.loads(text)
        panels = board["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < 24
        variables = {variable["name"] for variable in board["templating"]["list"]}
        assert set(re.findall(r"\$(?!__)\{?(\w+)", text)) == variables


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    """As recording rules; Grafana's own variables have a value there."""
    assert PROMTOOL is not None
    rules = [
        {
            "record": f"panel:{number}",
            "expr": re.sub(r"\$__(rate_interval|range)", "5m", query_of(panel)),
        }
        for number, (_, panel) in enumerate(PANELS)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    done = subprocess.run(
        [PROMTOOL, "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(PANELS)} rules found" in done.stdout
