"""Every lock installs as if a newer release of everything in it existed, with the pinned pip; what
operators install, also with the pip that came with Python.

No index is asked: each locked project is an empty wheel of the locked version with the real
project's requirements, beside an empty wheel of version 9999.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(path.name for path in REQUIREMENTS.glob("*.txt"))
BY_ANY_PIP = frozenset({"installer.txt", "runtime.txt", "auth.txt"})
"""What is installed with whatever pip is there: the pinned pip, and the product by its operators.
The image and ``scripts/venv`` install the others with the pinned one.
"""


def locked(text: str) -> list[Requirement]:
    lines = (
        line.partition("\\")[0].strip()
        for line in text.splitlines()
        if not line.startswith((" ", "#"))
    )
    return [Requirement(line) for line in lines if line]


@cache
def requires(name: str, version: str) -> list[str]:
    """What that version of a project requires, as far as it is installed here: for the product,
    its tests, the applications or the documentation site.
    """
    others = ROOT.glob(".venv-*/lib/python*/site-packages")
    environments = [[*sys.path], *([str(path)] for path in others)]
    for path in environments:
        for found in importlib.metadata.distributions(name=name, path=path):
            if found.version == version:
                return found.requires or []
    return []


def wheel(folder: Path, name: str, version: str, needs: list[str]) -> str:
    """An empty wheel; its SHA-256 in hexadecimal."""
    stem = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}"
    extras = sorted(
        {extra for need in needs for extra in re.findall(r"extra == ['\"]([^'\"]+)['\"]", need)}
    )
    files = {
        f"{stem}.dist-info/METADATA": "\n".join(
            [
                "Metadata-Version: 2.1",
                f"Name: {name}",
                f"Version: {version}",
                *(f"Provides-Extra: {e}" for e in extras),
                *(f"Requires-Dist: {n}" for n in needs),
                "",
            ]
        ),
        f"{stem}.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(
        (
            f"{path},sha256="
            f"{base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest()).rstrip(b'=').decode()}"
            f",{len(body.encode())}\n"
        )
        for path, body in files.items()
    )
    files[f"{stem}.dist-info/RECORD"] = record + f"{stem}.dist-info/RECORD,,\n"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, body in files.items():
            archive.writestr(inner, body)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def index(folder: Path, lock: str) -> str:
    """An index in which everything has a newer release, and the lock for it."""
    lines = []
    for requirement in locked(lock):
        (specifier,) = requirement.specifier
        wheel(folder, requirement.name, "9999", [])
        needs = requires(requirement.name, specifier.version)
        digest = wheel(folder, requirement.name, specifier.version, needs)
        lines.append(f"{requirement} --hash=sha256:{digest}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a new virtual environment: its pip is the one that came with Python."""
    folder = tmp_path_factory.mktemp("bundled")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    return folder / "bin" / "python"


def install(python: Path, folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
    wheels = folder / "wheels"
    wheels.mkdir()
    (folder / "lock.txt").write_text(index(wheels, lock), encoding="utf-8")
    arguments = [
        "--isolated",
        "--disable-pip-version-check",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--no-index",
        "--find-links",
        str(wheels),
        "--require-hashes",
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [str(python), "-m", "pip", *arguments, "-r", str(folder / "lock.txt")],
        capture_output=True,
        text=True,
        check=False,
        env=clean,
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_installs_though_newer_releases_of_everything_exist(
    lock: str, tmp_path: Path, bundled: Path
) -> None:
    text = (REQUIREMENTS / lock).read_text(encoding="utf-8")
    for python in (Path(sys.executable), *([bundled] if lock in BY_ANY_PIP else [])):
        folder = tmp_path / python.parents[1].name
        folder.mkdir()
        done = install(python, folder, text)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "-9999" not in done.stdout


def test_a_lock_that_leaves_something_out_is_found(tmp_path: Path) -> None:
    text = (REQUIREMENTS / "auth.txt").read_text(encoding="utf-8")
    done = install(Path(sys.executable), tmp_path, re.sub(r"(?m)^yarl==.*\n( .*\n)*", "", text))
    assert done.returncode != 0
    assert "yarl" in done.stderr


@pytest.mark.parametrize("lock", LOCKS)
def test_extras_that_a_locked_project_asks_for_stand_in_the_lock(lock: str) -> None:
    pins = {
        canonicalize_name(pin.name): pin
        for pin in locked((REQUIREMENTS / lock).read_text(encoding="utf-8"))
    }
    for pin in pins.values():
        for need in map(Requirement, requires(pin.name, next(iter(pin.specifier)).version)):
            active = any(
                need.marker is None or need.marker.evaluate({"extra": extra})
                for extra in (pin.extras or {""})
            )
            if active and need.extras:
                assert need.extras <= pins[canonicalize_name(need.name)].extras, (
                    f"{lock}: {pin.name} needs {need}"
                )


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_exact_versions_hashes_and_no_addresses(lock: str) -> None:
    text = (REQUIREMENTS / lock).read_text(encoding="utf-8")
    assert "://" not in text
    for pin in locked(text):
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
    blocks = re.split(r"(?m)^(?=\S)", text)[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)


def test_the_auth_role_installs_no_aws_library_and_is_not_held_back_by_one() -> None:
    names = {
        canonicalize_name(pin.name)
        for pin in locked((REQUIREMENTS / "auth.txt").read_text(encoding="utf-8"))
    }
    assert names.isdisjoint({"aioboto3", "aiobotocore", "boto3", "botocore", "s3transfer"})
