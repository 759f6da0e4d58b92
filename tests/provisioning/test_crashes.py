"""The crash matrix: for each step and each fault, after recovery the pool and the registry hold all
of a run or nothing.

Cells that end a process end a real one (SIGKILL). Never a second client, never a stranger's
provider deleted.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from demo.cognito.control.plane import OPERATIONS
from gateway.admin.problem import Problem
from gateway.admin.routes.provisioning import done
from gateway.errors import UnavailableError
from gateway.provisioning.journal import SqlJournal
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunState
from tests.provisioning.bench import TIMING, VISIBLE_S, Bench
from tests.provisioning.crash_server import MortalJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping

    from aiohttp import web

    from gateway.core.json_types import Json
    from gateway.provisioning.credentials import (
        ClientCredentials,
        Registrar,
        RegistryRejectedError,
    )
    from gateway.provisioning.request import ProvisionBody
    from gateway.provisioning.runner import Outcome
    from gateway.provisioning.runs import Journal
    from gateway.provisioning.service import Onboarding

HOLD_S = 0.4
STEPS = ("add_attributes", "create_provider", "create_client", "put_tenant", "put_credentials")
COGNITO_STEPS = {
    "add_attributes": "AddCustomAttributes",
    "create_provider": "CreateIdentityProvider",
    "create_client": "CreateUserPoolClient",
}
POOL_USER_STEPS = {
    "create_group": "CreateGroup",
    "create_style": "CreateManagedLoginBranding",
}
"""In ``test_pool_users``."""
UPDATES = {"update_provider": "UpdateIdentityProvider", "update_client": "UpdateUserPoolClient"}


async def until_settled(bench: Bench) -> None:
    """Recovery, as the admin role runs it, until no run is unfinished."""
    from sqlalchemy import func, select

    from gateway.database.schema import provision_runs

    service = await bench.replica()
    unfinished = (
        select(func.count())
        .select_from(provision_runs)
        .where(provision_runs.c.state.in_(["running", "undoing", "settling"]))
    )
    async with asyncio.timeout(60):
        while True:
            await service.provisioning.recover()
            async with bench.database.read() as connection:
                if not (await connection.execute(unfinished)).scalar_one():
                    return
            await asyncio.sleep(0.05)


@dataclass
class Pools:
    """What there was before a cell, so that many cells can share a bench."""

    bench: Bench
    providers: Mapping[str, Any] = field(init=False)
    clients: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        pool = self.bench.cloud.cognito.pool
        self.providers = {n: p.settings for n, p in pool.providers.items()}
        self.clients = {n: c.settings for n, c in pool.clients.items()}

    async def holds_nothing_new(self, tenant: str) -> None:
        pool = self.bench.cloud.cognito.pool
        assert {n: p.settings for n, p in pool.providers.items()} == self.providers
        assert {n: c.settings for n, c in pool.clients.items()} == self.clients
        if tenant not in _tenants_of(self.clients):
            assert await self.bench.tenants.get(tenant) is None
            assert await self.bench.tenants.credentials(tenant) is None

    async def holds_all_of(self, tenant: str) -> None:
        pool = self.bench.cloud.cognito.pool
        assert set(pool.providers) - set(self.providers) == {f"{tenant}-okta"}
        (client_id,) = set(pool.clients) - set(self.clients)
        credentials = await self.bench.tenants.credentials(tenant)
        assert credentials is not None
        assert (credentials.client_id, credentials.client_secret.reveal()) == (
            client_id,
            pool.clients[client_id].secret,
        )
        stored = await self.bench.tenants.get(tenant)
        assert stored is not None

    async def both_clients_or_the_old_one(self, tenant: str, *, rotated: bool) -> None:
        credentials = await self.bench.tenants.credentials(tenant)
        assert credentials is not None
        pool = self.bench.cloud.cognito.pool
        assert {credentials.client_id, *(c.client_id for c in credentials.retired)} == set(
            pool.clients
        )
        assert pool.clients[credentials.client_id].secret == credentials.client_secret.reveal()
        assert len(set(pool.clients) - set(self.clients)) == (1 if rotated else 0)
        if not rotated:
            await self.holds_nothing_new(tenant)
            assert {credentials.client_id} == set(self.clients) - {
                c.client_id for c in credentials.retired
            }

    async def all_or_nothing(self, tenant: str, outcome: Outcome | None) -> None:
        if isinstance(outcome, Done) or (
            outcome is None and await self.bench.tenants.credentials(tenant) is not None
        ):
            await self.holds_all_of(tenant)
        else:
            await self.holds_nothing_new(tenant)


def _tenants_of(clients: Mapping[str, Any]) -> set[str]:
    return {str(c["ClientName"]).split("-")[1] for c in clients.values()}


def _forget_attributes(bench: Bench) -> None:
    for name in ("custom:groups", "custom:oid"):
        bench.cloud.cognito.pool.schema.pop(name, None)


def _refuse(_: web.Request) -> Any:
    raise ApiError("InvalidParameterException", "planned")


def _lost_then_refused(bench: Bench, operation: str) -> None:
    planned = bench.cloud.cognito.control.faults
    planned.plan(operation, faults.internal_error, after=True)
    planned.plan(operation, faults.fail(ApiError("InvalidParameterException", "planned")), skip=1)


FAULTS: dict[str, Callable[[Bench, str], None]] = {
    "error before": lambda b, op: b.cloud.cognito.control.faults.plan(
        op, faults.fail(ApiError("InvalidParameterException", "planned"))
    ),
    "error after": lambda b, op: b.cloud.cognito.control.faults.plan(
        op, faults.internal_error, after=True, times=1
    ),
    "errors after, to the end": lambda b, op: b.cloud.cognito.control.faults.plan(
        op, faults.internal_error, after=True, times=9
    ),
    "errors before, to the end": lambda b, op: b.cloud.cognito.control.faults.plan(
        op, faults.internal_error, times=9
    ),
    "timeout before": lambda b, op: b.cloud.cognito.control.faults.plan(
        op, faults.hang(asyncio.Event()), times=9
    ),
    "timeout after": lambda b, op: b.cloud.cognito.control.faults.plan(
        op, faults.hang(asyncio.Event()), after=True, times=1
    ),
    "connection cut before": lambda b, op: b.cloud.cognito.control.faults.plan(
        op, faults.drop_connection
    ),
    "connection cut after": lambda b, op: b.cloud.cognito.control.faults.plan(
        op, faults.drop_connection, after=True
    ),
    "throttled": lambda b, op: b.cloud.cognito.control.faults.plan(op, faults.throttle, times=2),
    "error after, then refused": _lost_then_refused,
}
"""By the stand-in cloud, at one call. Before or after the call's effect."""


@pytest.mark.parametrize("step", list(COGNITO_STEPS))
async def test_faults_of_a_first_provisioning(tmp_path: Path, step: str) -> None:
    async with Bench(tmp_path) as bench:
        for number, (name, plan) in enumerate(FAULTS.items()):
            tenant = f"t{number}"
            _forget_attributes(bench)
            body, pools = await bench.body(tenant, idp="one-idp"), Pools(bench)
            plan(bench, COGNITO_STEPS[step])
            outcome = await bench.apply(tenant, body)
            bench.cloud.cognito.control.faults.clear()
            await until_settled(bench)
            await pools.all_or_nothing(tenant, outcome)
            if name in {"throttled", "connection cut after", "error after", "timeout after"}:
                assert isinstance(outcome, Done), (
                    f"{name}: what had an effect, or none for certain, is no reason to give up"
                )


@pytest.mark.parametrize("step", list(UPDATES))
async def test_faults_of_a_change(tmp_path: Path, step: str) -> None:
    async with Bench(tmp_path) as bench:
        assert isinstance(await bench.apply("acme", await bench.body("acme")), Done)
        for name, plan in FAULTS.items():
            before = await bench.tenants.get("acme")
            changed = (
                await bench.body("acme", hosts=["acme.localhost", f"{len(name)}.localhost"])
            ).model_copy(update={"name": name})
            provider = changed.all_providers[0].model_copy(
                update={"attributes": {"nickname": f"claim{len(name)}"}}
            )
            changed, pools = changed.model_copy(update={"provider": provider}), Pools(bench)
            plan(bench, UPDATES[step])
            outcome = await bench.apply("acme", changed, update=True)
            bench.cloud.cognito.control.faults.clear()
            await until_settled(bench)
            after = await bench.tenants.get("acme")
            assert before is not None
            assert after is not None
            if isinstance(outcome, Done):
                assert after.document.name == name
                drift = await bench.service.verify("acme", fix=False, actor="test")
                assert drift is not None
                assert drift.clean
            else:
                assert after.document == before.document
                await pools.holds_nothing_new("acme")
            assert len(bench.clients) == 1


@dataclass
class FaultyRegistrar:
    """The registry of one cell: fails at one method, before or after its effect."""

    inner: Registrar
    method: str = ""
    after: bool = False
    times: int = 0

    async def _fault(self, method: str, *, after: bool) -> None:
        if method == self.method and after is self.after and self.times:
            self.times -= 1
            msg = "planned"
            raise UnavailableError(msg)

    async def snapshot(self, tenant: str) -> Json | None:
        return await self.inner.snapshot(tenant)

    async def put(
        self,
        tenant: str,
        document: Mapping[str, object],
        *,
        before: Json | None,
        if_held: Collection[str] = (),
    ) -> None:
        await self._fault("put", after=False)
        await self.inner.put(tenant, document, before=before, if_held=if_held)
        await self._fault("put", after=True)

    async def restore(
        self, tenant: str, before: Json | None, *, written: Mapping[str, object] | None
    ) -> None:
        await self._fault("restore", after=False)
        await self.inner.restore(tenant, before, written=written)

    async def refused_restore(
        self,
        tenant: str,
        before: Json | None,
        *,
        written: Mapping[str, object] | None,
        bound: bool,
    ) -> RegistryRejectedError | None:
        return await self.inner.refused_restore(tenant, before, written=written, bound=bound)

    async def credentials(self, tenant: str) -> ClientCredentials | None:
        return await self.inner.credentials(tenant)

    async def put_credentials(self, tenant: str, credentials: ClientCredentials | None) -> None:
        if credentials is not None:
            await self._fault("put_credentials", after=False)
        await self.inner.put_credentials(tenant, credentials)
        if credentials is not None:
            await self._fault("put_credentials", after=True)

    async def taken_clients(self, tenant: str, client_ids: Collection[str]) -> frozenset[str]:
        return await self.inner.taken_clients(tenant, client_ids)

    async def owner_of(self, provider: str) -> str | None:
        return await self.inner.owner_of(provider)

    async def clients_due_for_deletion(self, now: float) -> Mapping[str, tuple[str, ...]]:
        return await self.inner.clients_due_for_deletion(now)

    async def in_force(self, tenant: str) -> None:
        await self._fault("in_force", after=False)
        await self.inner.in_force(tenant)


@pytest.mark.parametrize(
    ("method", "after"),
    [("put", False), ("put", True), ("put_credentials", False), ("put_credentials", True)],
)
async def test_faults_of_the_registry(tmp_path: Path, method: str, *, after: bool) -> None:
    made: list[FaultyRegistrar] = []

    def wrap(registrar: Registrar) -> Registrar:
        made.append(FaultyRegistrar(registrar))
        return made[-1]

    async with Bench(tmp_path, wrap_registrar=wrap) as bench:
        pools = Pools(bench)
        made[0].method, made[0].after, made[0].times = method, after, 1
        outcome = await bench.apply()
        assert isinstance(outcome, Failed)
        await until_settled(bench)
        await pools.holds_nothing_new("initech")


async def test_undoing_that_fails_itself_is_done_later(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        pools, control = Pools(bench), bench.cloud.cognito.control
        control.state.quotas.clients = 0
        control.faults.plan("DeleteIdentityProvider", faults.internal_error, times=3)
        outcome = await bench.apply()
        assert isinstance(outcome, Failed)
        assert outcome.state is RunState.UNDOING
        again = await bench.service.propose("initech", await bench.body(), update=False)
        assert [f.kind for f in again.problems] == ["busy"]
        await until_settled(bench)
        await pools.holds_nothing_new("initech")


async def test_a_change_that_is_stored_and_not_yet_obeyed_says_so(tmp_path: Path) -> None:
    made: list[FaultyRegistrar] = []

    def wrap(registrar: Registrar) -> Registrar:
        made.append(FaultyRegistrar(registrar))
        return made[-1]

    async with Bench(tmp_path, wrap_registrar=wrap) as bench:
        made[0].method, made[0].times = "in_force", 1
        outcome = await bench.apply()
        assert outcome == Done(outcome.run, in_force=False) if isinstance(outcome, Done) else False


@asynccontextmanager
async def crash_server() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.provisioning.crash_server",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def run_cell(
    process: asyncio.subprocess.Process,
    bench: Bench,
    tenant: str,
    point: str,
    *,
    kind: str = "create",
    provider: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    cognito = bench.cloud.cognito
    customer = bench.cloud.customers.get("one-idp") or await bench.cloud.add_idp(
        "one-idp", kind="okta"
    )
    provider = provider or {
        "client_id": customer.app.client_id,
        "client_secret": customer.app.client_secret,
        "oidc_issuer": customer.issuer,
    }
    hosts = [f"{tenant}.localhost"] + (["more.localhost"] if kind == "change" else [])
    cell = {
        "state_dir": str(bench.state_dir),
        "hold_s": HOLD_S,
        "tenant": tenant,
        "point": point,
        "kind": kind,
        "config": {
            "endpoint_url": cognito.endpoint_url,
            "domain": cognito.url,
            "issuer": cognito.issuer,
            "pool_id": cognito.pool.pool_id,
            "pools": {
                name: pool.model_dump(mode="json")
                for name, pool in bench.config.cognito.pools.items()
            },
        },
        "body": {
            "provider": provider,
            "group": "app-users",
            "allowed_domain": f"{tenant}.test",
            "hosts": hosts,
        },
    }
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(cell).encode() + b"\n")
    await process.stdin.drain()
    answer: dict[str, Any] = json.loads(await process.stdout.readline())
    return answer


class Killed(BaseException):
    """The process ended: nothing after it runs."""


class MortalHere(MortalJournal):
    """Ends the run in this process: what a real SIGKILL adds to that,
    ``test_killed_between_any_two_writes_of_a_first_provisioning`` shows.
    """

    __slots__ = ()

    def _perhaps_die(self, here: str) -> None:
        if here == self.point:
            raise Killed(here)


async def die_at(bench: Bench, point: str, run: Callable[[Onboarding], Awaitable[object]]) -> None:
    """What ``run`` does with a process of its own, until its journal comes to ``point``."""

    def mortal(journal: Journal) -> Journal:
        assert isinstance(journal, SqlJournal)
        return MortalHere(journal, point)

    usual, bench.wrap_journal = bench.wrap_journal, mortal
    try:
        service = await bench.replica()
    finally:
        bench.wrap_journal = usual
    with pytest.raises(Killed):
        await run(service)


def applying(
    bench: Bench, tenant: str, body: ProvisionBody
) -> Callable[[Onboarding], Awaitable[object]]:
    return lambda service: bench.apply(tenant, body, service=service)


KILLS = [
    f"{write}:{number}:{side}"
    for number in range(1, len(STEPS) + 1)
    for write in ("intend", "settle")
    for side in ("before", "after")
] + [
    "move:done:before",
    "move:done:after",
]


async def test_killed_between_any_two_writes_of_a_first_provisioning(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench, crash_server() as process:
        for number, point in enumerate(KILLS):
            tenant = f"t{number}"
            _forget_attributes(bench)
            pools = Pools(bench)
            assert (await run_cell(process, bench, tenant, point))["killed"], point
            await until_settled(bench)
            await pools.all_or_nothing(tenant, None)
            whole = await bench.tenants.credentials(tenant) is not None
            assert whole is (point == "move:done:after"), point


async def test_killed_between_any_two_writes_of_a_change(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench, crash_server() as process:
        assert isinstance(await bench.apply("acme", await bench.body("acme", idp="one-idp")), Done)
        before = await bench.tenants.get("acme")
        for point in [
            f"{write}:{number}:{side}"
            for number in (1, 2)
            for write in ("intend", "settle")
            for side in ("before", "after")
        ] + ["move:done:before"]:
            pools = Pools(bench)
            assert (await run_cell(process, bench, "acme", point, kind="change"))["killed"], point
            await until_settled(bench)
            await pools.holds_nothing_new("acme")
            after = await bench.tenants.get("acme")
            assert before is not None
            assert after is not None
            assert after.document == before.document, point


@pytest.mark.parametrize("fault", list(FAULTS))
async def test_faults_of_a_rotation(tmp_path: Path, fault: str) -> None:
    async with Bench(tmp_path) as bench:
        assert isinstance(await bench.apply("acme", await bench.body("acme")), Done)
        pools = Pools(bench)
        FAULTS[fault](bench, "CreateUserPoolClient")
        outcome = await bench.service.rotate("acme", actor="test")
        bench.cloud.cognito.control.faults.clear()
        await until_settled(bench)
        await pools.both_clients_or_the_old_one("acme", rotated=isinstance(outcome, Done))


ROTATION_KILLS = [
    f"{write}:{number}:{side}"
    for number in (1, 2)
    for write in ("intend", "settle")
    for side in ("before", "after")
] + ["move:done:before", "move:done:after"]


async def test_killed_between_any_two_writes_of_a_rotation_and_of_its_end(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        assert isinstance(await bench.apply("acme", await bench.body("acme", idp="one-idp")), Done)
        for point in ROTATION_KILLS:
            pools = Pools(bench)
            await die_at(bench, point, lambda service: service.rotate("acme", actor="crash"))
            await until_settled(bench)
            await pools.both_clients_or_the_old_one("acme", rotated=point == "move:done:after")
        for number, point in enumerate(
            ["intend:1:after", "settle:1:before", "settle:2:before", "move:done:before"]
        ):
            await die_at(bench, point, lambda service: service.retire("acme", actor="crash"))
            await until_settled(bench)
            credentials = await bench.tenants.credentials("acme")
            assert credentials is not None
            assert (bench.clients, credentials.retired) == ({credentials.client_id}, ()), (
                f"{number}: what is half deleted is finished"
            )
            assert isinstance(await bench.service.rotate("acme", actor="test"), Done)


async def test_killed_while_undoing(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        for number, point in enumerate(
            ["move:undoing:after", "settle:2:before", "move:rolled_back:before"]
        ):
            pools = Pools(bench)
            bench.cloud.cognito.control.state.quotas.clients = 0
            tenant, body = f"t{number}", await bench.body(f"t{number}", idp="one-idp")
            await die_at(bench, point, applying(bench, tenant, body))
            await until_settled(bench)
            await pools.holds_nothing_new(tenant)


async def test_what_cannot_be_seen_yet_is_found_later_and_taken_back(tmp_path: Path) -> None:
    """Cognito answers reads of a new thing late: a client made by a call that went unanswered
    appears after undoing looked.
    """
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        pools = Pools(bench)
        proposal = await bench.service.propose("initech", await bench.body(), update=False)
        bench.cloud.cognito.pool.behaviour.unseen_s = VISIBLE_S / 2
        bench.cloud.cognito.control.faults.plan(
            "CreateUserPoolClient", faults.drop_connection, after=True
        )
        bench.cloud.cognito.control.faults.plan(
            "ListUserPoolClients", faults.internal_error, times=3
        )
        outcome = await bench.service.apply(proposal, actor="test")
        assert isinstance(outcome, Failed)
        bench.cloud.cognito.control.faults.clear()
        await until_settled(bench)
        await pools.holds_nothing_new("initech")


async def test_a_client_that_was_made_and_cannot_be_described_is_taken_back(
    tmp_path: Path,
) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        pools, planned = Pools(bench), bench.cloud.cognito.control.faults
        planned.plan("CreateUserPoolClient", faults.drop_connection, after=True)
        planned.plan(
            "DescribeUserPoolClient", faults.fail(ApiError("NotAuthorizedException", "planned"))
        )
        outcome = await bench.apply()
        assert isinstance(outcome, Failed)
        assert outcome.code == "NotAuthorizedException"
        await until_settled(bench)
        await pools.holds_nothing_new("initech")


async def test_a_strangers_provider_of_the_same_name_is_never_deleted(tmp_path: Path) -> None:
    """Somebody makes it in the console between our look and our call, and our call goes
    unanswered.
    """
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        body = await bench.body()
        proposal = await bench.service.propose("initech", body, update=False)
        theirs = await bench.cloud.add_idp("theirs", kind="okta")
        stranger = bench.cloud.connect(theirs)
        pool = bench.cloud.cognito.pool
        pool.providers["initech-okta"] = type(stranger)(
            "initech-okta", {**stranger.settings, "ProviderName": "initech-okta"}
        )
        del pool.providers["theirs"]
        bench.cloud.cognito.control.faults.plan(
            "CreateIdentityProvider", faults.drop_connection, times=9
        )
        outcome = await bench.service.apply(proposal, actor="test")
        assert isinstance(outcome, Failed)
        bench.cloud.cognito.control.faults.clear()
        await until_settled(bench)
        assert bench.providers == {"initech-okta"}


@pytest.mark.parametrize(
    "where", ["settle", "move"], ids=["between-a-call-and-the-journal", "before-the-run-is-done"]
)
async def test_a_process_taken_for_dead_that_wakes_up_takes_back_what_it_did_last(
    tmp_path: Path, where: str
) -> None:

    woken, asleep = asyncio.Event(), asyncio.Event()

    def sleepy(journal: Journal) -> Journal:
        write = getattr(journal, where)

        async def slow(run: str, what: int | RunState, *more: Any, **named: Any) -> None:
            if what in {2, RunState.DONE} and not asleep.is_set():
                asleep.set()
                await woken.wait()
            await write(run, what, *more, **named)

        setattr(journal, where, slow)
        return journal

    async with Bench(tmp_path, hold_s=HOLD_S, wrap_journal=sleepy) as bench:
        pools = Pools(bench)
        object.__setattr__(
            bench.service.provisioning,
            "timing",
            type(TIMING)(visible_s=VISIBLE_S, beat_s=3600, recover_every_s=1),
        )
        task = asyncio.create_task(bench.apply())
        await asleep.wait()
        await until_settled(bench)
        woken.set()
        outcome = await task
        assert isinstance(outcome, Failed)
        assert outcome.refused_by == "deposed"
        await pools.holds_nothing_new("initech")
        with pytest.raises(Problem, match="was taken over by another process") as told:
            done(outcome)
        assert (told.value.status, told.value.extra["left"]) == (
            503,
            "another process goes on with it",
        )


async def test_destroying_that_is_interrupted_is_finished(tmp_path: Path) -> None:
    async with Bench(tmp_path, hold_s=HOLD_S) as bench:
        await bench.apply()
        bench.cloud.cognito.control.faults.plan(
            "DeleteUserPoolClient", faults.internal_error, times=3
        )
        assert isinstance(await bench.service.destroy("initech", actor="test"), Failed)
        await until_settled(bench)
        assert await bench.left_behind() == {}


def test_every_operation_that_changes_something_is_in_the_matrix() -> None:
    from gateway.cognito.api import OPERATIONS as OURS

    changing = {o for o in OURS if o.startswith(("Add", "Create", "Update"))}
    assert changing == {*COGNITO_STEPS.values(), *POOL_USER_STEPS.values(), *UPDATES.values()}
    assert set(OPERATIONS) >= OURS
