"""Signing keys made once per test run and lent to each cloud in turn: within a cloud no two servers
share one.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from demo.jose import SigningKey

if TYPE_CHECKING:
    from demo.jose import NewKey

_made: list[SigningKey] = []


def spare_keys() -> NewKey:
    """For ``DemoCloud(new_key=spare_keys())``: the run's keys from the first on, new ones when they
    run out.
    """
    positions = count()

    def lend() -> SigningKey:
        position = next(positions)
        if position == len(_made):
            _made.append(SigningKey.generate())
        return _made[position]

    return lend
