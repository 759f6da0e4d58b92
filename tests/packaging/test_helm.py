"""Helm on the chart, and kubectl on the Kustomize base: what ``test_chart.py`` looks at is what
these programs print.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.docs import chart
from tests.packaging.test_chart import MINIMAL, SETS, WRONG, parsed
from tests.support.helm import CHART, ROOT, resources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BIN = ROOT / ".venv-helm" / "bin"
pytestmark = pytest.mark.skipif(not BIN.exists(), reason="scripts/venv helm has not been run")


def run(
    home: Path, program: str, *arguments: str, **options: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        **options,
    )


def values_file(folder: Path, values: Mapping[str, Any]) -> str:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump({**values}), "utf-8")
    return str(path)


@pytest.mark.parametrize("name", SETS)
def test_helm_finds_nothing_wrong_with_the_chart(name: str, tmp_path: Path) -> None:
    file = values_file(tmp_path, SETS[name])
    done = run(tmp_path, "helm", "lint", "--strict", str(CHART), "-f", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout and "[ERROR]" not in done.stdout, done.stdout


@pytest.mark.parametrize("name", SETS)
def test_helm_renders_what_was_looked_at(name: str, tmp_path: Path) -> None:
    file = values_file(tmp_path, SETS[name])
    done = run(tmp_path, "helm", "template", "gateway", str(CHART), "-n", "gateway", "-f", file)
    assert done.returncode == 0, done.stderr
    printed = resources({"helm": done.stdout})
    if name == "monitored":
        boards = printed.pop("ConfigMap/gateway-dashboards")["data"]
        assert {board: json.loads(text) for board, text in boards.items()} == {
            path.name: json.loads(path.read_text("utf-8"))
            for path in (ROOT / "deploy" / "grafana").glob("*.json")
        }
        rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))
        assert printed.pop("PrometheusRule/gateway")["spec"] == rules
    golden = (ROOT / "tests" / "data" / "kubernetes" / "chart" / f"{name}.yaml").read_text("utf-8")
    assert {key: parsed(one) for key, one in printed.items()} == resources({"golden": golden})


def test_helm_installs_with_the_values_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operator" / "kubernetes.md").read_text("utf-8")
    (values,) = re.findall(r"```yaml\n# values\.yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "values.yaml").write_text(values, "utf-8")
    (command,) = re.findall(r"^helm (install gateway .*)$", page, re.MULTILINE)
    words = command.replace("deploy/helm/cognito-gateway", str(CHART)).split()
    done = run(tmp_path, "helm", *words, "--dry-run=client", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest, _, notes = done.stdout.partition("\nNOTES:\n")
    for listener in ("check", "public"):
        assert f"name: gateway-{listener}" in manifest
        assert f"--{listener} gateway-{listener}.gateway:" in notes
    assert "--pages" not in notes, "neither console nor setup links"
    assert "registry.example.com/cognito-gateway:0.9.0" in manifest


@pytest.mark.parametrize(("values", "said"), WRONG[::3])
def test_helm_refuses_values_that_the_schema_refuses(
    values: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = values_file(tmp_path, values)
    done = run(tmp_path, "helm", "template", "gateway", str(CHART), "-f", file)
    assert done.returncode != 0 and done.stdout == ""
    assert said.rpartition("/")[2] in done.stderr


def test_a_number_in_the_configuration_stays_a_number(tmp_path: Path) -> None:
    """Helm reads each number as a floating point number."""
    config = {**MINIMAL["config"], "session": {"max_sessions": 12345678, "share": 0.25}}
    file = values_file(tmp_path, {**MINIMAL, "config": config})
    done = run(tmp_path, "helm", "template", "gateway", str(CHART), "-f", file)
    assert done.returncode == 0, done.stderr
    text = resources({"helm": done.stdout})["ConfigMap/gateway"]["data"]["gateway.yaml"]
    assert yaml.safe_load(text)["session"] == config["session"]


def test_kubectl_builds_the_base(tmp_path: Path) -> None:
    done = run(tmp_path, "kubectl", "kustomize", str(chart.BASE))
    assert done.returncode == 0, done.stderr
    files = [yaml.safe_load(path.read_text("utf-8")) for path in chart.BASE.glob("*-*.yaml")]
    assert resources({"built": done.stdout}) == resources({"base": yaml.safe_dump_all(files)})


def test_kubectl_builds_the_overlay_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operator" / "kubernetes.md").read_text("utf-8")
    (overlay,) = re.findall(r"```yaml\n# kustomization\.yaml\n(.*?)```", page, re.DOTALL)
    folder = tmp_path / "overlay"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(overlay, "utf-8")
    (folder / "gateway.yaml").write_text(yaml.safe_dump({"login_host": "login.example.com"}))
    (folder / "acme.yaml").write_text(yaml.safe_dump({"id": "acme"}))
    (tmp_path / "base").symlink_to(chart.BASE)
    done = run(
        tmp_path, "kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(folder)
    )
    assert done.returncode == 0, done.stderr
    built = resources({"built": done.stdout})
    for key, resource in built.items():
        assert resource["metadata"]["namespace"] == "gateway", key
        if key.startswith("NetworkPolicy/"):
            (peer,) = resource["spec"]["ingress"][0]["from"]
            assert peer["namespaceSelector"]["matchLabels"] == {
                "kubernetes.io/metadata.name": "traefik"
            }
        if key.startswith("Deployment/"):
            spec = resource["spec"]["template"]["spec"]
            assert {one["image"] for one in spec["containers"]} == {
                "registry.example.com/cognito-gateway:0.9.0"
            }
            for volume in spec["volumes"]:
                if "configMap" in volume:
                    assert f"ConfigMap/{volume['configMap']['name']}" in built


def test_the_chart_of_a_release_is_one_that_helm_takes(tmp_path: Path) -> None:
    archive = tmp_path / "chart.tgz"
    subprocess.run(["tar", "-czf", archive, "-C", CHART.parent, CHART.name], check=True)
    done = run(tmp_path, "helm", "show", "chart", str(archive))
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    file = values_file(tmp_path, MINIMAL)
    done = run(tmp_path, "helm", "template", "gateway", str(archive), "-f", file)
    assert done.returncode == 0 and json.dumps(done.stdout), done.stderr
