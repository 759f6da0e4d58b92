"""``scripts/soak chaos [--minutes N] [--seed S]``: a whole deployment under faults that are drawn
from the seed, and a proof over the history of what its clients saw. Exit code 1 where a rule was
violated. See docs/developer/chaos.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
from pathlib import Path

INSIDE = "CHAOS_FOLDER"
"""Set for the process that trusts the run's own CA: HTTP clients read that when they are
imported.
"""


def parsed() -> argparse.Namespace:
    from tests.soak.chaos.host import MUTANTS

    parser = argparse.ArgumentParser(prog="scripts/soak chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, help="without one: another one each time, printed")
    parser.add_argument("--bound", type=float, default=45.0, help="of a recovery, in seconds")
    parser.add_argument("--loops", type=int, help="of clients that come and go; without: four")
    parser.add_argument(
        "--faults",
        nargs="*",
        default=[],
        metavar="KIND",
        help="only of these; KIND: TARGET for one place",
    )
    parser.add_argument("--mutant", choices=MUTANTS, default="", help="a fault that must be found")
    parser.add_argument("--keep", type=Path, help="a new folder for history and logs")
    return parser.parse_args()


def main() -> int:
    arguments = parsed()
    folder = os.environ.get(INSIDE)
    if folder is None:
        prepare(arguments)
    from tests.soak.chaos.certificates import Certificates
    from tests.soak.chaos.host import Machine, install

    there = Path(str(folder))
    install(str(Machine(there / "machine").path))
    from tests.soak.chaos import faults, run

    try:
        for each in arguments.faults:
            faults.named(each)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    options = run.Options(
        seconds=arguments.minutes * 60,
        seed=arguments.seed,
        bound_s=arguments.bound,
        kinds=tuple(arguments.faults),
        mutant=arguments.mutant,
        loops=arguments.loops or run.LOOPS,
    )
    certificates = Certificates(there / "ca.pem", there / "valid.pem", there / "expired.pem")
    report = asyncio.run(run.run(there, certificates, options))
    sys.stdout.write("\n".join(report.lines()) + "\n")
    return int(bool(report.violations))


def prepare(arguments: argparse.Namespace) -> None:
    """The folder and the certificates; then this program once more, which trusts them."""
    from tests.soak.chaos import certificates

    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True)
        folder = arguments.keep.resolve()
    else:
        folder = Path(tempfile.mkdtemp(prefix="gateway-chaos-"))
    made = certificates.make(folder)
    seed = [] if arguments.seed is not None else ["--seed", str(random.randrange(1 << 31))]
    with contextlib.suppress(KeyboardInterrupt):
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.soak.chaos", *sys.argv[1:], *seed],
            {**os.environ, INSIDE: str(folder), "SSL_CERT_FILE": str(made.authority)},
        )


if __name__ == "__main__":
    sys.exit(main())
