"""``gateway quickstart`` from the built wheel, in a prefix of its own without a checkout."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from demo.processes import free_port
from tests.browser.test_walk import sign_in
from tests.demo.test_run import processes_of, wait_for
from tests.packaging.test_locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).parent / "uv"
START_S = 150.0


def uv(*arguments: str, cwd: Path) -> None:
    command = [str(UV), *arguments, "--quiet"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Python with what the demo's lock holds and no more, linked from here with its bytecode; and
    the wheel.
    """
    top = tmp_path_factory.mktemp("quickstart")
    uv("build", "--wheel", "--out-dir", str(top), str(ROOT), cwd=top)
    (wheel,) = top.glob("*.whl")
    uv("venv", "--python", sys.executable, str(top / "prefix"), cwd=top)
    (packages,) = (top / "prefix").glob("lib/python3*/site-packages")
    for requirement in locked((ROOT / "requirements" / "demo.txt").read_text("utf-8")):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        installed = distribution(requirement.name)
        for name in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            source = Path(str(installed.locate_file(name)))
            if name.endswith(".dist-info"):  # uv passes links over
                shutil.copytree(source, packages / name)
            elif not (packages / name).exists():
                (packages / name).symlink_to(source)
    yield top / "prefix", wheel
    shutil.rmtree(top)


def test_the_wheel_alone_reaches_a_login_and_leaves_nothing(
    prefix: tuple[Path, Path], tmp_path: Path, page: Page
) -> None:
    folder, wheel = prefix
    python = ("--python", str(folder / "bin" / "python"))
    before = files(folder)
    uv("pip", "install", *python, "--offline", f"{wheel}[demo]", cwd=tmp_path)
    home, temporary = tmp_path / "a home: #1", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    environment = {"HOME": str(home), "TMPDIR": str(temporary), "PATH": "/usr/bin:/bin"}
    command = [str(folder / "bin" / "gateway"), "quickstart"]
    state = home / ".local" / "state" / "cognito-gateway-quickstart"
    (state / "left by a run that was killed").mkdir(parents=True)
    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=tmp_path,
            env=environment,
        )
    try:
        wait_for(
            lambda: b"\nready: " in log.read_bytes() or process.poll() is not None,
            START_S,
            "it does not get ready",
        )
        assert process.poll() is None, log.read_text()
        assert not (state / "left by a run that was killed").exists()
        assert state.stat().st_mode & 0o077 == 0
        page.goto(f"http://acme.localhost:{port}/")
        sign_in(page, "alice@acme.test")
        expect(page.locator("#person")).to_contain_text("alice@acme.test")
        for arguments in ([], ["--clean"]):
            second = subprocess.run(
                [*command, *arguments], env=environment, capture_output=True, text=True, check=False
            )
            assert second.returncode == 2 and "is running already" in second.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert code == 0, log.read_text()
    wait_for(lambda: not processes_of(process.pid), 10, "a process is left")
    assert files(home) == files(temporary) == set() and not state.exists()
    uv("pip", "uninstall", *python, "cognito-gateway", cwd=tmp_path)
    left = files(folder) - before - {Path(".lock")}  # uv's own
    assert {path for path in left if "__pycache__" not in path.parts} == set()
    assert not list(folder.glob("lib/python3*/site-packages/gateway*"))


def test_clean_removes_what_a_killed_run_left(tmp_path: Path) -> None:
    state = tmp_path / "cognito-gateway-quickstart"
    (state / "secrets").mkdir(parents=True)
    command = [sys.executable, "-m", "gateway", "quickstart", "--clean"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    for said in (f"removed {state}\n", f"{state} is not there\n"):
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, said)
    assert list(tmp_path.iterdir()) == []
