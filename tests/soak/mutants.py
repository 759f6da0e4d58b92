"""One-line faults in what the threat model promises. Each must make a test fail that the guarantee
names there: a promise that no test holds is only a sentence.

    scripts/soak mutants [NAME...] [--jobs 2] [--list]

Every mutant is a copy of the tree with one place changed, in which only the tests of its row run.
A guarantee that is new gets a row here (``tests/docs/test_mutants.py``).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
THREAT_MODEL: Final = ROOT / "docs" / "threat-model.md"
TABLE: Final = Path(__file__).with_name("mutants.yaml")
WITHOUT: Final = "without"
COPIED: Final = ("gateway", "tests", "demo", "docs", "deploy", "scripts", "config")
LONGEST_S: Final = 240.0
"""A mutant that hangs has fallen too: a test that never ends is seen."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """``old`` stands once in ``gateway/<file>``, and is replaced by ``new``. ``tests``: those that
    fail then, of the guarantee's in the threat model.
    """

    guarantee: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.guarantee}: {self.name}  ({self.file})"


def guarantees() -> dict[str, list[str]]:
    """Heading → the tests that hold it."""
    text = THREAT_MODEL.read_text("utf-8")
    text = text[text.index("## Guarantees") :].split("\n## ", 1)[0]
    return {
        section.split("\n", 1)[0]: re.findall(r"^- `(tests/[^`]+)`", section, re.MULTILINE)
        for section in re.split(r"^#### ", text, flags=re.MULTILINE)[1:]
    }


def table() -> list[Mutant]:
    rows = yaml.safe_load(TABLE.read_text("utf-8"))
    return [
        Mutant(guarantee, name, row["file"], row["old"], row["new"], tuple(row["tests"]))
        for guarantee, mutants in rows.items()
        if guarantee != WITHOUT
        for name, row in mutants.items()
    ]


def without() -> dict[str, str]:
    """Guarantees that no row is about, and why."""
    reasons: dict[str, str] = yaml.safe_load(TABLE.read_text("utf-8"))[WITHOUT]
    return reasons


def copied(work: Path) -> None:
    for name in COPIED:
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "mkdocs.yml", "README.md", "CHANGELOG.md", "Dockerfile"):
        shutil.copy(ROOT / name, work / name)
    (work / ".venv").symlink_to(ROOT / ".venv")


def tested(work: Path, tests: Sequence[str], *, longest_s: float | None) -> tuple[int, str]:
    """pytest's exit code, until the first failure, and the end of what it says."""
    command = [
        str(ROOT / ".venv" / "bin" / "python"),
        *("-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"),
        *tests,
    ]
    environment = {**os.environ, "PYTHONPATH": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command,
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=longest_s,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr)[-2000:]


def survives(mutant: Mutant, work: Path) -> str:
    """Why it counts as a survivor; "" where a test failed."""
    copied(work)
    path = work / "gateway" / mutant.file
    text = path.read_text("utf-8")
    if text.count(mutant.old) != 1:
        return f"its place stands {text.count(mutant.old)} times in {mutant.file}"
    path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    try:
        code, said = tested(work, mutant.tests, longest_s=LONGEST_S)
    except subprocess.TimeoutExpired:
        return ""
    if code == 1:
        return ""
    return "every test passed" if code == 0 else f"pytest ended with {code}: {said}"


def fails_unchanged(mutants: Sequence[Mutant]) -> str:
    """What a test says that fails without any mutant: then no fall would mean anything."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copied(Path(folder))
        code, said = tested(Path(folder), tests, longest_s=None)
    return "" if code == 0 else said


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak mutants", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="mutants whose guarantee, name or file holds this text"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    chosen = [
        mutant
        for mutant in table()
        if not options.names or any(name in str(mutant) for name in options.names)
    ]
    if options.list:
        for mutant in chosen:
            print(mutant)
        return 0

    if said := fails_unchanged(chosen):
        print(f"Without any mutant:\n{said}")
        return 2

    def judged(mutant: Mutant) -> tuple[Mutant, str]:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            why = survives(mutant, Path(folder))
        took = time.monotonic() - began
        word = "SURVIVES" if why else "falls"
        print(f"{word:8} {took:4.0f} s  {mutant.guarantee}: {mutant.name}  {why}", flush=True)
        return mutant, why

    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(judged, chosen))
    survivors = [mutant for mutant, why in found if why]
    print(summary(chosen, survivors))
    return 1 if survivors else 0


def summary(chosen: Sequence[Mutant], survivors: Sequence[Mutant]) -> str:
    """A table by guarantee, those with survivors first, and the sum."""
    made = Counter(mutant.guarantee for mutant in chosen)
    left = Counter(mutant.guarantee for mutant in survivors)
    lines = [f"{'mutants':>7} {'fall':>5} {'survive':>7}  guarantee"]
    lines += [
        f"{count:7} {count - left[name]:5} {left[name]:7}  {name}"
        for name, count in sorted(made.items(), key=lambda item: (-left[item[0]], item[0]))
    ]
    return "\n".join([*lines, f"{len(chosen)} mutants, {len(survivors)} survive"])


def problems(mutants: Sequence[Mutant], known: Mapping[str, Sequence[str]]) -> list[str]:
    """What is wrong with the table, without running anything."""
    found = []
    for mutant in mutants:
        text = (ROOT / "gateway" / mutant.file).read_text("utf-8")
        where = f"{mutant.guarantee}: {mutant.name}"
        if mutant.guarantee not in known:
            found.append(f"{where}: there is no such guarantee")
        elif strangers := {*mutant.tests} - {*known[mutant.guarantee]}:
            found.append(f"{where}: not among the tests of the guarantee: {sorted(strangers)}")
        if text.count(mutant.old) != 1:
            found.append(f"{where}: stands {text.count(mutant.old)} times in {mutant.file}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
