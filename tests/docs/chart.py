"""Writes what the Helm chart repeats of other files, and the Kustomize base from the chart.

``python -m tests.docs.chart`` writes; ``tests/packaging/test_chart.py`` fails while a committed
file differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import yaml

from tests.support.helm import ROOT, TEMPLATES, render, resources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE: Final = ROOT / "deploy" / "kustomize" / "base"
_HEAD = "{{- /* Written by scripts/reference from deploy/%s. */ -}}\n{{- if .Values.%s.enabled }}\n"
_NAME = '{{ template "gateway.name" . }}'
_LABELS = (
    "  labels: { {{- range $name, $value := .Values.%s.labels }}"
    '{{ printf "%%q" $name }}: {{ printf "%%q" $value }}, {{ end }}'
    '{{ template "gateway.chartLabels" . }}}\n'
)


def files() -> Iterator[tuple[Path, str]]:
    """Each file and its text."""
    yield TEMPLATES / "alerts.yaml", _alerts()
    yield TEMPLATES / "dashboards.yaml", _dashboards()
    yield from kustomize()


def _escaped(text: str) -> str:
    """As a template that renders to ``text``."""
    return text.replace("{{", '{{ "{{" }}')


def _indented(text: str, spaces: int) -> str:
    return "".join(" " * spaces + line for line in text.splitlines(keepends=True))


def _alerts() -> str:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))
    return (
        _HEAD % ("prometheus/alerts.yml", "prometheusRule")
        + "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n"
        + f"  name: {_NAME}\n"
        + _LABELS % "prometheusRule"
        + "spec:\n"
        + _indented(_escaped(yaml.safe_dump(rules, sort_keys=False, width=10_000)), 2)
        + "{{- end }}\n"
    )


def _dashboards() -> str:
    boards = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
    return (
        _HEAD % ("grafana", "dashboards")
        + "apiVersion: v1\nkind: ConfigMap\nmetadata:\n"
        + f"  name: {_NAME}-dashboards\n"
        + _LABELS % "dashboards"
        + "data:\n"
        + "".join(
            f"  {path.name}: |\n{_indented(_escaped(path.read_text('utf-8')), 4)}"
            for path in boards
        )
        + "{{- end }}\n"
    )


CLOSED: Final = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}},
}
"""Whom the base admits until an overlay names the ingress controller: pods of one namespace."""


def kustomize() -> Iterator[tuple[Path, str]]:
    """The chart with its defaults, as resources. ``gateway.yaml`` comes from the overlay."""
    found = resources(
        render({"config": {"cognito": {}}, "networkPolicy": {"ingressController": [CLOSED]}})
    )
    names = []
    for key, resource in found.items():
        if key in {"ConfigMap/gateway", "ConfigMap/gateway-tenants"}:
            continue
        for place in (resource, resource["spec"].get("template") if "spec" in resource else None):
            if place:
                _without_helm(place["metadata"])
        kind, _, name = key.partition("/")
        file = f"{kind.lower()}-{name}.yaml"
        names.append(file)
        yield BASE / file, yaml.safe_dump(resource, width=120)
    yield (
        BASE / "kustomization.yaml",
        "# Written by scripts/reference from the Helm chart with its default values.\n"
        + yaml.safe_dump(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "resources": sorted(names),
            },
            sort_keys=False,
        ),
    )


def _without_helm(metadata: dict[str, dict[str, str]]) -> None:
    for name in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
        metadata.get("labels", {}).pop(name, None)
    annotations = metadata.get("annotations", {})
    annotations.pop("cognito-gateway/configuration", None)
    if not annotations:
        metadata.pop("annotations", None)


if __name__ == "__main__":
    for _path, _text in files():
        _path.parent.mkdir(parents=True, exist_ok=True)
        _path.write_text(_text, "utf-8")
