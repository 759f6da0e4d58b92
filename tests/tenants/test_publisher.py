"""Publisher and replica together: what the admin role writes is what every replica serves."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select, update

from gateway.admin.keys import AdminKey, Scope
from gateway.admin.keys_store import AdminKeys
from gateway.background import end
from gateway.core.model import Secret, Tenant
from gateway.core.tenants import HostKind
from gateway.database.engine import open_database
from gateway.database.schema import domains, tenants
from gateway.errors import ConfigError, UnavailableError
from gateway.keys import file as key_file
from gateway.keys import ring as keys
from gateway.metrics import REGISTRY
from gateway.runtime.dependencies import tenants_state
from gateway.sessions.pubsub import listen
from gateway.tenants import publisher as publisher_module
from gateway.tenants import snapshot
from gateway.tenants.database import TenantDatabase, look_again
from gateway.tenants.document import TenantDocument
from gateway.tenants.publisher import Publisher
from gateway.tenants.snapshot_record import Credentials
from gateway.tenants.stored import Actor, Changes, StoredTenant
from gateway.tenants.subscriber import DEAF_POLL_S, POLL_S, SnapshotTenants
from tests.database.fixtures import config_with
from tests.database.postgres import Postgres
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
    from pathlib import Path

    from gateway.database.engine import Database
    from gateway.sessions.connection import RedisClient

RING = keys.generate()
ALICE = Actor("cli:alice")


def ring() -> keys.KeyRing:
    return RING


def doc(tenant: str = "acme", **more: Any) -> TenantDocument:
    return TenantDocument.model_validate(sample(tenant, **more))


async def until(condition: Callable[[], bool], *, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


class Rig:
    """One admin process and as many replicas as a test wants, on one Valkey and one SQL."""

    def __init__(
        self,
        database: Database,
        redis: RedisClient,
        folder: Path,
        *,
        with_files: bool = True,
        **more: object,
    ) -> None:
        files = {"directory": str(folder)} if with_files else {}
        self.config = config_with(
            folder.parent / "state", tenants=files, login_host="login.example.com", **more
        )
        self.database = database
        self.tenants = TenantDatabase(database, self.config)
        self.redis = redis
        self.folder = folder
        self.narrowed: list[tuple[list[str], int]] = []
        self.ended: list[str] = []
        self.left: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        """Closed: some replica does not obey yet."""
        self.gate.set()
        self.ending = asyncio.Event()
        """Closed: sessions of a deleted tenant cannot be ended yet."""
        self.ending.set()
        self.reachable: set[str] = set()
        """Tenants of which every replica obeys at once all the same."""
        self.publisher = self.new_publisher()
        self._tasks: list[asyncio.Task[None]] = []

    def new_publisher(self) -> Publisher:
        async def narrow(
            tenants: Collection[str], generation: int, confirmed: Callable[[Collection[str]], None]
        ) -> None:
            self.narrowed.append((sorted(tenants), generation))
            confirmed([tenant for tenant in tenants if tenant in self.reachable])
            if not self.reachable.issuperset(tenants):
                await self.gate.wait()

        async def end_tenant(tenant: str) -> None:
            await self.ending.wait()
            self.ended.append(tenant)

        async def end_provider(tenant: str, provider: str) -> None:
            await self.ending.wait()
            self.left.append((tenant, provider))

        return Publisher(
            self.tenants,
            self.redis,
            ring,
            self.config,
            narrow=narrow,
            end=end_tenant,
            end_provider=end_provider,
        )

    def has_sent(self, revision: int) -> bool:
        return self.publisher._sent_revision >= revision

    async def started(self) -> Rig:
        await self.publisher.start()
        self._tasks.append(asyncio.create_task(self.publisher.run()))
        return self

    async def replica(
        self,
        *,
        with_files: bool = False,
        listens: bool = True,
        poll_s: float = POLL_S,
        deaf_poll_s: float = DEAF_POLL_S,
    ) -> SnapshotTenants:
        config = (
            self.config
            if with_files
            else config_with(self.folder.parent / "state", login_host="login.example.com")
        )
        made = SnapshotTenants(self.redis, ring, config, poll_s=poll_s, deaf_poll_s=deaf_poll_s)
        await made.start()
        self._tasks.append(asyncio.create_task(made.watch()))
        if listens:
            self._tasks.append(
                asyncio.create_task(
                    listen(
                        self.redis,
                        snapshot.CHANNEL,
                        hearing=made.hears,
                        heard=lambda _: made.wake(),
                    )
                )
            )
        return made

    async def put(self, document: TenantDocument, *, version: int | None = None) -> None:
        answer = await self.tenants.put(document, version=version, by=ALICE)
        assert isinstance(answer, StoredTenant), answer

    async def close(self) -> None:
        await end(self._tasks)


@pytest.fixture
async def rig(database: Database, redis: RedisClient, tmp_path: Path) -> AsyncIterator[Rig]:
    folder = tmp_path / "tenants"
    write(folder, sample("acme"))
    made = Rig(database, redis, folder)
    yield made
    await made.close()


def serves(replica: SnapshotTenants, host: str) -> bool:
    return isinstance(replica.table.by_host(host), Tenant)


async def test_files_and_sql_are_served_together(rig: Rig) -> None:
    await rig.put(doc("globex"))
    await rig.started()
    replica = await rig.replica()
    assert serves(replica, "acme.example.com")
    globex = replica.table.by_email_domain("globex.test")
    assert globex is not None
    assert globex.client_secret == Secret("secret of globex")
    assert replica.problems == rig.publisher.problems == ()
    assert replica.source == f"snapshot {replica.generation}"


async def test_a_lost_domain_leads_nobody_to_its_tenant_where_that_is_wanted(
    database: Database, redis: RedisClient, tmp_path: Path
) -> None:
    """And keeps nobody out who signs in at the tenant's own host."""
    rig = Rig(database, redis, tmp_path, with_files=False, domains={"on_lost": "stop"})
    await rig.put(doc("globex"))
    await rig.started()
    replica = await rig.replica()
    assert replica.table.by_email_domain("globex.test") is not None
    row = {"tenant": "globex", "domain": "globex.test", "value": "v", "result": {}}
    gone = {"state": "lost", "added_at": 1.0, "verified_at": 2.0, "vouched_by": "", "reason": ""}
    async with database.write() as connection:
        await connection.execute(insert(domains).values(**row, **gone))
        await look_again(connection)
    rig.publisher.wake()
    await until(lambda: replica.table.by_email_domain("globex.test") is None)
    served = replica.table.by_id("globex")
    assert served is not None and served.email_domains == {"globex.test"}
    assert rig.narrowed == [], "nobody's access is narrower: nobody waits"
    async with database.write() as connection:
        await connection.execute(update(domains).values(holder="globex.test", state="verified"))
        await look_again(connection)
    rig.publisher.wake()
    await until(lambda: replica.table.by_email_domain("globex.test") is not None)
    async with database.write() as connection:
        await connection.execute(update(domains).values(holder=None, state="lost"))
    rig.config = config_with(tmp_path / "state")
    kept = await TenantDatabase(database, rig.config).changed({})
    assert kept.lost == {}, "by default it stays"
    await rig.close()


@pytest.mark.parametrize("where", ["sql", "file"])
async def test_a_change_is_live_within_a_second(rig: Rig, where: str) -> None:
    await rig.started()
    replica = await rig.replica()
    took_s = []
    for tenant in ("globex", "hooli", "initech"):  # a busy machine is late now and then, not always
        began = time.monotonic()
        if where == "sql":
            await rig.put(doc(tenant))
        else:
            write(rig.folder, sample(tenant))
        await until(partial(serves, replica, f"{tenant}.example.com"), seconds=30)
        took_s.append(time.monotonic() - began)
        if took_s[-1] < 1:
            break
    assert min(took_s) < 1
    assert serves(replica, "acme.example.com")


async def test_a_push_alone_brings_a_change(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica(poll_s=3600, deaf_poll_s=3600)
    await rig.put(doc("globex"))
    await until(lambda: serves(replica, "globex.example.com"))


async def test_a_push_that_is_lost_is_made_up_for_by_polling(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica(listens=False, poll_s=0.05, deaf_poll_s=3600)
    replica.hears(standing=True)
    await rig.put(doc("globex"))
    await until(lambda: serves(replica, "globex.example.com"))


async def test_who_hears_no_push_polls(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica(listens=False, poll_s=3600, deaf_poll_s=0.05)
    await rig.put(doc("globex"))
    await until(lambda: serves(replica, "globex.example.com"))


async def test_what_was_published_while_no_push_was_heard_is_looked_for_when_one_is_again(
    rig: Rig,
) -> None:
    await rig.started()
    replica = await rig.replica(listens=False, poll_s=3600, deaf_poll_s=3600)
    before = await snapshot.stored_generation(rig.redis)
    await rig.put(doc("globex"))
    async with asyncio.timeout(5):
        while await snapshot.stored_generation(rig.redis) == before:  # noqa: ASYNC110 - Redis says nothing by itself
            await asyncio.sleep(0.005)
    assert not serves(replica, "globex.example.com")
    replica.hears(standing=True)
    await until(lambda: serves(replica, "globex.example.com"))


async def test_who_needs_newer_tenants_waits_for_them_and_no_longer_than_told(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica(poll_s=3600)
    table = replica.table
    assert not await replica.replaced(table, within_s=0.01)
    waiting = [asyncio.create_task(replica.replaced(table, within_s=60)) for _ in range(3)]
    await rig.put(doc("globex"))
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert serves(replica, "globex.example.com")
    assert await replica.replaced(table, within_s=0)


async def test_a_deleted_tenant_is_gone_within_a_second(rig: Rig) -> None:
    await rig.put(doc("globex"))
    await rig.started()
    replica = await rig.replica()
    await rig.tenants.delete("globex", version=None, by=ALICE)
    await until(lambda: replica.table.by_host("globex.example.com") is HostKind.UNKNOWN, seconds=1)


async def test_who_waits_for_a_revision_gets_the_generation_it_is_in(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica()
    before = replica.generation
    await rig.put(doc("globex"))
    revision, _ = await rig.tenants.revision()
    generation = await rig.publisher.published(revision, timeout_s=5)
    assert generation > before
    await until(lambda: replica.generation == generation)
    async with asyncio.timeout(5):
        while (await rig.tenants.revision())[1] < revision:  # noqa: ASYNC110 - SQL tells nobody
            await asyncio.sleep(0.005)
    with pytest.raises(UnavailableError, match="stored, and not yet obeyed"):
        await rig.publisher.published(revision + 1, timeout_s=0.05)


async def test_only_what_changed_is_read_again(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica()
    acme = replica.table.by_id("acme")
    await rig.put(doc("globex"))
    await until(lambda: serves(replica, "globex.example.com"))
    assert replica.table.by_id("acme") is acme
    assert len(await snapshot.present(rig.redis)) == 2


async def test_tenants_are_walked_through_once_for_each_change(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each look: with ten thousand of them that is a burden on every check, each second."""
    walks: list[str] = []
    wanted = Publisher._wanted

    def counted(publisher: Publisher, records: Any, lost: Any) -> Any:
        walks.append("")
        return wanted(publisher, records, lost)

    monkeypatch.setattr(Publisher, "_wanted", counted)
    write(rig.folder, sample())
    await rig.publisher.start()
    for name in ("", "Other", "Another"):
        if name:
            write(rig.folder, sample(name=name))
            await rig.publisher._look()
            await rig.publisher._publish_quietly()
        before = len(walks)
        for _ in range(5):
            await rig.publisher._publish_quietly()
        # Once more, by the manifest that was written.
        assert len(walks) - before == 1
        assert rig.publisher.generation == await snapshot.stored_generation(rig.redis)


async def test_records_of_long_ago_leave_redis(rig: Rig) -> None:
    await rig.put(doc("globex"))
    await rig.started()
    replica = await rig.replica()
    for number in range(3):
        await rig.put(doc("globex", name=f"Name {number}"), version=number + 1)
        await until(lambda wanted=f"Name {number}": replica.table.by_id("globex").name == wanted)  # type: ignore[misc, union-attr]
    assert len(await snapshot.present(rig.redis)) == 3


async def test_a_file_gets_its_client_from_sql(rig: Rig) -> None:
    document = sample("globex", client="managed")
    del document["client_id"], document["client_secret"]
    write(rig.folder, document)
    await rig.started()
    replica = await rig.replica()
    waiting = replica.table.by_id("globex")
    assert waiting is not None
    assert not waiting.active
    await rig.tenants.put_credentials("globex", Credentials("made", Secret("rattle")), by=ALICE)
    await until(lambda: replica.table.by_client_id("made") is not None, seconds=1)
    globex = replica.table.by_host("globex.example.com")
    assert isinstance(globex, Tenant)
    assert (globex.active, globex.client_secret) == (True, Secret("rattle"))


async def test_a_restart_publishes_nothing_new(rig: Rig) -> None:
    await rig.started()
    generation = rig.publisher.generation
    again = rig.new_publisher()
    await again.start()
    assert again.generation == generation == await snapshot.stored_generation(rig.redis)


async def test_an_emptied_redis_gets_its_snapshot_back(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica()
    generation = replica.generation
    await rig.redis.command("FLUSHALL")
    await until(lambda: replica.generation > generation)
    assert serves(replica, "acme.example.com")


async def break_manifest(redis: RedisClient) -> None:
    await redis.command("SET", snapshot.MANIFEST, "nonsense")


async def break_records(redis: RedisClient) -> None:
    for digest in await redis.command("HKEYS", snapshot.RECORDS):
        await redis.command("HSET", snapshot.RECORDS, digest, "nonsense")


async def change_a_byte(redis: RedisClient) -> None:
    sealed = await redis.command("GET", snapshot.MANIFEST)
    await redis.command("SET", snapshot.MANIFEST, sealed[:-1] + bytes([sealed[-1] ^ 1]))


async def lose_manifest(redis: RedisClient) -> None:
    await redis.command("DEL", snapshot.MANIFEST)


async def lose_records(redis: RedisClient) -> None:
    await redis.command("DEL", snapshot.RECORDS)


@pytest.mark.parametrize(
    "damage", [break_manifest, break_records, change_a_byte, lose_manifest, lose_records]
)
async def test_a_snapshot_that_a_replica_cannot_read_is_written_once_more(
    rig: Rig, damage: Callable[[RedisClient], Awaitable[None]]
) -> None:
    """Its number is still there, so that the publisher itself would see nothing, and a replica that
    starts had no tenants until somebody changed one.
    """
    await rig.started()
    served = await rig.replica()
    generation = served.generation
    await damage(rig.redis)
    starting = await rig.replica()
    assert not starting.ready
    await until(lambda: starting.ready and not starting.problems)
    assert serves(starting, "acme.example.com")
    await until(lambda: served.generation == starting.generation > generation)


async def test_a_snapshot_that_nobody_can_read_is_not_written_again_and_again(rig: Rig) -> None:
    await rig.started()
    generation = rig.publisher.generation
    await snapshot.say_unreadable(rig.redis, generation)
    await until(lambda: rig.publisher.generation > generation)
    repaired = rig.publisher.generation
    await snapshot.say_unreadable(rig.redis, repaired)
    await rig.put(doc("globex"))  # what is changed is published all the same
    await until(lambda: rig.publisher.generation > repaired)
    newest = rig.publisher.generation
    await snapshot.say_unreadable(rig.redis, newest)
    assert not await rig.publisher._is_damaged(newest)


async def test_no_mistake_of_ours_ends_the_publishing_or_the_serving(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either would go unnoticed for ever: what is changed would never be served."""
    await rig.started()
    replica = await rig.replica(poll_s=0.05, deaf_poll_s=0.05)
    failed: list[str] = []

    async def fail(*_: object) -> None:
        failed.append("")
        raise LookupError

    with monkeypatch.context() as broken:
        broken.setattr(rig.publisher, "_look", fail)
        broken.setattr(snapshot, "read_manifest", fail)
        broken.setattr("gateway.tenants.subscriber.stored_generation", fail)
        await until(
            lambda: len(failed) > 2 and bool(replica.problems) and bool(rig.publisher.problems)
        )
        assert replica.problems == ("the tenant snapshot could not be read: LookupError",)
        assert rig.publisher.problems == ("tenants cannot be read or published: LookupError",)
        assert serves(replica, "acme.example.com")
    await rig.put(doc("globex"))
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    await until(
        lambda: (
            serves(replica, "globex.example.com")
            and not replica.problems
            and not rig.publisher.problems
        )
    )


async def test_redis_with_older_data_is_told_and_mended(rig: Rig) -> None:
    await rig.started()
    old = {
        key: await rig.redis.command("DUMP", key)
        for key in (snapshot.GENERATION, snapshot.MANIFEST, snapshot.RECORDS)
    }
    replica = await rig.replica()
    await rig.put(doc("globex"))
    await until(lambda: serves(replica, "globex.example.com"))
    await rig.close()
    for key, dumped in old.items():
        await rig.redis.command("RESTORE", key, 0, dumped, "REPLACE")
    assert not await replica.refresh()
    assert "older than" in replica.problems[0]
    assert serves(replica, "globex.example.com")
    await rig.new_publisher().start()
    assert await replica.refresh()
    assert replica.problems == ()
    assert serves(replica, "globex.example.com")


TAMPERED = {
    "another key ring": b"00000000." + bytes(40),
    "not sealed": b"{}",
    "cut": None,
}


@pytest.mark.parametrize("value", TAMPERED.values(), ids=TAMPERED.keys())
async def test_a_forged_manifest_changes_nothing(rig: Rig, value: bytes | None) -> None:
    await rig.started()
    replica = await rig.replica()
    await rig.close()
    sealed: bytes = await rig.redis.command("GET", snapshot.MANIFEST)
    await rig.redis.command("SET", snapshot.MANIFEST, value if value is not None else sealed[:-1])
    await rig.redis.command("INCR", snapshot.GENERATION)
    assert not await replica.refresh()
    assert replica.problems
    assert serves(replica, "acme.example.com")
    for fresh in (await rig.replica(), await rig.replica(with_files=True)):
        with pytest.raises(UnavailableError, match="is not used"):
            _ = (
                fresh.table
            )  # the folder is no way out: somebody has decided since, and about more tenants
        finding = tenants_state(fresh)
        assert not finding.ok
        assert finding.needed, "not ready"
    assert not tenants_state(replica).needed, "what was good goes on"
    await rig.redis.command("DEL", snapshot.MANIFEST, snapshot.GENERATION)
    await fresh.refresh()
    assert serves(fresh, "acme.example.com"), "there is none any more"


async def test_a_record_moved_under_another_name_does_not_open(rig: Rig) -> None:
    await rig.put(doc("globex"))
    await rig.started()
    one, two = await snapshot.present(rig.redis)
    first, second = await rig.redis.command("HMGET", snapshot.RECORDS, one, two)
    await rig.redis.command("HSET", snapshot.RECORDS, one, second, two, first)
    fresh = SnapshotTenants(rig.redis, ring, config_with(rig.folder.parent))
    await fresh.start()
    assert "does not open" in fresh.problems[0]


async def test_a_dump_of_redis_names_nobody(rig: Rig) -> None:
    await rig.started()
    everything = b"".join(
        [
            await rig.redis.command("DUMP", key)
            for key in (snapshot.GENERATION, snapshot.MANIFEST, snapshot.RECORDS)
        ]
    )
    assert b"acme" not in everything
    assert b"secret" not in everything


async def test_a_missing_record_keeps_the_old_table(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica()
    await rig.put(doc("globex"))
    await rig.close()
    await rig.new_publisher().start()
    await rig.redis.command("DEL", snapshot.RECORDS)
    assert not await replica.refresh()
    assert replica.problems == ("a record that the manifest names is missing",)
    assert serves(replica, "acme.example.com")


async def test_without_a_snapshot_the_folder_is_served_until_there_is_one(rig: Rig) -> None:
    replica = await rig.replica(with_files=True)
    assert replica.source.startswith("files ")
    assert serves(replica, "acme.example.com")
    write(rig.folder, sample("initech"))
    await until(lambda: serves(replica, "initech.example.com"))
    await rig.put(doc("globex"))
    await rig.started()
    await until(lambda: serves(replica, "globex.example.com"))
    assert replica.source.startswith("snapshot ")
    assert serves(replica, "initech.example.com")


async def test_a_broken_file_is_no_matter_where_there_is_a_snapshot(rig: Rig) -> None:
    await rig.started()
    (rig.folder / "acme.yaml").write_text("id: [", encoding="utf-8")
    replica = await rig.replica(with_files=True)
    assert serves(replica, "acme.example.com")
    await until(lambda: bool(rig.publisher.problems))
    assert "acme.yaml, line" in rig.publisher.problems[0]


async def test_a_tenant_in_files_and_sql_is_an_error(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica()
    generation = replica.generation
    await rig.put(
        doc("acme", hosts=["other.example.com"], email_domains=["other.test"], client_id="other")
    )
    await until(lambda: bool(rig.publisher.problems))
    assert rig.publisher.problems == (
        (
            "tenant acme is in tenants.directory and in SQL: remove it from one (gateway tenants "
            "delete acme)"
        ),
    )
    assert replica.generation == generation
    with pytest.raises(ConfigError, match=r"tenant acme is in tenants\.directory and in SQL"):
        await rig.new_publisher().start()
    await rig.tenants.delete("acme", version=None, by=ALICE)
    await until(lambda: not rig.publisher.problems)


async def test_a_name_claimed_by_a_file_and_in_sql_is_an_error(rig: Rig) -> None:
    await rig.started()
    replica = await rig.replica()
    await rig.put(doc("globex", hosts=["acme.example.com"]))
    await until(lambda: bool(rig.publisher.problems))
    assert rig.publisher.problems == (
        "host acme.example.com: claimed by acme (file) and by globex",
    )
    acme = replica.table.by_host("acme.example.com")
    assert isinstance(acme, Tenant)
    assert acme.id == "acme"


async def test_what_cannot_be_served_shows_in_the_metric_until_it_can(rig: Rig) -> None:
    def shown(source: str) -> float | None:
        return REGISTRY.get_sample_value("gateway_tenant_config_errors", {"source": source})

    await rig.started()
    replica = await rig.replica(poll_s=0.05)
    (rig.folder / "broken.yaml").write_text("id: [", encoding="utf-8")
    await until(lambda: shown("publisher") == 1)
    await rig.redis.command("SET", snapshot.GENERATION, str(replica.generation + 1))
    await rig.redis.command("SET", snapshot.MANIFEST, "nonsense")
    await until(lambda: shown("snapshot") == 1)
    assert serves(replica, "acme.example.com")
    (rig.folder / "broken.yaml").unlink()
    await until(lambda: (shown("publisher"), shown("snapshot")) == (0, 0))


async def test_two_admin_processes_agree(rig: Rig) -> None:
    await rig.started()
    other = rig.new_publisher()
    await other.start()
    task = asyncio.create_task(other.run())
    replica = await rig.replica()
    for number in range(5):
        await rig.put(doc(f"t{number}x"))
    await until(lambda: len(replica.table) == 6)
    revision, _ = await rig.tenants.revision()
    await rig.publisher.published(revision, timeout_s=5)
    await other.published(revision, timeout_s=5)
    await until(lambda: not rig.publisher.problems and not other.problems)
    assert len(replica.table) == 6
    await end([task])


@pytest.mark.parametrize(
    "error",
    [ConfigError("a key that is not in the key ring"), UnavailableError("SQL does not answer")],
    ids=["key", "away"],
)
async def test_an_admin_process_that_cannot_read_sql_undoes_nothing_that_another_has_published(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(publisher_module, "CHECK_S", 0.02)
    monkeypatch.setattr(publisher_module, "POLL_S", 0.02)
    await rig.put(doc("globex"))
    await rig.started()
    other = rig.new_publisher()
    await other.start()
    looks = 0

    class Blind(TenantDatabase):
        async def revision(self) -> tuple[int, int]:
            nonlocal looks
            looks += 1
            raise error

    other._database = Blind(rig.database, rig.config)
    task = asyncio.create_task(other.run())
    try:
        replica = await rig.replica()
        await rig.put(doc("globex", active=False), version=1)
        generation = await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
        await until(lambda: replica.generation >= generation)
        seen = looks
        await until(lambda: looks > seen + 10)
        globex = replica.table.by_id("globex")
        assert globex is not None
        assert not globex.active
        assert rig.publisher.generation == generation == await snapshot.stored_generation(rig.redis)
        other._database = rig.tenants
        await until(lambda: other.generation == generation and not other.problems)
        assert other._manifest is not None
        late = replace(other._manifest, generation=generation + 1)
        assert not await snapshot.write_manifest(
            rig.redis, other._sealer, late, over=generation - 1
        ), "nor what was published since it looked"
    finally:
        await end([task])


async def test_a_tenant_that_does_not_open_stays_as_it_was_and_keeps_no_other_from_being_published(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "CLOSED_S", 0.05)
    await rig.put(doc("globex"))
    await rig.started()
    replica = await rig.replica()
    await until(lambda: serves(replica, "globex.example.com"))
    before = REGISTRY.get_sample_value("gateway_tenant_config_errors", {"source": "publisher"})

    async def seal(value: str | None) -> str:
        async with rig.database.write() as connection:
            held: str = (
                await connection.execute(select(tenants.c.secrets).where(tenants.c.id == "globex"))
            ).scalar_one()
            if value is not None:
                await connection.execute(
                    update(tenants).where(tenants.c.id == "globex").values(secrets=value)
                )
        return held

    read = rig.tenants.changed
    sealed: str | None = None

    async def reads_closed(known: Mapping[str, str]) -> Changes:
        nonlocal sealed
        if sealed is None:
            sealed = await seal("k0.AAAA")
        return await read(known)

    monkeypatch.setattr(rig.tenants, "changed", reads_closed)
    await rig.put(doc("globex", active=False), version=1)
    narrowing, _ = await rig.tenants.revision()
    await until(lambda: bool(rig.publisher.problems))
    await rig.put(doc("initech"))
    revision, _ = await rig.tenants.revision()
    await rig.publisher.published(revision, timeout_s=5, tenant="initech")
    await until(lambda: serves(replica, "initech.example.com"))
    for tenant in ("globex", None):
        with pytest.raises(UnavailableError, match="globex stays as it was"):
            await rig.publisher.published(narrowing, timeout_s=0.2, tenant=tenant)
    assert serves(replica, "globex.example.com")
    assert (
        REGISTRY.get_sample_value("gateway_tenant_config_errors", {"source": "publisher"})
        == (before or 0) + 1
    )
    await until(lambda: rig.publisher._recorded_sent[1] == {"globex"})

    assert sealed is not None
    await seal(sealed)
    await rig.publisher.published(revision, timeout_s=5)
    await until(lambda: (found := replica.table.by_id("globex")) is not None and not found.active)
    assert rig.publisher.problems == ()


async def test_while_sql_is_away_everything_goes_on_and_a_new_replica_starts(
    redis: RedisClient, tmp_path: Path
) -> None:
    server = Postgres()
    try:
        server.start()
        config = config_with(tmp_path / "state", database={"url": server.new_database()})
        database = open_database(config, lambda: RING.database)
        await database.prepare()
        rig = Rig(database, redis, tmp_path / "tenants", with_files=False)
        await rig.put(doc("globex"))
        await rig.started()
        server.stop()
        await until(lambda: bool(rig.publisher.problems))
        replica = await rig.replica()
        assert serves(replica, "globex.example.com")
        again = rig.new_publisher()
        await again.start()
        assert again.problems[0].startswith("SQL does not answer")
        assert serves(replica, "globex.example.com")
        server.start()
        await rig.put(doc("initech"))
        await until(lambda: serves(replica, "initech.example.com"))
        assert rig.publisher.problems == ()
        await rig.close()
        await database.close()
    finally:
        server.remove()


OWN = ("one", "two", "three")


def providers(*, inactive: tuple[str, ...] = (), of: tuple[str, ...] = OWN) -> dict[str, Any]:
    return {
        "providers": [
            {
                "name": f"globex-{name}",
                "kind": "okta",
                "issuer": f"https://{name}.okta.example.com",
                "active": name not in inactive,
            }
            for name in of
        ]
    }


async def test_sessions_of_a_provider_end_when_it_is_removed_or_not_active_any_more(
    rig: Rig,
) -> None:
    await rig.put(doc("globex", **providers(inactive=("three",))))
    await rig.started()
    rig.gate.clear()
    await rig.put(
        doc("globex", **providers(inactive=("one", "three"), of=("one", "three"))), version=1
    )
    await until(lambda: bool(rig.narrowed))
    assert rig.left == [], "a replica may begin a session with it still"
    revision, _ = await rig.tenants.revision()
    rig.ending.clear()
    rig.gate.set()
    with pytest.raises(UnavailableError):
        await rig.publisher.published(revision, timeout_s=0.2, tenant="globex")
    rig.ending.set()
    await rig.publisher.published(revision, timeout_s=5, tenant="globex")
    assert sorted(rig.left) == [("globex", "globex-one"), ("globex", "globex-two")]
    rig.left.clear()
    await rig.put(doc("globex", **providers(of=("one", "three"))), version=2)
    revision, _ = await rig.tenants.revision()
    await rig.publisher.published(revision, timeout_s=5, tenant="globex")
    assert rig.left == [], "nothing ends when one is active again"


async def test_what_was_to_end_with_a_provider_is_ended_after_a_restart(rig: Rig) -> None:
    await rig.put(doc("globex", **providers()))
    await rig.started()
    rig.gate.clear()
    await rig.put(doc("globex", **providers(inactive=("one",))), version=1)
    await until(lambda: bool(rig.narrowed))
    await rig.close()
    rig.gate.set()
    rig.publisher = rig.new_publisher()
    await rig.started()
    await until(lambda: rig.left == [("globex", "globex-one")])


async def test_a_removed_provider_is_remembered_over_a_restart(rig: Rig) -> None:
    await rig.put(doc("globex", **providers()))
    await rig.started()
    rig.ending.clear()
    await rig.put(doc("globex", **providers(of=("two", "three"))), version=1)
    await until(lambda: bool(rig.narrowed))
    await rig.close()
    rig.ending.set()
    await rig.put(doc("globex", **providers()), version=2)
    rig.publisher = rig.new_publisher()
    await rig.started()
    await until(lambda: rig.left == [("globex", "globex-one")])

    async def is_remembered() -> bool:
        manifest = await snapshot.read_manifest(rig.redis, snapshot.Sealer(ring))
        return manifest is None or bool(manifest.left)

    async with asyncio.timeout(10):
        while await is_remembered():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
    await rig.close()
    rig.left.clear()
    rig.publisher = rig.new_publisher()
    await rig.started()
    await rig.put(doc("globex", hosts=["other.example.com"], **providers()), version=3)
    revision, _ = await rig.tenants.revision()
    await rig.publisher.published(revision, timeout_s=5, tenant="globex")
    assert rig.left == [], "once is enough"


async def test_a_provider_that_was_removed_while_no_admin_process_ran_loses_its_sessions(
    rig: Rig,
) -> None:
    await rig.put(doc("globex", **providers()))
    await rig.started()
    await rig.close()
    await rig.put(doc("globex", **providers(of=("two", "three"))), version=1)
    rig.publisher = rig.new_publisher()
    await rig.started()
    await until(lambda: rig.left == [("globex", "globex-one")])


async def test_a_provider_that_leaves_again_while_it_ends_is_ended_again(rig: Rig) -> None:
    await rig.put(doc("globex", **providers()))
    await rig.started()
    rig.ending.clear()
    await rig.put(doc("globex", **providers(of=("two", "three"))), version=1)
    await until(lambda: bool(rig.narrowed))
    for version, of in ((2, OWN), (3, ("two", "three"))):
        await rig.put(doc("globex", **providers(of=of)), version=version)
        revision, _ = await rig.tenants.revision()
        await until(partial(rig.has_sent, revision))
    rig.gate.clear()
    rig.ending.set()
    await until(lambda: len(rig.left) == 1)
    revision, _ = await rig.tenants.revision()
    with pytest.raises(UnavailableError):
        await rig.publisher.published(revision, timeout_s=0.2, tenant="globex")
    rig.gate.set()
    await rig.publisher.published(revision, timeout_s=5, tenant="globex")
    assert rig.left == [("globex", "globex-one")] * 2


async def test_a_narrowing_counts_as_done_when_every_replica_obeys(rig: Rig) -> None:
    await rig.put(doc("globex", hosts=["globex.example.com", "old.example.com"]))
    await rig.started()
    await rig.replica()
    assert rig.narrowed == []
    await rig.put(
        doc(
            "globex",
            hosts=["globex.example.com", "old.example.com", "new.example.com"],
            name="Wider",
        ),
        version=1,
    )
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    assert rig.narrowed == []
    rig.gate.clear()
    await rig.put(doc("globex"), version=2)
    revision, _ = await rig.tenants.revision()
    with pytest.raises(UnavailableError, match="not yet obeyed"):
        await rig.publisher.published(revision, timeout_s=0.5)
    assert rig.narrowed == [(["globex"], rig.publisher.generation)]
    rig.gate.set()
    await rig.publisher.published(revision, timeout_s=5)


async def test_one_tenant_that_cannot_be_confirmed_delays_no_other(rig: Rig) -> None:
    for name in ("globex", "initech", "umbrella"):
        await rig.put(doc(name, hosts=[f"{name}.example.com", f"old.{name}.example.com"]))
    await rig.started()
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    rig.gate.clear()
    rig.reachable = {"initech", "umbrella"}
    revisions = {}
    for name in (
        "globex",
        "initech",
        "umbrella",
    ):  # together with the one that is stuck, and while it is waited for
        await rig.put(doc(name), version=1)
        revisions[name], _ = await rig.tenants.revision()
        if name != "globex":
            await rig.publisher.published(revisions[name], timeout_s=5, tenant=name)
    with pytest.raises(UnavailableError, match="not yet obeyed"):
        await rig.publisher.published(revisions["globex"], timeout_s=0.1, tenant="globex")
    with pytest.raises(UnavailableError, match="not yet obeyed"):
        await rig.publisher.published(revisions["umbrella"], timeout_s=0.1)
    assert await rig.tenants.delete("umbrella", version=None, by=None) is None
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5, tenant="umbrella")
    assert rig.ended == ["umbrella"]
    revision, _ = await rig.tenants.revision()
    await rig.publisher.published(revision, timeout_s=5, tenant="initech")
    with pytest.raises(UnavailableError, match="not yet obeyed"):
        await rig.publisher.published(revision, timeout_s=0.3, tenant="globex")
    rig.gate.set()
    await rig.publisher.published(revision, timeout_s=5, tenant="globex")
    await rig.publisher.published(revisions["umbrella"], timeout_s=5)


async def test_a_command_hears_of_a_deletion_when_the_sessions_have_ended(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.put(doc("globex"))
    await rig.started()
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    rig.ending.clear()
    assert await rig.tenants.delete("globex", version=None, by=None) is None
    rig.publisher.wake()
    await until(lambda: "globex" in rig.publisher._gone_at)
    deleted, published = await rig.tenants.revision()
    assert published < deleted
    rig.ending.set()
    async with asyncio.timeout(5):
        while (await rig.tenants.revision())[1] < deleted:  # noqa: ASYNC110 - SQL tells nobody
            await asyncio.sleep(0.01)
    assert rig.ended == ["globex"]
    # What cannot be ended for long delays nobody else.
    monkeypatch.setattr("gateway.tenants.publisher.ENDING_AWAITED_S", 0.1)
    rig.ending.clear()
    await rig.put(doc("initech"))
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    assert await rig.tenants.delete("initech", version=None, by=None) is None
    rig.publisher.wake()
    await until(lambda: "initech" in rig.publisher._gone_at)
    deleted, _ = await rig.tenants.revision()
    async with asyncio.timeout(5):
        while (await rig.tenants.revision())[1] < deleted:  # noqa: ASYNC110 - SQL tells nobody
            await asyncio.sleep(0.01)
    assert rig.ended == ["globex"]
    rig.ending.set()


async def test_what_another_admin_process_narrowed_is_waited_for_all_the_same(rig: Rig) -> None:
    """Else a change through one process counted as done while the other still waits for its
    replicas.
    """
    await rig.put(doc("globex", hosts=["globex.example.com", "old.example.com"]))
    await rig.started()
    other = rig.new_publisher()
    await other.start()
    rig.gate.clear()
    await rig.put(doc("globex"), version=1)
    await until(lambda: bool(rig.narrowed))
    task = asyncio.create_task(other.run())
    try:
        revision, _ = await rig.tenants.revision()
        with pytest.raises(UnavailableError, match="not yet obeyed"):
            await other.published(revision, timeout_s=1)
        assert other.generation == rig.publisher.generation
        rig.gate.set()
        await other.published(revision, timeout_s=5)
    finally:
        await end([task])


async def test_a_narrowing_that_was_cut_short_is_waited_for_after_a_restart(rig: Rig) -> None:
    await rig.put(doc("globex"))
    await rig.started()
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    rig.gate.clear()
    await rig.put(doc("globex", active=False), version=1)
    await until(lambda: bool(rig.narrowed))
    await rig.close()
    rig.narrowed.clear()
    rig.publisher = rig.new_publisher()
    await rig.started()
    revision, _ = await rig.tenants.revision()
    with pytest.raises(UnavailableError, match="not yet obeyed"):
        await rig.publisher.published(revision, timeout_s=0.5)
    assert "globex" in rig.narrowed[0][0]
    rig.gate.set()
    await rig.publisher.published(revision, timeout_s=5)


async def test_what_changed_while_no_admin_process_ran_is_taken_for_a_narrowing(rig: Rig) -> None:
    await rig.put(doc("globex"))
    await rig.started()
    await rig.close()
    await rig.put(doc("globex", name="Other"), version=1)
    write(rig.folder, sample("initech"))
    rig.publisher = rig.new_publisher()
    await rig.started()
    await until(lambda: bool(rig.narrowed))
    assert all("globex" in tenants for tenants, _ in rig.narrowed)


async def test_a_slow_replica_delays_no_other_change(rig: Rig) -> None:
    await rig.put(doc("globex"))
    await rig.started()
    replica = await rig.replica()
    rig.gate.clear()
    await rig.put(doc("globex", active=False), version=1)
    await until(lambda: bool(rig.narrowed))
    write(rig.folder, sample("initech"))
    await until(lambda: serves(replica, "initech.example.com"))
    await rig.put(doc("globex", allowed_groups=[], active=False), version=2)
    revision, _ = await rig.tenants.revision()
    await until(lambda: (replica.table.by_id("globex") or _nobody()).allowed_groups == frozenset())
    rig.gate.set()
    generation = await rig.publisher.published(revision, timeout_s=5)
    assert rig.narrowed[-1] == (["globex"], generation)


def _nobody() -> Tenant:
    raise AssertionError


async def test_a_file_is_served_though_sql_is_away(redis: RedisClient, tmp_path: Path) -> None:
    server = Postgres()
    try:
        server.start()
        database = open_database(
            config_with(tmp_path / "state", database={"url": server.new_database()}),
            lambda: RING.database,
        )
        await database.prepare()
        write(tmp_path / "tenants", sample("acme"))
        rig = Rig(database, redis, tmp_path / "tenants")
        await rig.started()
        replica = await rig.replica()
        server.stop()
        write(tmp_path / "tenants", sample("initech"))
        await until(lambda: serves(replica, "initech.example.com"))
        await rig.close()
        await database.close()
    finally:
        server.remove()


async def test_a_tenant_that_is_gone_takes_its_sessions_with_it(rig: Rig) -> None:
    await rig.put(doc("globex"))
    await rig.started()
    replica = await rig.replica()
    await until(lambda: serves(replica, "globex.example.com"))
    rig.gate.clear()
    (rig.folder / "acme.yaml").rename(rig.folder / "acme.away")
    write(rig.folder, sample("hooli"))
    assert await rig.tenants.delete("globex", version=None, by=ALICE) is None
    await until(lambda: any({"acme", "globex"} <= {*names} for names, _ in rig.narrowed))
    assert rig.ended == [], "while somebody may still serve it, more sessions may begin"
    revision, _ = await rig.tenants.revision()
    with pytest.raises(UnavailableError):
        await rig.publisher.published(revision, timeout_s=0.1)
    rig.gate.set()
    await rig.publisher.published(revision, timeout_s=5)
    assert sorted(rig.ended) == ["acme", "globex"]


async def test_between_two_looks_a_tenant_is_deleted_and_made_again(rig: Rig) -> None:
    """The very same document, and another tenant: it is served when everything of the one before
    has ended.
    """
    await rig.put(doc("globex"))
    await rig.publisher.start()
    replica = await rig.replica()
    assert serves(replica, "globex.example.com")
    assert await rig.tenants.delete("globex", version=None, by=ALICE) is None
    await rig.put(doc("globex"))
    ending = asyncio.Event()

    async def end_slowly(tenant: str) -> None:
        await ending.wait()
        rig.ended.append(tenant)

    rig.publisher._end = end_slowly
    await rig.started()
    await until(lambda: not serves(replica, "globex.example.com"))
    ending.set()
    await until(lambda: serves(replica, "globex.example.com"))
    assert rig.ended == ["globex"]


@pytest.mark.parametrize(
    "error",
    [UnavailableError("its primary is away"), LookupError("a mistake of ours")],
    ids=["away", "mistake"],
)
async def test_a_tenant_whose_sessions_cannot_be_ended_holds_up_no_other_change(
    rig: Rig, error: Exception
) -> None:
    """Its own deletion counts as done when they have ended; and meanwhile nobody is served under
    its id.
    """
    await rig.put(doc("globex"))
    await rig.put(doc("hooli"))
    may_end = asyncio.Event()

    async def end_when_possible(tenant: str) -> None:
        if tenant == "globex" and not may_end.is_set():
            raise error
        rig.ended.append(tenant)

    rig.publisher._end = end_when_possible
    await rig.started()
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    assert await rig.tenants.delete("globex", version=None, by=ALICE) is None
    deleted, _ = await rig.tenants.revision()
    with pytest.raises(UnavailableError):
        await rig.publisher.published(deleted, timeout_s=0.5)
    await rig.put(doc("initech"))
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    assert await rig.tenants.delete("hooli", version=None, by=ALICE) is None
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    await rig.put(doc("globex"))
    replica = await rig.replica()
    await until(lambda: serves(replica, "initech.example.com"))
    assert not serves(replica, "globex.example.com")
    assert rig.ended == ["hooli"]
    may_end.set()
    await rig.publisher.published(deleted, timeout_s=5)
    await until(lambda: serves(replica, "globex.example.com"))


async def test_whoever_changes_a_tenant_again_and_again_keeps_no_other_narrowing_from_being_confirmed(  # noqa: E501 - a test's name is a sentence
    rig: Rig,
) -> None:
    """Each confirmation here takes longer than it takes until the next snapshot."""
    await rig.put(doc("globex"))
    await rig.started()
    await rig.publisher.published((await rig.tenants.revision())[0], timeout_s=5)
    rig.gate.clear()
    await rig.put(doc("globex", active=False), version=1)
    revision, _ = await rig.tenants.revision()
    await until(lambda: bool(rig.narrowed))
    first = rig.narrowed[-1][1]
    write(rig.folder, sample("initech"))
    await until(lambda: rig.publisher.generation > first)
    rig.gate.set()
    await rig.publisher.published(revision, timeout_s=5)
    assert rig.narrowed == [(["globex"], first)], "asked for once, and that was enough"


async def test_what_a_predecessor_left_to_be_ended_is_ended_by_the_next(rig: Rig) -> None:
    await rig.put(doc("globex"))
    await rig.publisher.start()
    await rig.tenants.delete("globex", version=None, by=ALICE)
    await rig.new_publisher().start()  # publishes without it, and dies
    assert rig.ended == []
    rig.publisher = rig.new_publisher()
    await rig.started()
    await until(lambda: rig.ended == ["globex"])


async def test_a_deleted_tenants_own_admin_keys_end_with_it(rig: Rig) -> None:
    admin_keys = AdminKeys(rig.database, clock=time.time)
    made = [
        await admin_keys.create(
            name=name, scopes=[Scope.HOOKS], tenant=name, lifetime_s=None, made_by="test"
        )
        for name in ("globex", "acme")
    ]
    await rig.put(doc("globex"))
    await rig.tenants.delete("globex", version=None, by=ALICE)
    answers = [
        await admin_keys.authenticate(new.presented.reveal()) for new in made if new is not None
    ]
    assert [isinstance(answer, AdminKey) for answer in answers] == [False, True]


async def test_a_snapshot_that_was_put_back_is_served_by_a_process_that_starts_then_until_the_admin_role_looks(  # noqa: E501 - a test's name is a sentence
    rig: Rig,
) -> None:
    """What write access to Redis can do: the threat model says so. Processes that run take nothing
    older.
    """
    await rig.put(doc("globex"))
    await rig.started()
    running = await rig.replica()
    await until(lambda: serves(running, "globex.example.com"))
    kept = {
        name: await rig.redis.command("DUMP", name)
        for name in (snapshot.GENERATION, snapshot.MANIFEST, snapshot.RECORDS)
    }
    assert await rig.tenants.delete("globex", version=None, by=ALICE) is None
    await until(lambda: not serves(running, "globex.example.com") and rig.ended == ["globex"])
    await end([rig._tasks.pop(0)])
    for name, value in kept.items():
        await rig.redis.command("RESTORE", name, 0, value, "REPLACE")
    starting = await rig.replica()
    running.wake()
    assert serves(starting, "globex.example.com")
    assert not serves(running, "globex.example.com")
    rig.publisher = rig.new_publisher()
    await rig.started()
    await until(lambda: not serves(starting, "globex.example.com"))
    assert "globex" in rig.ended[1:], (
        "and ended once more: under the old snapshot somebody may have come in"
    )


async def test_with_another_key_ring_nothing_is_published_and_nothing_is_served(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the processes have got another ring: those that had the first go on, and who starts
    with the other one is not ready, and replaces nothing.
    """
    await rig.put(doc("globex"))
    await rig.started()
    replica = await rig.replica()
    there = await rig.redis.command("GET", snapshot.MANIFEST)
    first = RING
    other = keys.generate()
    monkeypatch.setattr(sys.modules[__name__], "RING", other)
    with pytest.raises(
        ConfigError, match=rf"sealed with key '{first.sealing[0].kid}'.*Put that one back"
    ):
        await rig.new_publisher().start()
    fresh = await rig.replica(with_files=True)
    with pytest.raises(UnavailableError, match="not in the key ring"):
        fresh.table.by_host("globex.example.com")
    finding = tenants_state(fresh)
    assert finding.needed, "not ready"
    assert await rig.redis.command("GET", snapshot.MANIFEST) == there
    assert serves(replica, "globex.example.com"), "what was read goes on"

    monkeypatch.setattr(sys.modules[__name__], "RING", first)
    assert await fresh.refresh(), "the ring is back"


async def test_after_a_rotation_all_of_the_snapshot_is_sealed_with_the_new_key(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old key goes one day, and who starts then must open the records of tenants that nobody
    changed meanwhile.
    """
    await rig.put(doc("globex"))
    await rig.started()
    replica = await rig.replica()
    staged = key_file.stage(RING, "sealing")
    monkeypatch.setattr(sys.modules[__name__], "RING", staged)
    await rig.publisher._publish_quietly()
    assert await snapshot.snapshot_key_id(rig.redis) == RING.sealing[0].kid, "it does not write yet"
    rotated = key_file.promote(staged, "sealing", now=int(time.time()))
    monkeypatch.setattr(sys.modules[__name__], "RING", rotated)
    before = rig.publisher.generation
    await until(lambda: rig.publisher.generation > before)
    monkeypatch.setattr(
        sys.modules[__name__], "RING", replace(rotated, sealing=rotated.sealing[:1])
    )
    fresh = await rig.replica()
    assert serves(fresh, "globex.example.com")
    assert serves(fresh, "acme.example.com")
    await until(lambda: replica.generation == rig.publisher.generation)


async def test_files_are_served_only_once_redis_has_said_that_there_is_no_snapshot(
    rig: Rig,
) -> None:
    """Else a replica that starts while Redis is away says of each tenant in SQL that it knows none
    of that name.
    """

    class Away:
        away = True

        async def command(self, *words: str | bytes | int) -> Any:
            if self.away:
                msg = "Redis: ConnectionError"
                raise UnavailableError(msg)
            return await rig.redis.command(*words)

    store = Away()
    replica = SnapshotTenants(store, ring, rig.config)
    await replica.start()
    with pytest.raises(UnavailableError, match="Redis: ConnectionError"):
        _ = replica.table
    assert tenants_state(replica).needed, "not ready"
    store.away = False
    await replica.refresh()
    assert serves(replica, "acme.example.com")
    assert replica.source.startswith("files ")
    store.away = True
    await replica.refresh()
    assert serves(replica, "acme.example.com"), "it is known that there was none"
