"""What ``config check`` demands of the store, asked of real servers, sentinels and Clusters."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.processes import free_port
from gateway.config.model import Redis as RedisSettings
from gateway.config.model import load_config
from gateway.core.model import Secret
from gateway.keys import ring as keys
from gateway.runtime.config_check import requirement_states
from gateway.sessions.connection import connect
from gateway.sessions.key_adoption import KeyAdoption
from gateway.sessions.store_requirements import requirements
from gateway.sessions.store_rights import kept
from tests.sessions import servers
from tests.sessions.acl import documented_rights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.runtime.health import DependencyState
    from gateway.sessions.store_rights import Requirement

DEPLOY = Path(__file__).parents[2] / "deploy" / "valkey"


def shipped(name: str) -> list[list[str]]:
    """The directives of a file that operators are told to use."""
    return [
        line.split()
        for line in (DEPLOY / name).read_text("ascii").splitlines()
        if line and not line.startswith("#")
    ]


def as_options(name: str) -> list[str]:
    return [word for option, *values in shipped(name) for word in (f"--{option}", *values)]


async def ask(
    settings: RedisSettings, ring: keys.KeyRing, *, speakers: tuple[str, ...] = ()
) -> list[Requirement]:
    redis = connect(settings)
    try:
        for name in speakers:
            await KeyAdoption(redis, lambda: ring).report(name)
        return await requirements(redis, settings, lambda: ring)
    finally:
        await redis.close()


def unmet(found: list[Requirement]) -> dict[str, str]:
    return {demand.name: demand.detail for demand in found if not demand.ok}


@contextlib.contextmanager
def under_sentinel(
    directory: Path,
) -> Iterator[tuple[servers.Server, list[servers.Server], servers.Server]]:
    """Primary, two replicas and a sentinel, set as the shipped files are."""
    options = as_options("valkey.conf")
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(servers.running(directory / "p", *options))
        replicas = [
            stack.enter_context(
                servers.running(
                    directory / f"r{n}", *options, "--replicaof", f"127.0.0.1 {primary.port}"
                )
            )
            for n in (1, 2)
        ]
        for replica in replicas:
            replica.until(lambda reply: b"master_link_status:up" in reply, "INFO", "replication")
        lines = [" ".join(words) for words in shipped("sentinel.conf")]
        watch = (
            "\n".join(
                line.replace("10.0.2.10 6379 2", f"127.0.0.1 {primary.port} 1") for line in lines
            )
            + "\n"
        )
        watcher = stack.enter_context(servers.running(directory / "s", sentinel=watch))
        watcher.until(lambda reply: b"slaves=2" in reply, "INFO", "sentinel")
        yield primary, replicas, watcher


async def test_what_is_shipped_for_sentinel_is_accepted_and_each_departure_is_told(
    tmp_path: Path, ring: keys.KeyRing
) -> None:
    with under_sentinel(tmp_path) as (primary, replicas, watcher):
        settings = RedisSettings(url=Secret(f"redis+sentinel://127.0.0.1:{watcher.port}/gateway"))
        found = await ask(settings, ring)
        assert unmet(found) == {}
        told = " ".join(demand.detail for demand in found)
        assert all(
            f"127.0.0.1:{server.port}" in told for server in (primary, *replicas, watcher)
        ), "every server is named: any may be the primary one day"
        assert unmet(await ask(settings.model_copy(update={"min_replicas": 2}), ring)).keys() == {
            "redis replicas",
            "redis min-replicas-to-write",
        }
        assert (
            "goes on letting in"
            in unmet(await ask(settings.model_copy(update={"min_replicas": 0}), ring))[
                "redis replicas"
            ]
        )
        with servers.running(tmp_path / "r3", "--replicaof", f"127.0.0.1 {primary.port}"):
            primary.until(lambda reply: reply.count(b"state=online") == 3, "INFO", "replication")
            assert "both confirm" in unmet(await ask(settings, ring))["redis replicas"]
        primary.until(lambda reply: b"connected_slaves:2" in reply, "INFO", "replication")

        # One address behind which a service promotes replicas: what the sentinels' URL says by
        # itself has to be said.
        behind = RedisSettings(url=Secret(f"redis://127.0.0.1:{primary.port}"))
        assert "cut off" in unmet(await ask(behind, ring))["redis replicas"]
        for said, accepted in ((0, True), (1, True), (2, False)):
            assert (
                "redis replicas"
                not in unmet(await ask(behind.model_copy(update={"min_replicas": said}), ring))
            ) is accepted

        # What each server may be set to, where it is not as shipped: also of a replica, which may
        # be the primary after the next fail-over.
        departures = [
            (
                watcher,
                ("SENTINEL", "SET", "gateway", "down-after-milliseconds", "{}"),
                "1999",
                "2000",
                "sentinel down-after",
            ),
            (
                watcher,
                ("SENTINEL", "SET", "gateway", "failover-timeout", "{}"),
                "10001",
                "10000",
                "sentinel failover-timeout",
            ),
            (
                replicas[0],
                ("CONFIG", "SET", "repl-diskless-sync-delay", "{}"),
                "1",
                "0",
                "redis resynchronization",
            ),
            (
                replicas[1],
                ("CONFIG", "SET", "min-replicas-to-write", "{}"),
                "0",
                "1",
                "redis min-replicas-to-write",
            ),
            (
                replicas[0],
                ("CONFIG", "SET", "maxmemory-policy", "{}"),
                "allkeys-lru",
                "noeviction",
                "redis eviction",
            ),
            (primary, ("CONFIG", "SET", "appendonly", "{}"), "no", "yes", "redis persistence"),
        ]
        for server, words, wrong, right, name in departures:
            server.ask(*(word.format(wrong) for word in words))
            refused = unmet(await ask(settings, ring))
            assert refused.keys() == {name}
            assert f"127.0.0.1:{server.port}" in refused[name]
            assert wrong in refused[name] or "off" in refused[name]
            server.ask(*(word.format(right) for word in words))

        # A service that does not let CONFIG be read, or a user that may not.
        for server in (primary, *replicas):
            server.ask("ACL", "SETUSER", "default", "-config")
        found = await ask(settings, ring)
        assert unmet(found) == {}
        (first, *_) = [demand.detail for demand in found if demand.name == "redis settings"]
        assert "repl-diskless-sync-delay" in first
        assert "not looked at" in first

        replicas[1].stop()
        primary.until(lambda reply: b"connected_slaves:1" in reply, "INFO", "replication")
        refused = unmet(await ask(settings, ring))
        assert refused.keys() == {"redis replicas"}
        assert "3 servers for each primary" in refused["redis replicas"]
        watcher.stop()
        (finding,) = await findings(configuration(tmp_path, settings.url.reveal()))
        assert not finding.ok
        assert f"127.0.0.1:{watcher.port}" in finding.detail


@contextlib.contextmanager
def in_a_cluster(directory: Path) -> Iterator[list[servers.Server]]:
    """A Cluster of one primary and its two replicas, set as the shipped file is."""
    with contextlib.ExitStack() as stack:
        nodes = [
            stack.enter_context(
                servers.running(
                    directory / f"n{n}",
                    *as_options("cluster.conf"),
                    "--cluster-port",
                    str(free_port()),
                )
            )
            for n in range(3)
        ]
        nodes[0].ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        name = nodes[0].ask("CLUSTER", "MYID").split(b"\r\n")[1]
        for node in nodes[1:]:
            node.ask(
                "CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), nodes[0].option("cluster-port")
            )
            node.until(lambda reply: name in reply, "CLUSTER", "NODES")
            node.until(
                lambda reply: reply.startswith(b"+OK"), "CLUSTER", "REPLICATE", name.decode()
            )
        for node in nodes:
            node.until(
                lambda reply: b"cluster_state:ok" in reply and b"cluster_known_nodes:3" in reply,
                "CLUSTER",
                "INFO",
            )
        nodes[0].until(lambda reply: reply.count(b"state=online") == 2, "INFO", "replication")
        for node in nodes:
            node.until(lambda reply: reply.count(b"127.0.0.1") == 3, "CLUSTER", "SLOTS")
        yield nodes


async def test_what_is_shipped_for_a_cluster_is_accepted_and_each_departure_is_told(
    tmp_path: Path, ring: keys.KeyRing
) -> None:
    with in_a_cluster(tmp_path) as nodes:
        settings = RedisSettings(url=Secret(f"redis+cluster://127.0.0.1:{nodes[0].port}"))
        found = await ask(settings, ring)
        assert unmet(found) == {}
        told = " ".join(demand.detail for demand in found)
        assert all(f"127.0.0.1:{node.port}" in told for node in nodes)

        departures = [
            (nodes[1], "cluster-require-full-coverage", "yes", "no", "redis coverage"),
            (nodes[2], "repl-diskless-sync-delay", "5", "0", "redis resynchronization"),
            (nodes[1], "appendonly", "no", "yes", "redis persistence"),
            (nodes[0], "maxmemory-policy", "volatile-ttl", "noeviction", "redis eviction"),
        ]
        for node, option, wrong, right, name in departures:
            node.ask("CONFIG", "SET", option, wrong)
            refused = unmet(await ask(settings, ring))
            assert refused.keys() == {name}
            assert f"127.0.0.1:{node.port}" in refused[name]
            node.ask("CONFIG", "SET", option, right)
        nodes[0].ask("CONFIG", "SET", "cluster-node-timeout", "15000")
        assert "503 until then" in " ".join(
            demand.detail for demand in await ask(settings, ring)
        ), "the default is said, and allowed"

        # ElastiCache's default: one replica for each primary, and CONFIG for nobody.
        for node in nodes:
            node.ask("ACL", "SETUSER", "default", "-config")
        nodes[2].stop()
        nodes[0].until(lambda reply: b"connected_slaves:1" in reply, "INFO", "replication")
        refused = unmet(await ask(settings, ring))
        assert refused.keys() == {"redis replicas"}
        assert "3 servers for each primary" in refused["redis replicas"]


@pytest.mark.parametrize(
    ("speakers", "ok"),
    [((), True), (("auth-a",), False), (("auth-a", "admin-b"), True), (("all-a",), True)],
    ids=["nothing_runs", "auth_alone", "both_roles", "one_process"],
)
async def test_where_the_gateway_runs_somebody_has_the_admin_role(
    tmp_path: Path, ring: keys.KeyRing, *, speakers: tuple[str, ...], ok: bool
) -> None:
    with servers.running(tmp_path, "--appendonly", "yes") as server:
        found = await ask(
            RedisSettings(url=Secret(f"redis://127.0.0.1:{server.port}")), ring, speakers=speakers
        )
    assert ("admin role" not in unmet(found)) is ok
    assert "redis replicas" not in {demand.name for demand in found}, "nothing fails over"


def configuration(tmp_path: Path, url: str) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "ingress: {trusted_proxies: [127.0.0.1/32]}\n"
        "cognito: {region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, domain: "
        "https://pool.example.com}\n"
        f"redis: {{url: '{url}'}}\nstate_dir: {tmp_path}\nkey_ring: {{file: "
        f"{tmp_path / 'keys.json'}}}\n"
    )
    if not (tmp_path / "keys.json").exists():
        keys.load(tmp_path / "keys.json", create=True)
    return path


async def findings(path: Path) -> list[DependencyState]:
    config = load_config(path)
    redis = connect(config.redis)
    try:
        return await requirement_states(redis, config)
    finally:
        await redis.close()


async def test_config_check_says_all_that_is_wrong_first_and_on_lines_of_their_own(
    tmp_path: Path,
) -> None:
    with servers.running(tmp_path / "valkey", "--maxmemory-policy", "allkeys-lru") as server:
        path = configuration(tmp_path, f"redis://127.0.0.1:{server.port}")
        found = await findings(path)
        assert [(finding.name, finding.ok) for finding in found] == [
            ("redis eviction", False),
            ("redis persistence", False),
            ("redis release", True),
            ("redis rights", True),
            ("redis users", True),
            ("redis replay", True),
            ("redis clock", True),
            ("admin role", True),
        ]
        assert "way back in" in found[0].detail
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.ask("CONFIG", "SET", "appendonly", "yes")
        assert all(finding.ok for finding in await findings(path))

        # As a user of its own, with the rights that the manual has, and with one less.
        url = f"redis://gateway:PASSWORD@127.0.0.1:{server.port}"
        for rule, missing in (
            ((), ""),
            (("-publish",), "PUBLISH"),
            (("resetchannels",), "SUBSCRIBE"),
        ):
            server.ask("ACL", "SETUSER", "gateway", "on", ">PASSWORD", *documented_rights(), *rule)
            of_its_own = {each.name: each for each in await findings(configuration(tmp_path, url))}
            assert of_its_own["redis rights"].ok is not bool(missing)
            assert missing in of_its_own["redis rights"].detail
            assert of_its_own["redis users"].ok, "it may not look"
        configuration(tmp_path, f"redis://127.0.0.1:{server.port}")
        told = {each.name: each for each in await findings(path)}
        assert not told["redis users"].ok, "an administrator sees that no file has the user"
        aclfile = tmp_path / "users.acl"
        users = {"default": "", "gateway": "user gateway on #abc ~gw:* +@all"}
        for content, ok in (
            (users["gateway"], True),
            ("user gateway on >PASSWORD ~gw:*", True),
            ("user gateway on #abc ~gw:* +get", False),
            ("user other on", False),
        ):
            aclfile.write_text(f"{content}\n", encoding="utf-8")
            assert kept("127.0.0.1:6379", users, str(aclfile), "").ok is ok
        assert kept("redis.internal:6379", users, str(aclfile), "").ok, "not on this machine"
