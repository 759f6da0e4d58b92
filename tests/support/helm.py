"""The Helm chart, rendered by Go's ``text/template`` without Helm.

The chart uses what this engine has by itself (``templates/_helpers.tpl`` says why), so the text is
the one that ``helm template`` prints; ``tests/packaging/test_helm.py`` compares. What Helm does
beyond it is repeated here: values are merged over ``values.yaml`` and held to
``values.schema.json``, and each template is rendered with the names that all files define.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs
import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "cognito-gateway"
TEMPLATES: Final = CHART / "templates"
_SCRIPT = """
import sys
from go_template import render_template
render_template(*sys.argv[1:])
"""


class RefusedError(Exception):
    """The values do not fit ``values.schema.json``; Helm refuses them likewise."""


def merged(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` over ``values.yaml``: maps by key, ``None`` removes one, all else replaces."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    found: dict[str, Any] = _over(defaults, values)
    return found


def _over(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    both = {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}
    return {key: value for key, value in both.items() if value is not None}


def render(
    values: Mapping[str, Any], *, release: str = "gateway", namespace: str = "gateway"
) -> dict[str, str]:
    """File of the chart → its text, without files that render to nothing.

    Raises:
        RefusedError: as ``helm template`` would refuse.
    """
    complete = merged(values)
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    try:
        jsonschema_rs.validator_for(schema).validate(complete)
    except jsonschema_rs.ValidationError as error:
        where = "/".join(str(part) for part in error.instance_path)
        msg = f"{where}: {error.message}"
        raise RefusedError(msg) from None
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    data = {
        "Values": complete,
        "Release": {"Name": release, "Namespace": namespace, "Service": "Helm"},
        "Chart": {
            "Name": chart["name"],
            "Version": chart["version"],
            "AppVersion": chart["appVersion"],
        },
    }
    helpers = (TEMPLATES / "_helpers.tpl").read_text("utf-8")
    found: dict[str, str] = {}
    for path in sorted(TEMPLATES.iterdir()):
        if path.name != "_helpers.tpl":
            text = _engine(helpers.rstrip() + path.read_text("utf-8"), data)
            if text.strip():
                found[path.name] = text.lstrip("\n")
    return found


def resources(rendered: Mapping[str, str]) -> dict[str, Any]:
    """``Kind/name`` → the resource. Twice the same is a mistake."""
    found: dict[str, Any] = {}
    for name, text in rendered.items():
        if name == "NOTES.txt":
            continue
        for document in yaml.safe_load_all(text):
            if document is not None:
                key = f"{document['kind']}/{document['metadata']['name']}"
                assert key not in found, key
                found[key] = document
    return found


def _engine(template: str, data: Mapping[str, Any]) -> str:
    """In a process of its own: an engine that finds a mistake ends the process that it is in."""
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("template", "values.yaml", "output")]
        Path(files[0]).write_text(template, "utf-8")
        Path(files[1]).write_text(json.dumps(data), "utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, *files],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        if done.returncode or not Path(files[2]).exists():
            raise AssertionError(done.stdout + done.stderr)
        return Path(files[2]).read_text("utf-8")
