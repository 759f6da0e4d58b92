"""What the operators' pages mark as rehearsed is what the rehearsal does, and nothing else; the
rehearsal itself needs root, and runs by ``scripts/production-rehearsal`` and ``tests/rehearsal``.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.rehearsal import play
from tests.rehearsal.pages import blocks


def test_each_marked_block_is_a_step_and_each_step_is_a_marked_block() -> None:
    scripts, files = blocks()
    text = Path(play.__file__).read_text("utf-8")
    used = set(re.findall(r'"([a-z][a-z-]+|/(?:etc|root)/[\w./-]+)"', text))
    assert {*scripts, *files} - used == set(), "marked, and never rehearsed"
    done = re.findall(r'self\.(?:run|write)\(\s*"([^"]+)"', text)
    done += [
        name
        for names in re.findall(r"play\.pages\(([^)]*)\)", text)
        for name in re.findall(r'"([^"]+)"', names)
    ]
    assert set(done) <= {*scripts, *files}, "rehearsed, and on no page"


def test_each_marked_script_is_one_that_bash_reads() -> None:
    scripts, _ = blocks()
    for name, script in scripts.items():
        read = subprocess.run(
            ["bash", "-n"], input=script, capture_output=True, text=True, check=False
        )
        assert (name, read.returncode, read.stderr) == (name, 0, "")
