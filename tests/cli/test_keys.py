"""``gateway keys``: a rotation signs nobody out, forgets no block, and waits for every process."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from gateway.cli import run
from gateway.cli.local_stores import configured_stores
from gateway.core.reason import Reason
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.keys import file
from gateway.keys import ring as keys
from gateway.sessions.api import SessionCreated, SessionRefused
from gateway.sessions.connection import Target, client_to
from gateway.sessions.embedded import EmbeddedValkey
from gateway.sessions.key_adoption import KeyAdoption
from gateway.sessions.store import RedisSessions
from gateway.tenants.snapshot import Manifest, Sealer, write_manifest
from tests.sessions.conftest import HOST, Login, believe, identity, tenant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path


T = TypeVar("T")
CONFIG = """
ingress: {trusted_proxies: [127.0.0.1/32]}
cognito: {region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, domain: https://pool.example.com}
state_dir: STATE
"""


class Beside:
    """A store that runs, a configuration that names it, and a command line: no gateway."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.config = folder / "gateway.yaml"
        self.config.write_text(CONFIG.replace("STATE", str(self.state)))
        self.store = EmbeddedValkey.start(self.state)
        self.ring = keys.load(self.state / "keys.json", create=True)

    def gateway(self, *arguments: str) -> int:
        return run([*arguments[:2], "-c", str(self.config), *arguments[2:]])

    def with_sessions(self, work: Callable[[Login], Awaitable[T]]) -> T:
        async def inside() -> T:
            sessions = RedisSessions(
                client_to(Target("unix", path=self.store.socket_path), ca_file=None, replicas=0),
                lambda: self.ring,
            )
            await believe(sessions.redis)
            try:
                return await work(Login(sessions, tenant()))
            finally:
                await sessions.close()

        return asyncio.run(inside())

    def alive(self, stored: SessionCreated) -> bool:
        return (
            self.with_sessions(lambda login: login.sessions.find(stored.cookie.reveal(), host=HOST))
            is not None
        )

    def block(self, who: Who, *, lift: bool = False) -> None:
        """As an operator would, over the gateway."""

        async def inside() -> None:
            async with configured_stores(str(self.config)) as stores:
                request = RevocationRequest(
                    "acme", who, RevocationKind.BLOCK, "left", "admin", by_hand=True
                )
                await (stores.revoker.lift if lift else stores.revoker.revoke)(request)

        asyncio.run(inside())


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    made = Beside(tmp_path)
    yield made
    made.store.stop()


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_rotation_signs_nobody_out_and_forgets_no_block(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    before = beside.with_sessions(lambda login: login.finish())
    beside.block(Who(email="carol@acme.test"))
    assert beside.gateway("keys", "rotate", "--json") == 0
    rotated = answer(capsys)
    assert [(r["kind"], r["promoted"], r["dropped"]) for r in rotated] == [
        ("sealing", True, []),
        ("assertion", True, []),
    ]
    old = beside.ring
    beside.ring = keys.load(beside.state / "keys.json", create=False)
    assert beside.ring.sealing[0].kid == rotated[0]["kid"]
    assert beside.ring.sealing[1].material == old.sealing[0].material
    assert beside.alive(before)
    after = beside.with_sessions(lambda login: login.finish())
    assert beside.alive(after)

    # The old key is gone one day: what stands, stands under the new one.
    beside.ring = replace(beside.ring, sealing=beside.ring.sealing[:1])
    assert beside.alive(after)
    assert not beside.alive(before)

    async def carol(login: Login) -> object:
        return await login.sessions.finish_login(
            login.new(await login.begin(), identity=identity("carol"))
        )

    assert beside.with_sessions(carol) == SessionRefused(Reason.USER_BLOCKED)
    beside.block(Who(email="carol@acme.test"), lift=True)
    assert isinstance(beside.with_sessions(carol), SessionCreated)


def test_a_key_does_not_write_before_every_process_reads_with_it(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    async def speak(login: Login) -> None:
        await KeyAdoption(login.sessions.redis, lambda: beside.ring).report("replica-1")

    beside.with_sessions(speak)
    assert beside.gateway("keys", "rotate", "sealing", "--wait", "1ms", "--json") == 1
    (result,) = answer(capsys)
    assert (result["promoted"], result["waiting_for"]) == (False, ["replica-1"])
    assert (
        keys.load(beside.state / "keys.json", create=False).sealing[0].kid
        == beside.ring.sealing[0].kid
    )
    assert beside.gateway("keys", "list", "--json") == 0
    assert [(k["kind"], k["state"]) for k in answer(capsys)] == [
        ("sealing", "writes"),
        ("sealing", "staged, reads"),
        ("assertion", "writes"),
        ("database", "writes"),
    ]
    beside.ring = keys.load(beside.state / "keys.json", create=False)
    beside.with_sessions(speak)
    assert beside.gateway("keys", "rotate", "sealing", "--json") == 0
    assert answer(capsys)[0]["kid"] == result["kid"]


def test_a_retired_key_is_dropped_when_nothing_it_wrote_can_be_alive(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    path = beside.state / "keys.json"
    ring = file.promote(
        file.stage(beside.ring, "sealing"), "sealing", now=int(time.time()) - 31 * 86400
    )
    with file.editing(path) as save:
        save(ring)
    first = beside.ring

    async def publish(login: Login) -> None:
        link = login.sessions.redis
        assert await write_manifest(link, Sealer(lambda: first), Manifest(1, {}), over=0)

    async def publish_again(login: Login) -> None:
        link = login.sessions.redis
        assert await write_manifest(link, Sealer(lambda: ring), Manifest(2, {}), over=1)

    beside.with_sessions(publish)
    assert beside.gateway("keys", "rotate", "sealing", "--json") == 0
    assert answer(capsys)[0]["dropped"] == [], "the snapshot needs it: no admin role ran since"
    beside.with_sessions(publish_again)
    with file.editing(path) as save:
        save(ring)
    assert beside.gateway("keys", "rotate", "sealing", "--json") == 0
    assert answer(capsys)[0]["dropped"] == [beside.ring.sealing[0].kid]
    assert len(keys.load(path, create=False).sealing) == 2


def test_compromised_keys_are_dropped_at_once_and_no_block_with_them(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    before = beside.with_sessions(lambda login: login.finish())
    beside.block(Who(email="carol@acme.test"))
    assert beside.gateway("keys", "rotate", "--compromised", "--json") == 0
    former, results = beside.ring, answer(capsys)
    assert [(r["kind"], r["dropped"]) for r in results] == [
        ("sealing", [former.sealing[0].kid]),
        ("assertion", [former.assertion[0].kid]),
    ]
    beside.ring = keys.load(beside.state / "keys.json", create=False)
    assert [len(getattr(beside.ring, kind)) for kind in file.KINDS] == [1, 1, 1]
    assert beside.ring.assertion[0].writes_from <= time.time(), "it signs"
    assert not beside.alive(before)
    assert beside.alive(beside.with_sessions(lambda login: login.finish()))

    async def carol(login: Login) -> object:
        return await login.sessions.finish_login(
            login.new(await login.begin(), identity=identity("carol"))
        )

    assert beside.with_sessions(carol) == SessionRefused(Reason.USER_BLOCKED)
    assert beside.gateway("keys", "rotate", "database", "--compromised") == 2


def test_a_login_that_began_before_a_key_was_dropped_makes_no_session(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    async def login_begun(login: Login) -> int:
        return await login.begin()

    begun = beside.with_sessions(login_begun)
    beside.block(Who(email="x@acme.test"))  # a tenant that the record knows
    assert beside.gateway("keys", "rotate", "sealing", "--compromised") == 0
    beside.ring = keys.load(beside.state / "keys.json", create=False)

    async def finished(login: Login) -> object:
        return await login.sessions.finish_login(login.new(begun))

    assert isinstance(beside.with_sessions(finished), SessionRefused)


def test_a_compromised_key_stays_until_nothing_needs_it_and_the_next_run_drops_it(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    path, stolen = beside.state / "keys.json", beside.ring
    rotate = ("keys", "rotate", "sealing", "--compromised", "--wait", "1ms", "--json")

    async def speak(login: Login) -> None:
        ring = beside.ring
        await KeyAdoption(login.sessions.redis, lambda: ring).report("replica-1")

    async def publish(login: Login) -> None:
        ring, over = beside.ring, 0 if beside.ring is stolen else 1
        link, manifest = login.sessions.redis, Manifest(over + 1, {})
        assert await write_manifest(link, Sealer(lambda: ring), manifest, over=over)

    beside.with_sessions(publish)
    # Of an earlier rotation that could not end: whoever stole the ring has it.
    with file.editing(path) as save:
        save(file.stage(beside.ring, "sealing"))
    beside.ring = keys.load(path, create=False)
    in_theft = [key.kid for key in beside.ring.sealing]
    beside.with_sessions(speak)
    assert beside.gateway(*rotate) == 1
    (result,) = answer(capsys)
    assert (result["promoted"], result["waiting_for"]) == (False, ["replica-1"])
    beside.ring = keys.load(path, create=False)
    assert [key.compromised for key in beside.ring.sealing] == [True, True, False]
    assert [key.kid for key in beside.ring.sealing] == [*in_theft, result["kid"]]
    beside.with_sessions(speak)
    assert beside.gateway(*rotate) == 1
    (result,) = answer(capsys)
    assert (result["promoted"], result["dropped"]) == (True, [])
    assert result["waiting_for"] == ["replica-1", "an admin role that publishes the tenants"]
    beside.ring = keys.load(path, create=False)
    assert [key.compromised for key in beside.ring.sealing] == [False, True, True]
    beside.with_sessions(speak)
    beside.with_sessions(publish)
    assert beside.gateway(*rotate) == 0
    (result,) = answer(capsys)
    assert result["dropped"] == in_theft
    assert [key.kid for key in keys.load(path, create=False).sealing] == [result["kid"]]


def test_a_list_never_shows_a_key(beside: Beside, capsys: pytest.CaptureFixture[str]) -> None:
    assert beside.gateway("keys", "list") == 0
    shown = capsys.readouterr().out
    text = (beside.state / "keys.json").read_text()
    assert beside.ring.sealing[0].kid in shown
    assert all(entry["key"] not in shown for entry in json.loads(text)["sealing"])
    assert "PRIVATE" not in shown


def test_an_unknown_kind_is_refused(beside: Beside) -> None:
    assert beside.gateway("keys", "rotate", "everything") == 2


def shared_ring(beside: Beside, path: Path) -> None:
    """Replicas that share a store share the ring, so none of them makes one by itself."""
    beside.config.write_text(
        beside.config.read_text()
        + f"redis: {{url: 'unix://{beside.store.socket_path}'}}\nkey_ring: {{file: {path}}}\n"
    )


def test_a_ring_is_made_where_there_is_none(tmp_path: Path, beside: Beside) -> None:
    shared_ring(beside, tmp_path / "new" / "keys.json")
    assert beside.gateway("keys", "list") == 2
    assert beside.gateway("keys", "rotate", "--create") == 0
    assert beside.gateway("keys", "list") == 0


def test_no_ring_is_made_where_something_was_written_with_another_one(
    beside: Beside, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The file was on a disk that a reboot empties: a new one would end every session, and lose the
    client secrets.
    """
    beside.block(Who(email="a@acme.test"))
    ring = beside.ring

    async def publish(login: Login) -> None:
        sealer = Sealer(lambda: ring)
        manifest = Manifest(1, {})
        assert await write_manifest(login.sessions.redis, sealer, manifest, over=0)
        await KeyAdoption(login.sessions.redis, lambda: ring).report("replica-1")

    beside.with_sessions(publish)
    here = tmp_path / "new" / "keys.json"
    shared_ring(beside, here)
    assert beside.gateway("keys", "rotate", "--create") == 2
    said = capsys.readouterr().err
    assert f"SQL (database.url) holds values encrypted with key {ring.database[0].kid}" in said
    assert f"tenant snapshot, encrypted with key {ring.sealing[0].kid}" in said
    assert "replica-1" in said
    assert "Put the key ring back" in said
    assert not here.exists()

    beside.store.stop()
    assert beside.gateway("keys", "rotate", "--create") == 2
    assert "Redis (redis.url) cannot be asked" in capsys.readouterr().err, "who knows"
    assert not here.exists()
    here.parent.mkdir()
    keys.load(here, create=True)
    assert beside.gateway("keys", "rotate", "--create") == 0, "it is there"


def test_a_ring_that_somebody_put_there_is_not_encrypted(
    beside: Beside, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its writer knows its keys, and may have given them the ids of the right ones."""
    beside.block(Who(email="a@acme.test"))
    ring, path = beside.ring, tmp_path / "keys.json"

    async def publish(login: Login) -> None:
        link = login.sessions.redis
        assert await write_manifest(link, Sealer(lambda: ring), Manifest(1, {}), over=0)

    beside.with_sessions(publish)
    shared_ring(beside, path)
    another = keys.generate()
    named = replace(
        another,
        sealing=(replace(another.sealing[0], kid=ring.sealing[0].kid),),
        database=(replace(another.database[0], kid=ring.database[0].kid),),
    )
    for planted in (another, named):
        text = keys.dump(planted)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")
        for command in ("wrap", "unwrap"):
            with_kms(beside, path)
            assert beside.gateway("keys", command) == 2
            said = capsys.readouterr()
            assert f"database: key {planted.database[0].kid}" in said.out
            assert "SQL " in said.err and "tenant snapshot" in said.err
            assert "put the key ring back" in said.err
            assert path.read_text("ascii") == text
    assert beside.gateway("keys", "unwrap", "--force") == 0
    path.write_text(keys.dump(ring), encoding="ascii")
    assert beside.gateway("keys", "unwrap") == 0


def with_kms(beside: Beside, path: Path) -> None:
    """No server is behind it: a ring that is refused is encrypted nowhere."""
    kms = "kms: {key_id: 'arn:aws:kms:eu-north-1:111122223333:key/1'}"
    text = beside.config.read_text("utf-8").replace(f"file: {path}}}", f"file: {path}, {kms}}}")
    assert kms in text
    beside.config.write_text(text, encoding="utf-8")


def test_config_check_names_the_key_that_the_ring_lacks(
    beside: Beside, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    beside.block(Who(email="a@acme.test"))
    ring = beside.ring

    async def publish(login: Login) -> None:
        link = login.sessions.redis
        assert await write_manifest(link, Sealer(lambda: ring), Manifest(1, {}), over=0)

    beside.with_sessions(publish)
    capsys.readouterr()
    beside.gateway("config", "check", "--json")
    (embedded,) = [found for found in answer(capsys) if found["check"] == "snapshot"]
    assert (embedded["ok"], embedded["detail"]) == (True, "0 tenants, number 1; opens")
    here = tmp_path / "keys.json"
    shared_ring(beside, here)
    findings = {}
    for name in ("another", "the one"):
        here.unlink(missing_ok=True)
        keys.load(here, create=True)
        if name == "the one":
            here.write_text(keys.dump(ring), encoding="ascii")
        capsys.readouterr()
        beside.gateway("config", "check", "--json")
        findings[name] = {
            found["check"]: (found["ok"], found["detail"]) for found in answer(capsys)
        }
    another, right = findings["another"], findings["the one"]
    for check, kid in (("database_keys", ring.database[0].kid), ("snapshot", ring.sealing[0].kid)):
        assert not another[check][0]
        assert kid in another[check][1]
        assert "not in the key ring" in another[check][1]
        assert right[check][0]
    assert right["database_schema"] == another["database_schema"]
    assert right["database_schema"][0]
