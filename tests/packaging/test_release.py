"""What a release consists of, made from a clone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from gateway import __version__

ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With this checkout's virtual environments."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    run("scripts/venv", "release", cwd=ROOT)
    folder = tmp_path_factory.mktemp("release") / "clone"
    run("git", "clone", "--quiet", str(ROOT), str(folder), cwd=ROOT)
    for name in (".venv", ".venv-release"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_a_release_has_what_it_says_and_takes_its_times_from_the_commit(
    clone: Path, tmp_path: Path
) -> None:
    run("scripts/release", "build", str(tmp_path), cwd=clone, TZ="Pacific/Chatham")
    lines = (tmp_path / "SHA256SUMS").read_text("utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {path.name: path for path in tmp_path.iterdir() if path.name != "SHA256SUMS"}
    assert {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in files.items()} == sums
    (wheel,) = (path for name, path in files.items() if name.endswith(".whl"))
    (sdist,) = (path for name, path in files.items() if name.endswith(".tar.gz"))
    committed = int(run("git", "log", "-1", "--format=%ct", cwd=clone))
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        times = {info.date_time for info in archive.infolist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gateway", "gateway_demo"}
    moment = datetime.fromtimestamp(committed, UTC)
    second = moment.second - moment.second % 2
    assert times == {(*moment.timetuple()[:5], second)}, "zip knows even seconds"
    with tarfile.open(sdist) as source:
        assert {member.mtime for member in source} == {committed}
        unpacked = {name.partition("/")[2] for name in source.getnames()}
    # deploy/install runs in it as in a checkout.
    units = (clone / "deploy" / "systemd").iterdir()
    assert {
        *("deploy/install", *(f"deploy/systemd/{unit.name}" for unit in units)),
        *(f"requirements/{lock}.txt" for lock in ("installer", "build", "runtime", "auth")),
        *("pyproject.toml", "README.md", "LICENSE", "gateway/__init__.py", "Dockerfile"),
    } <= unpacked
    (chart,) = (path for name, path in files.items() if name.endswith(".tgz"))
    with tarfile.open(chart) as packed:
        members = packed.getmembers()
        described = packed.extractfile("cognito-gateway/Chart.yaml")
        assert described is not None
        version = yaml.safe_load(described)["version"]
    assert chart.name == f"cognito-gateway-{version}.tgz" and version in wheel.name
    assert {(member.mtime, member.uid, member.gid) for member in members} == {(committed, 0, 0)}
    assert {oct(member.mode) for member in members} == {"0o644", "0o755"}
    names = [member.name for member in members if member.isfile()]
    helm = clone / "deploy" / "helm"
    there = [path for path in (helm / "cognito-gateway").rglob("*") if path.is_file()]
    assert set(names) == {str(path.relative_to(helm)) for path in there}
    for lock in ("runtime", "auth"):
        (listed,) = (path for name, path in files.items() if name.endswith(f"-{lock}.cdx.json"))
        bill = json.loads(listed.read_text("utf-8"))
        assert bill["bomFormat"] == "CycloneDX"
        locked = re.findall(
            r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)",
            (clone / "requirements" / f"{lock}.txt").read_text("utf-8"),
            re.MULTILINE,
        )
        found = {(part["name"], part["version"]) for part in bill["components"]}
        vendored = json.loads((clone / "gateway/console/static/htmx/source.json").read_text())
        assert found == {*locked, (vendored["name"], vendored["version"])}


def test_a_tree_with_changes_is_not_released(clone: Path, tmp_path: Path) -> None:
    (clone / "more.txt").write_text("not committed")
    done = subprocess.run(
        ["scripts/release", "build", str(tmp_path)],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    (clone / "more.txt").unlink()
    assert done.returncode == 2 and "commit first" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_version_without_an_entry_in_the_changelog_is_not_tagged(clone: Path) -> None:
    done = subprocess.run(
        ["scripts/release", "tag"], cwd=clone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "CHANGELOG.md has no heading" in done.stderr
    assert run("git", "tag", cwd=clone) == ""


@pytest.mark.parametrize("failing", ["check", "test"])
def test_what_a_check_refuses_is_not_tagged(clone: Path, failing: str) -> None:
    for name in ("check", "test"):
        status = 7 if name == failing else 0
        (clone / "scripts" / name).write_text(f"#!/bin/sh\nexit {status}\n", "utf-8")
    version = re.findall(
        r'^__version__ = "(.*)"$', (clone / "gateway/__init__.py").read_text(), re.MULTILINE
    )[0]
    with (clone / "CHANGELOG.md").open("a") as changelog:
        changelog.write(f"\n## {version} (2026-01-01)\n")
    done = subprocess.run(
        ["scripts/release", "tag"], cwd=clone, capture_output=True, text=True, check=False
    )
    run("git", "checkout", "--quiet", ".", cwd=clone)
    assert done.returncode == 7, done.stderr
    assert run("git", "tag", cwd=clone) == ""


def test_no_file_that_a_tool_leaves_is_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = run("git", "ls-files", "--cached", "--ignored", "--exclude-standard", cwd=ROOT)
    assert tracked == ""
    named = run("git", "ls-files", "*.bak", "*.orig", "*.rej", ".dmypy.json", cwd=ROOT)
    assert named == ""


def test_a_tag_of_another_version_is_no_release() -> None:
    assert run("scripts/release", "version", f"v{__version__}", cwd=ROOT) == (
        f"version={__version__}"
    )
    for tag in (__version__, f"v{__version__}1", ""):
        done = subprocess.run(
            ["scripts/release", "version", tag], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode == 2 and done.stdout == b"", tag
    chart = yaml.safe_load((ROOT / "deploy/helm/cognito-gateway/Chart.yaml").read_text("utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_a_release_names_the_digest_of_its_base(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    digest = "sha256:" + "0a" * 32
    for answer, said in ((digest, f"python=3.11-slim-bookworm@{digest}\n"), ("no such tag", "")):
        docker.write_text(f'#!/bin/sh\necho "$*" >"$0.asked"\necho "{answer}"\n', "utf-8")
        docker.chmod(0o755)
        done = subprocess.run(
            ["scripts/release", "base"],
            cwd=ROOT,
            env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.returncode == 0) == (said, bool(said)), done.stderr
        asked = Path(f"{docker}.asked").read_text("utf-8").split()
        assert "python:3.11-slim-bookworm" in asked and "imagetools" in asked


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=str)
def test_a_workflow_runs_scripts_of_this_repository(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    commands = [step["run"].split()[0] for step in steps if "run" in step]
    assert commands
    for command in commands:
        assert command == "gh" or os.access(ROOT / command, os.X_OK), command
    assert all("@v" in step["uses"] for step in steps if "uses" in step)


def test_what_is_scheduled_is_what_soak_offers() -> None:
    path = ROOT / ".github" / "workflows" / "scheduled.yml"
    matrix = yaml.safe_load(path.read_text("utf-8"))["jobs"]["soak"]["strategy"]["matrix"]
    offered = (ROOT / "scripts" / "soak").read_text("utf-8")
    for command in matrix["command"]:
        name = command.split()[0]
        assert re.search(rf"^\s*(?:\w+\|)*{name}(?:\|\w+)*\)", offered, re.MULTILINE), name
