"""Real applications, unmodified, behind the whole product: what a person does with them, and what
the next person must not find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.apps.applications import APPLICATIONS
from tests.apps.running import Running, missing
from tests.apps.walk import HELD, LACKING, Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext

    from tests.apps.application import Application


@pytest.fixture(scope="module")
def applications() -> Iterator[Running]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with Running(APPLICATIONS, ingress="nginx") as running:
        yield running


@pytest.fixture(scope="module", params=["nginx", "traefik"])
def running(request: pytest.FixtureRequest, applications: Running) -> Running:
    applications.running.run(applications.running.world.change_ingress(request.param))
    return applications


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.name)
def test_a_person_works_with_a_real_application_and_the_next_one_is_somebody_else(
    running: Running, profile: BrowserContext, application: Application
) -> None:
    """Sign-in, name, files, WebSocket; ended with the page open; another person in the same
    browser; the application's own log-out; and the first one again.
    """
    results = Walk(running, application, profile).results()
    assert {step: seen for step, seen in results.items() if seen not in (HELD, LACKING)} == {}
    assert len(results) == 10
