"""Versions of the documentation site beside each other, as ``scripts/site deploy`` puts them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MADE = ROOT / ".venv-docs" / "bin" / "mike"
SMALL = """\
site_name: small
docs_dir: docs
site_dir: build/site
use_directory_urls: false
theme: {name: material, font: false, custom_dir: docs/site/theme}
exclude_docs: site/
"""


def settings() -> dict[str, object]:
    class Loader(yaml.SafeLoader):
        """Tags as nothing: only what is written plainly is compared."""

    Loader.add_multi_constructor("", lambda _loader, _suffix, _node: None)
    document: dict[str, object] = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader=Loader)
    return document


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one page, the site's own script, theme, selector and plugins."""
    ours = settings()
    kept = {name: ours[name] for name in ("extra", "plugins")}
    for folder in ("scripts", "docs/site/theme", "gateway"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "mkdocs.yml").write_text(SMALL + yaml.safe_dump(kept))
    (tmp_path / "scripts" / "site").write_text((ROOT / "scripts" / "site").read_text("utf-8"))
    (tmp_path / "scripts" / "venv").write_text("#!/bin/sh\n")
    for script in ("site", "venv"):
        (tmp_path / "scripts" / script).chmod(0o755)
    theme = ROOT / "docs" / "site" / "theme" / "main.html"
    (tmp_path / "docs" / "site" / "theme" / "main.html").write_text(theme.read_text("utf-8"))
    (tmp_path / ".venv-docs").symlink_to(ROOT / ".venv-docs")
    (tmp_path / ".gitignore").write_text("/.venv-docs\n/build\n")
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "config", "user.name", "docs")
    git(tmp_path, "config", "user.email", "docs@example.com")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def release(folder: Path, version: str, *arguments: str) -> None:
    (folder / "gateway" / "__init__.py").write_text(f'__version__ = "{version}"\n')
    (folder / "docs" / "index.md").write_text(f"# Documentation of {version}\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", version)
    done = subprocess.run(
        ["scripts/site", "deploy", *arguments],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def published(folder: Path) -> dict[str, list[str]]:
    entries = json.loads(git(folder, "show", "gh-pages:versions.json"))
    return {f"{entry['version']} {entry['title']}": entry["aliases"] for entry in entries}


@pytest.mark.skipif(not MADE.exists(), reason="scripts/venv docs has not been run")
def test_a_release_stands_beside_the_others_and_the_highest_is_the_latest(checkout: Path) -> None:
    origin = checkout / "build" / "origin"
    git(checkout, "init", "--quiet", "--bare", str(origin))
    git(checkout, "remote", "add", "origin", str(origin))
    release(checkout, "0.10.0", "--push")
    assert published(origin) == {"0.10 0.10.0": ["latest"]}
    # A runner has a clone of the main branch alone.
    git(checkout, "branch", "--quiet", "-D", "gh-pages")
    release(checkout, "0.9.1", "--push")
    assert published(origin) == {"0.10 0.10.0": ["latest"], "0.9 0.9.1": []}
    pages = {
        name: git(origin, "show", f"gh-pages:{name}")
        for name in ("0.9/index.html", "0.10/index.html", "latest", "index.html")
    }
    assert "Documentation of 0.9.1" in pages["0.9/index.html"]
    assert "Documentation of 0.10.0" in pages["0.10/index.html"]
    assert pages["latest"] == "0.10" and "latest/" in pages["index.html"]
    (config,) = re.findall(r'"version": ({[^}]*})', pages["0.9/index.html"])
    assert json.loads(config) == {"provider": "mike", "alias": True, "default": "latest"}
    assert '<a href="./../latest/index.html">' in pages["0.9/index.html"]


def test_a_release_publishes_its_documentation() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    job = workflow["jobs"]["site"]
    assert "scripts/site deploy --push" in [step.get("run") for step in job["steps"]]
    assert job["needs"] == "files" and job["permissions"] == {"contents": "write"}
