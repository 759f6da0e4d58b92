"""The short form of ``scripts/production-rehearsal``, as part of the suite: the operators' pages,
word for word, on Debian's own servers.

It has a folder tree, processes and a network of its own, so nothing here is shared with another
test.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.rehearsal.__main__ import MOST_S, NAMESPACES, ROOT, missing, rehearse, wheels

if TYPE_CHECKING:
    from collections.abc import Iterator

LACKS: Final = missing()
pytestmark = pytest.mark.skipif(
    bool(LACKS), reason=f"the production rehearsal needs what is not here: {', '.join(LACKS)}"
)
PLACES: Final = (
    "/.rehearsal",
    "/etc/chromium/policies",
    "/etc/gateway",
    "/etc/hosts",
    "/etc/nginx/sites-available",
    "/etc/nginx/sites-enabled",
    "/etc/passwd",
    "/etc/postgresql",
    "/etc/redis",
    "/etc/ssl/certs",
    "/etc/systemd/system",
    "/opt/gateway",
    "/root/ca",
    "/usr/local/bin/gateway",
    "/usr/local/sbin/systemctl",
    "/usr/local/share/ca-certificates",
    "/var/lib/gateway",
    "/var/lib/postgresql",
    "/var/lib/redis",
)
"""What the commands of the pages write or make."""


def _seen(path: str) -> object:
    """Changes where the file, or the list of a folder, does."""
    try:
        found = Path(path).lstat()
        names = sorted(entry.name for entry in Path(path).iterdir()) if Path(path).is_dir() else []
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, names


@pytest.fixture
def machine() -> Iterator[None]:
    """It is afterwards what it was before."""
    before = {place: _seen(place) for place in PLACES}
    yield
    assert {place: _seen(place) for place in PLACES} == before
    assert "gateway-rehearsal" not in Path("/proc/self/mounts").read_text()


@pytest.mark.usefixtures("machine")
def test_the_operators_pages_lead_from_an_empty_debian_to_production_and_through_a_reboot() -> None:
    try:
        wheels()
    except subprocess.CalledProcessError:
        pytest.skip("the wheels of the locks cannot be fetched here")
    done = rehearse(short=True, most_s=3 * MOST_S)
    assert done.returncode == 0, done.stdout
    assert "; 0 of " in done.stdout.splitlines()[-1], done.stdout
    assert "FAIL" not in done.stdout


def test_nothing_runs_outside_of_a_folder_tree_in_memory(tmp_path: Path) -> None:
    """The guards of the sandbox and of the steps, each by itself."""
    command = ["/bin/bash", str(ROOT / "tests/rehearsal/sandbox.sh"), str(tmp_path), str(ROOT)]
    mark = tmp_path / "mark"
    outside = subprocess.run(
        [*command, "touch", str(mark)], capture_output=True, text=True, check=False
    )
    assert (outside.returncode, mark.exists()) == (2, False)
    assert "only as the first process of a pid namespace" in outside.stderr
    steps = subprocess.run(
        [sys.executable, "-m", "tests.rehearsal.play"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (steps.returncode, steps.stderr.strip()) == (
        2,
        "only within tests/rehearsal/sandbox.sh",
    )
    within = subprocess.run(
        [*NAMESPACES, *command, "touch", "/etc/rehearsal-mark"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (within.returncode, within.stderr) == (0, "")
    assert not Path("/etc/rehearsal-mark").exists()
    assert list(tmp_path.iterdir()) == []
