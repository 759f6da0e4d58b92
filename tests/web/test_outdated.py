"""A check by tenants that must not be decided by any more waits for the next ones, and is decided by those."""

from __future__ import annotations

import http.client
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from gateway.core.tenants import TenantTable
from gateway.web.check import SNAPSHOT_AWAITED_S
from tests.ingress.stand import ACME, COOKIE, KEY, Stand, identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.ports import TenantSource
    from gateway.web.services import Services


class Outdated(Stand):
    """A gateway that heard of a narrowing before it has the snapshot."""

    def __init__(self) -> None:
        super().__init__()
        without_rules = tuple(replace(tenant, rules=(), allowed_groups=frozenset({"admins"})) for tenant in self.tenants)
        self.newer = TenantTable(without_rules, shared_hosts=self.config.shared_hosts, login_host=self.config.login_host)
        self.comes = True
        self.waited_s: list[float] = []

    def _services(self) -> Services:
        return replace(super()._services(), tenants=cast("TenantSource", self))

    async def replaced(self, table: TenantTable, *, within_s: float) -> bool:
        self.waited_s.append(within_s)
        if self.comes:
            self.table = self.newer
        return self.table is not table

    def suspended(self, tenant: str) -> bool:
        return self.table is not self.newer

    def check(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.check_port, timeout=30)
        try:
            sent = {"X-Forwarded-Method": "GET", "X-Forwarded-Proto": "http", "X-Forwarded-Host": ACME, "X-Forwarded-Uri": path}
            connection.request("GET", "/auth/nginx", headers={"X-Gateway-Key": KEY, "Cookie": f"{COOKIE}=one", **sent})
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def stand() -> Iterator[Outdated]:
    made = Outdated()
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize(("groups", "status"), [(("app-users",), 403), (("app-users", "admins"), 200)], ids=["loses", "stays"])
def test_a_check_waits_for_the_snapshot_and_is_decided_by_it(stand: Outdated, groups: tuple[str, ...], status: int) -> None:
    stand.sign_in("one", identity("alice@acme.test", groups=groups))
    assert stand.check("/") == status
    assert stand.check("/") == status
    assert len(stand.waited_s) == 1 and 0 < stand.waited_s[0] <= SNAPSHOT_AWAITED_S


def test_what_was_public_is_no_more(stand: Outdated) -> None:
    assert stand.check("/public/x") == 401


def test_where_the_snapshot_does_not_come_nobody_is_let_in(stand: Outdated) -> None:
    stand.comes = False
    stand.sign_in("one", identity("alice@acme.test"))
    assert (stand.check("/"), stand.check("/public/x")) == (503, 503)
    assert stand.check("/admin/x") == 403, "who is refused by the old tenants is refused"
