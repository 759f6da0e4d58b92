"""A cloud, a person and a relying party for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from demo.clock import MovableClock
from demo.cloud import DemoCloud
from tests.demo.aws import control_plane
from tests.demo.relying_party import RelyingParty, relying_party
from tests.support.browserless import Person
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def cloud(clock: MovableClock) -> AsyncIterator[DemoCloud]:
    async with DemoCloud(clock=clock, new_key=spare_keys()) as started:
        yield started


@pytest.fixture
async def person() -> AsyncIterator[Person]:
    async with Person() as someone:
        yield someone


@pytest.fixture
async def app(cloud: DemoCloud) -> AsyncIterator[RelyingParty]:
    async with relying_party(cloud) as started:
        yield started


@pytest.fixture
async def aws(cloud: DemoCloud) -> AsyncIterator[Any]:
    """A boto client of the cloud's pool."""
    async with control_plane(cloud) as client:
        yield client
