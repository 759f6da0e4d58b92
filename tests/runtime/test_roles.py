"""What a process of the auth role has loaded: it must be able to run where SQL and AWS libraries,
and their rights, are not.
"""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from demo.world import World
from tests.runtime import alerts
from tests.support.gateway_process import until
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BANNED = {
    "sqlalchemy",
    "aiosqlite",
    "asyncpg",
    "sqlite3",
    "boto3",
    "botocore",
    "aioboto3",
    "aiobotocore",
    "gateway.database",
    "gateway.admin",
    "gateway.provisioning.runner",
}


@dataclass(frozen=True, slots=True)
class Roles:
    """A gateway of both roles and one of the auth role, and what each exposed before anybody asked
    for anything.
    """

    running: RunningWorld
    scrapes: tuple[str, ...]


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    # Python itself writes every import to the log, so a lazy import during start-up shows too.
    world = World(
        tmp_path_factory.mktemp("roles") / "world",
        replicas=2,
        environment={"PYTHONPROFILEIMPORTTIME": "1"},
    )
    with RunningWorld(world, executed=True) as running:
        # Connections are looked at for the first time within seconds, whoever asks or not.
        first = world.gateways[0].ports["admin"]
        until(lambda: "gateway_connection_failing{" in scraped(first))
        yield Roles(running, tuple(scraped(gateway.ports["admin"]) for gateway in world.gateways))


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_the_auth_role_loads_neither_sql_nor_aws(roles: Roles) -> None:
    assert roles.running.check("acme.localhost").status == 401
    loaded = set(re.findall(r"^import time:.*\|\s+([\w.]+)$", roles.running.log(1), re.MULTILINE))
    assert "gateway.check.handler" in loaded
    assert {
        name
        for name in loaded
        if any(name == banned or name.startswith(f"{banned}.") for banned in BANNED)
    } == set()


def test_each_counter_that_an_alert_reads_is_there_before_anything_is_counted(
    roles: Roles,
) -> None:
    """Prometheus takes the first value of a series for what was always so: the first failure would
    fire nothing.
    """
    series = alerts.Series(roles.scrapes)
    assert [
        (alert, wrong.name, dict(wrong.labels))
        for alert, wrongs in alerts.WRONG.items()
        for wrong in wrongs
        if wrong.name not in {*alerts.LATER, *alerts.ELSEWHERE} and not series.matching(wrong)
    ] == []
    named = [rule["alert"] for rule in alerts.rules()]
    assert sorted(named) == sorted(alerts.WRONG), "say what each alert is for"


@pytest.mark.skipif(alerts.PROMTOOL is None, reason="promtool is not installed")
def test_every_alert_is_silent_at_first_and_fires_at_the_first_failure(
    roles: Roles, tmp_path: Path
) -> None:
    assert alerts.promtool("check", "rules", str(alerts.RULES)) == ""
    for scrape in (*roles.scrapes, scraped(roles.running.world.gateways[0].ports["admin"])):
        assert alerts.promtool("check", "metrics", stdin=scrape) == ""
    assert alerts.problems(roles.scrapes, tmp_path) == ""
