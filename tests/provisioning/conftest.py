"""Real botocore clients, hundreds of them: each replica of an admin role that a test starts has
one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.database.fixtures import database, database_url
from tests.provisioning.models import read_once

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["database", "database_url"]


@pytest.fixture(scope="package", autouse=True)
def _models_are_read_once() -> Iterator[None]:
    with read_once():
        yield
