"""Writes the dashboards of deploy/grafana from panels.yaml there.

``python -m tests.docs.dashboards`` writes; ``test_dashboards`` fails while a committed file
differs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "grafana"
SCOPE: Final = 'job=~"$job",instance=~"$instance"'
SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
SCHEMA_VERSION: Final = 39
"""Of Grafana 11; later ones upgrade it when they load it."""
STATS_IN_A_ROW, GRAPHS_IN_A_ROW = 4, 2
STAT_ROWS, GRAPH_ROWS, COLUMNS = 4, 8, 24
"""Heights and width in Grafana's grid."""


def specified() -> list[dict[str, Any]]:
    """The dashboards of panels.yaml."""
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / "panels.yaml").read_text("utf-8"))
    return found


def query_of(panel: dict[str, Any]) -> str:
    return str(panel["query"]).replace("$scope", SCOPE)


def dashboards() -> Iterator[tuple[str, str]]:
    """Each file's name and text."""
    for board in specified():
        text = json.dumps(_dashboard(board), indent=2, ensure_ascii=False)
        yield f"{board['uid']}.json", text + "\n"


def _dashboard(board: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": board["uid"],
        "title": board["title"],
        "description": board["description"],
        "tags": ["gateway"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "links": [
            {
                "type": "dashboards",
                "title": "Gateway",
                "tags": ["gateway"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": list(_variables(board))},
        "panels": list(_panels(board["panels"])),
    }


def _variables(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    of_tenants = any("$tenant" in panel["query"] for panel in board["panels"])
    yield {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    for name, label, query in (
        ("job", "Job", "label_values(gateway_build_info, job)"),
        ("instance", "Replica", 'label_values(gateway_build_info{job=~"$job"}, instance)'),
        ("tenant", "Tenant", 'label_values(gateway_checks_total{job=~"$job"}, tenant)'),
    ):
        if name == "tenant" and not of_tenants:
            continue
        yield {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
            "sort": 1,
        }


def _panels(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    stats = [panel for panel in panels if panel.get("kind") == "stat"]
    graphs = [panel for panel in panels if panel.get("kind") != "stat"]
    top = 0
    for group, in_a_row, height in (
        (stats, STATS_IN_A_ROW, STAT_ROWS),
        (graphs, GRAPHS_IN_A_ROW, GRAPH_ROWS),
    ):
        for number, panel in enumerate(group):
            row, column = divmod(number, in_a_row)
            width = COLUMNS // min(in_a_row, len(group) - row * in_a_row)
            place = {"x": column * width, "y": top + row * height, "w": width, "h": height}
            yield _panel(panel, len(stats) * (group is graphs) + number + 1, place)
        top += -(-len(group) // in_a_row) * height


def _panel(panel: dict[str, Any], number: int, place: dict[str, int]) -> dict[str, Any]:
    is_stat = panel.get("kind") == "stat"
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if "alarm" in panel:
        steps.append({"color": "red", "value": panel["alarm"]})
    defaults: dict[str, Any] = {
        "unit": panel.get("unit", "short"),
        **({} if panel.get("signed") else {"min": 0}),
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    options: dict[str, Any] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value" if "alarm" in panel else "none",
        "graphMode": "area",
    }
    if not is_stat:
        defaults["custom"] = {
            "drawStyle": "line",
            "fillOpacity": 20 if panel.get("stack") else 0,
            "stacking": {"mode": "normal" if panel.get("stack") else "none", "group": "A"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "id": number,
        "title": panel["title"],
        "type": "stat" if is_stat else "timeseries",
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "expr": query_of(panel),
                "legendFormat": panel.get("legend", ""),
                "range": True,
            }
        ],
    }


def main() -> None:
    for name, text in dashboards():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
