"""One running product per test process, started when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo.world import World
from tests.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(World(tmp_path_factory.mktemp("world"), central=False)) as running:
        yield running


@pytest.fixture
def world(shared_world: RunningWorld) -> Iterator[RunningWorld]:
    """The product with an honest cloud; whatever a test spoils is mended afterwards."""
    yield shared_world
    shared_world.world.cloud.cognito.faults.clear()
