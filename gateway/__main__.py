"""``python -m gateway`` and the console script ``gateway``."""

from __future__ import annotations

import sys

from gateway.cli import run


def main() -> None:
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
