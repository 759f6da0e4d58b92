from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.memory_folder import make_folder, remove_folder

ROOT = Path(__file__).parent.parent
MAKES = """
import sys
from pathlib import Path
from tests.support.memory_folder import make_folder
print(make_folder("gateway-test-", within=Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def test_what_a_killed_run_left_goes_at_the_next_start_and_what_is_in_use_stays(
    tmp_path: Path,
) -> None:
    mine = make_folder("gateway-test-", within=tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", MAKES, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        (folder / "data").mkdir()
        (tmp_path / "gateway-test-unmarked").mkdir()
        second = make_folder("gateway-test-", within=tmp_path)
        assert mine.is_dir()
        assert folder.is_dir()
        other.kill()
    remove_folder(make_folder("gateway-test-", within=tmp_path))
    assert not folder.exists()
    assert sorted(path for path in tmp_path.iterdir()) == sorted(
        [mine, second, tmp_path / "gateway-test-unmarked"]
    )
    remove_folder(mine)
    remove_folder(second)
