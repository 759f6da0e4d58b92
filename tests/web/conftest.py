"""A second product for tests of rules, explanations and bearer tokens; started when first
needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browserless import Person
from tests.web.policy import PolicyWorld
from tests.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="package")
def policy_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(PolicyWorld(tmp_path_factory.mktemp("policy"), central=False)) as running:
        yield running


@pytest.fixture
def policy(policy_world: RunningWorld) -> Iterator[RunningWorld]:
    yield policy_world
    policy_world.world.cloud.cognito.faults.clear()


@pytest.fixture
async def visitor() -> AsyncIterator[Person]:
    async with Person() as someone:
        yield someone
