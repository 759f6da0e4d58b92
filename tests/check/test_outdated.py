"""A check by tenants that must not be decided by any more waits for the next ones, and is decided
by those.
"""

from __future__ import annotations

import asyncio
import http.client
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

from gateway.check.handler import SNAPSHOT_AWAITED_S
from gateway.core.model import MachineToken, Secret
from gateway.core.tenants import TenantTable
from gateway.errors import UnavailableError
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import TenantDocument
from tests.ingress.stand import ACME, COOKIE, KEY, SHARED, TENANTS, Stand, identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.check.services import Services
    from gateway.core.model import Session, Tenant
    from gateway.sessions.api import MachineAuthenticator, TenantSource

T = TypeVar("T")


class Outdated(Stand):
    """A gateway that heard of a narrowing before it has the snapshot."""

    def __init__(self) -> None:
        super().__init__()
        without_rules = tuple(
            replace(tenant, rules=(), allowed_groups=frozenset({"admins"}))
            for tenant in self.tenants
        )
        self.newer = TenantTable.of(
            without_rules, shared_hosts=self.config.shared_hosts, login_host=self.config.login_host
        )
        self.comes = True
        self.waited_s: list[float] = []

    def _services(self) -> Services:
        return replace(super()._services(), tenants=cast("TenantSource", self))

    async def replaced(self, table: TenantTable, *, within_s: float) -> bool:
        self.waited_s.append(within_s)
        if self.comes:
            self.table = self.newer
        return self.table is not table

    def is_suspended(self, tenant: str) -> bool:
        return self.table is not self.newer

    def check(self, path: str, *, host: str = ACME, bearer: str = "") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.check_port, timeout=30)
        try:
            sent = {
                "X-Forwarded-Method": "GET",
                "X-Forwarded-Proto": "http",
                "X-Forwarded-Host": host,
                "X-Forwarded-Uri": path,
            }
            if bearer:
                sent["Authorization"] = f"Bearer {bearer}"
            connection.request(
                "GET",
                "/auth/nginx",
                headers={"X-Gateway-Key": KEY, "Cookie": f"{COOKIE}=one", **sent},
            )
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def stand() -> Iterator[Outdated]:
    made = Outdated()
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("groups", "status"),
    [(("app-users",), 403), (("app-users", "admins"), 200)],
    ids=["loses", "stays"],
)
def test_a_check_waits_for_the_snapshot_and_is_decided_by_it(
    stand: Outdated, groups: tuple[str, ...], status: int
) -> None:
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


class Unserved(Stand):
    """A gateway that has no tenants: none were published yet, or what was published does not
    open.
    """

    def _services(self) -> Services:
        return replace(super()._services(), tenants=cast("TenantSource", Nothing()))


class Nothing:
    @property
    def table(self) -> TenantTable:
        raise UnavailableError("no tenants yet")


@pytest.mark.parametrize("host", [ACME, SHARED])
def test_without_tenants_a_person_is_told_to_come_again(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The page is of nobody: looking for whose it is must not make a fault of ours of it, which
    says nothing of when to ask again.
    """
    stand = Unserved()
    stand.start()
    connection = http.client.HTTPConnection("127.0.0.1", stand.check_port, timeout=30)
    try:
        for endpoint in ("nginx-page", "traefik"):
            sent = {
                "X-Forwarded-Method": "GET",
                "X-Forwarded-Proto": "http",
                "X-Forwarded-Host": host,
                "X-Forwarded-Uri": "/",
                "Accept": "text/html",
                "Sec-Fetch-Mode": "navigate",
            }
            connection.request("GET", f"/auth/{endpoint}", headers={"X-Gateway-Key": KEY, **sent})
            response = connection.getresponse()
            body = response.read()
            assert (response.status, response.headers["Content-Type"]) == (
                503,
                "text/html; charset=utf-8",
            ), body
            assert response.headers["Retry-After"]
        for _ in range(20):
            connection.request("GET", "/auth/nginx", headers={"X-Gateway-Key": KEY, **sent})
            again = connection.getresponse()
            assert (again.status, again.read()) == (503, b"")
        told = [record for record in caplog.records if record.message == "store_unavailable"]
        assert 1 <= len(told) < 20, "a line a second, however many ask"
    finally:
        connection.close()
        stand.stop()


class Narrowed(Outdated):
    """A gateway whose tenants are replaced, and the narrowing acknowledged, while a check waits for
    a credential.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replaced_during: str = ""

    def _services(self) -> Services:
        return replace(super()._services(), machines=cast("MachineAuthenticator", self))

    def is_suspended(self, tenant: str) -> bool:
        return False

    async def find(self, cookie: str, *, host: str) -> Session | None:
        return await self.meanwhile("session", await super().find(cookie, host=host))

    async def authenticate(self, tenant: Tenant, token: str) -> MachineToken | None:
        return await self.meanwhile("token", MachineToken("machine", frozenset(), "", "", 0))

    async def wait_for_snapshot(self, tenant: str) -> bool:
        return await self.meanwhile("lease", found=True)

    async def meanwhile(self, what: str, found: T) -> T:
        await asyncio.sleep(0)
        if what == self.replaced_during:
            self.table = self.newer
        return found

    def serve(self, before: dict[str, Any], after: dict[str, Any], *, during: str) -> None:
        """Acme's document, and what it becomes ``during`` an await."""
        self.table, self.newer = (
            self.table_of({"rules": [], **changes}) for changes in (before, after)
        )
        self.replaced_during = during

    def table_of(self, changes: dict[str, Any]) -> TenantTable:
        documents = [
            TenantDocument.model_validate(
                {**document, **(changes if document["id"] == "acme" else {})}
            )
            for document in TENANTS
        ]
        tenants = tuple(
            compile_tenant(d, self.config, client_id=d.client_id or "", client_secret=Secret("s"))
            for d in documents
        )
        return TenantTable.of(
            tenants, shared_hosts=self.config.shared_hosts, login_host=self.config.login_host
        )


@pytest.fixture
def narrowed() -> Iterator[Narrowed]:
    made = Narrowed()
    made.start()
    yield made
    made.stop()


MACHINE_RULE = {"path": "/api/**", "bearer": {"clients": ["machine"], "scopes": []}}
NARROWINGS: dict[str, dict[str, Any]] = {
    "suspended": {"active": False},
    "group": {"allowed_groups": ["admins"]},
    "domain": {"email_domains": ["other.test"]},
    "host": {"hosts": ["elsewhere.localhost"]},
    "rule": {"rules": [{"path": "/**", "allow": "deny"}]},
}


@pytest.mark.parametrize("after", NARROWINGS.values(), ids=NARROWINGS)
@pytest.mark.parametrize("host", [ACME, SHARED])
def test_what_is_taken_away_while_the_session_is_read_is_not_allowed(
    narrowed: Narrowed, host: str, after: dict[str, Any]
) -> None:
    narrowed.sign_in("one", identity("alice@acme.test"), host=host)
    narrowed.serve({}, {}, during="session")
    assert narrowed.check("/", host=host) == 200
    narrowed.serve({}, after, during="session")
    assert (narrowed.check("/", host=host) == 200) == (host == SHARED and "hosts" in after)


@pytest.mark.parametrize("during", ["token", "lease"])
@pytest.mark.parametrize(
    "after",
    [{"active": False}, {"rules": []}, {"hosts": ["elsewhere.localhost"]}],
    ids=["suspended", "rule", "host"],
)
def test_what_is_taken_away_while_a_token_is_judged_is_not_allowed(
    narrowed: Narrowed, during: str, after: dict[str, Any]
) -> None:
    narrowed.serve({"rules": [MACHINE_RULE]}, {"rules": [MACHINE_RULE]}, during=during)
    assert narrowed.check("/api/x", bearer="t") == 200
    narrowed.serve({"rules": [MACHINE_RULE]}, after, during=during)
    assert narrowed.check("/api/x", bearer="t") != 200


@pytest.mark.parametrize("during", ["session", "token"])
def test_what_is_taken_away_while_the_next_rules_are_asked_is_not_allowed(
    narrowed: Narrowed, during: str
) -> None:
    """The path is public today: nothing else is waited for."""
    today = {
        "rules": [{"path": "/**", "allow": "public"}],
        "shadow_rules": [{"path": "/x", "groups": ["admins"]}, MACHINE_RULE],
    }
    asked = (
        {
            "rules": [{"path": "/**", "bearer": {"clients": ["machine"], "scopes": []}}],
            "shadow_rules": [{"path": "/x"}],
        }
        if during == "session"
        else today
    )
    narrowed.serve(asked, {"active": False}, during=during)
    assert narrowed.check("/api/x" if during == "token" else "/x", bearer="t") != 200


def test_a_token_is_judged_again_where_the_lease_had_to_be_waited_for(
    narrowed: Narrowed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before it may have been taken away meanwhile."""
    narrowed.serve({"rules": [MACHINE_RULE]}, {}, during="never")
    answers, judged = [False, True], []

    async def wait_for_snapshot(tenant: str) -> bool:
        return answers.pop(0)

    async def authenticate(tenant: Tenant, token: str) -> MachineToken | None:
        judged.append(token)
        return MachineToken("machine", frozenset(), "", "", 0) if len(judged) == 1 else None

    monkeypatch.setattr(narrowed, "wait_for_snapshot", wait_for_snapshot)
    monkeypatch.setattr(narrowed, "authenticate", authenticate)
    assert narrowed.check("/api/x", bearer="t") == 401
    assert judged == ["t", "t"]


def test_tenants_that_never_stand_still_let_nobody_in(
    narrowed: Narrowed, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrowed.sign_in("one", identity("alice@acme.test"))

    async def find(cookie: str, *, host: str) -> Session | None:
        narrowed.table = narrowed.table_of({})
        return narrowed.sessions[cookie]

    monkeypatch.setattr(narrowed, "find", find)
    assert narrowed.check("/") == 503
