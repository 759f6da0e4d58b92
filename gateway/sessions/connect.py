"""From ``redis.url`` to a ``Link``: commands reach the primary that owns a key, in bounded time, or raise ``UnavailableError``."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.resources
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError, NoScriptError, RedisClusterException, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.errors import ConfigError, UnavailableError, UnconfirmedError
from gateway.metrics import STORE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.config import Redis as RedisSettings

CONNECT_TIMEOUT_S: Final = 1.0
COMMAND_TIMEOUT_S: Final = 1.0
"""One command, one reply. An ingress waits longer than this, so that a slow store is our 503 and not its 504."""
DEADLINE_S: Final = 2.5
"""All attempts of one operation, connecting and fail-over included."""
WAIT_MS: Final = 800
"""How long a durable write waits for its replicas before it is not promised; less than ``COMMAND_TIMEOUT_S``."""
MAX_CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file of ``scripts/``, with the shared preamble in front."""

    name: str
    text: str = field(repr=False)
    sha: str

    @classmethod
    def load(cls, name: str) -> Script:
        folder = importlib.resources.files("gateway.sessions") / "scripts"
        text = (folder / "common.lua").read_text(encoding="ascii") + (folder / f"{name}.lua").read_text(encoding="ascii")
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed ``redis.url``. ``hosts`` are seeds of a Cluster, sentinels, or the one server."""

    kind: str
    """``single``, ``unix``, ``sentinel`` or ``cluster``."""
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse_url(url: str) -> Target:
    """Raises ``ConfigError`` that says what is wrong without quoting the URL: it may hold a password."""
    allowed = "redis.url: redis[s]://[user:password@]host[:port][/db], unix:///path, redis[s]+sentinel://host:port,host:port/service[/db] or redis[s]+cluster://host:port,host:port"
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    login, _, hosts_text = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    credentials: dict[str, Any] = {"username": unquote(username) or None, "password": unquote(password) or None}
    scheme, _, flavour = parts.scheme.partition("+")
    if parts.scheme == "unix":
        if set(options) - {"db"} or not parts.path or hosts_text:
            raise ConfigError(allowed)
        return Target("unix", path=unquote(parts.path), database=_number(options.get("db", "0"), allowed), **credentials)
    if scheme not in {"redis", "rediss"} or flavour not in {"", "sentinel", "cluster"}:
        raise ConfigError(allowed)
    default_port = 26379 if flavour == "sentinel" else 6379
    hosts = tuple(_host(text, default_port, allowed) for text in hosts_text.split(","))
    path = [unquote(step) for step in parts.path.split("/") if step]
    common: dict[str, Any] = {"hosts": hosts, "tls": scheme == "rediss", **credentials}
    if flavour == "sentinel":
        if not 1 <= len(path) <= 2 or set(options) - {"sentinel_username", "sentinel_password"}:
            raise ConfigError(allowed)
        return Target("sentinel", service=path[0], database=_number(path[1] if path[1:] else "0", allowed), **options, **common)  # type: ignore[arg-type]  # the options' names are checked
    if options or len(path) > (0 if flavour else 1) or (not flavour and len(hosts) != 1):
        raise ConfigError(allowed)
    if flavour:
        return Target("cluster", **common)
    return Target("single", database=_number(path[0] if path else "0", allowed), **common)


def _number(text: str, allowed: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ConfigError(allowed)
    return int(text)


def _host(text: str, default_port: int, allowed: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    try:
        if parts.hostname:
            return parts.hostname, parts.port or default_port
    except ValueError:
        pass
    raise ConfigError(allowed)


@contextlib.contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Whatever goes wrong on the way to the store and back is ``UnavailableError``; the cause is chained, its text not repeated."""
    try:
        yield
    except (RedisError, RedisClusterException, OSError, TimeoutError, AttributeError) as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Its connection did not close well, but what ended the command is that somebody ended us: a loop that took this for trouble would go on.
            raise asyncio.CancelledError from error
        # AttributeError: redis-py's Cluster client closes connections under the commands of others when one of them fails ('NoneType' … 'writelines').
        msg = f"Redis: {what}: {type(error).__name__}"
        raise UnavailableError(msg) from error


@contextlib.contextmanager
def asked(what: str) -> Iterator[None]:
    """A question to the store: its faults as above, and its time, answered or not."""
    started = perf_counter()
    try:
        with unavailable(what):
            yield
    finally:
        STORE_SECONDS.labels("redis", what).observe(perf_counter() - started)


class Link:
    """Commands to one deployment. ``replicas`` > 0: a durable write waits for that many, on the connection that wrote."""

    def __init__(self, client: redis.Redis | RedisCluster, *, replicas: int = 0, sentinel: Sentinel | None = None, deadline_s: float = DEADLINE_S) -> None:
        self.client = client
        self.replicas = replicas
        self.deadline_s = deadline_s
        self._sentinel = sentinel

    async def get(self, key: str) -> bytes | None:
        """One GET at the primary."""
        return await self.command("GET", key)  # type: ignore[no-any-return]  # bytes or None by the protocol

    async def command(self, *words: str | bytes | int) -> Any:
        """Any command whose first argument is its key."""
        with asked(str(words[0])):
            async with asyncio.timeout(self.deadline_s):
                return await self.client.execute_command(*words)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """One script; its keys are all of one bucket."""
        with asked(script.name):
            async with asyncio.timeout(self.deadline_s):
                try:
                    return await self.client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
                except NoScriptError:
                    return await self.client.execute_command("EVAL", script.text, len(keys), *keys, *arguments)

    async def run_durably(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """As ``run``, and the replicas have it. ``UnavailableError`` when too few answer: done here, not promised."""
        if not self.replicas:
            return await self.run(script, keys, arguments)
        with asked(script.name):
            async with asyncio.timeout(self.deadline_s):
                # WAIT speaks for the connection it is sent on, so both travel as one batch.
                evaluate: tuple[Any, ...] = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
                answer, confirmed = await self._batch(keys[0], evaluate, ("WAIT", self.replicas, WAIT_MS))
                if isinstance(answer, NoScriptError):
                    answer, confirmed = await self._batch(keys[0], ("EVAL", script.text, *evaluate[2:]), ("WAIT", self.replicas, WAIT_MS))
                for reply in (answer, confirmed):
                    if isinstance(reply, Exception):
                        raise reply
        if confirmed < self.replicas:
            if self._sentinel is not None:
                # Perhaps a primary that lost its replicas to another one, and still answers us: connections made from now on ask the sentinels.
                await self.client.connection_pool.disconnect(inuse_connections=False)  # type: ignore[union-attr]  # with sentinels it is no Cluster
            msg = f"Redis: {script.name}: written, but {confirmed} of {self.replicas} replicas confirmed in {WAIT_MS} ms"
            raise UnconfirmedError(msg)
        return answer

    async def _batch(self, key: str, *commands: tuple[Any, ...]) -> list[Any]:
        """All commands on one connection to the primary of ``key``; errors of single commands are returned in place."""
        if not isinstance(self.client, RedisCluster):
            async with self.client.pipeline(transaction=False) as pipe:
                for words in commands:
                    pipe.execute_command(*words)
                return await pipe.execute(raise_on_error=False)
        await self.client.initialize()
        for attempt in (1, 2):
            node = self.client.nodes_manager.get_node_from_slot(self.client.keyslot(key))
            batch = [PipelineCommand(number, *words) for number, words in enumerate(commands)]
            await node.execute_pipeline(batch)
            if attempt == 1 and isinstance(batch[0].result, MovedError | AskError):
                await self.client.nodes_manager.initialize()
                continue
            break
        return [command.result for command in batch]

    async def close(self) -> None:
        await self.client.aclose()
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()


def connect(settings: RedisSettings, *, socket_path: str | None = None) -> Link:
    """A link by URL; ``socket_path`` is the embedded server's. Nothing is sent before the first command."""
    if socket_path is not None:
        return link_to(Target("unix", path=socket_path), ca_file=None, replicas=0)
    return link_to(parse_url(settings.url.reveal()), ca_file=settings.ca_file, replicas=settings.min_replicas)


def link_to(target: Target, *, ca_file: Path | None, replicas: int, command_timeout_s: float = COMMAND_TIMEOUT_S) -> Link:
    """``replicas`` counts where a fail-over is possible: Sentinel and Cluster. The deadline of an operation grows with the time-out of a command."""
    deadline_s = DEADLINE_S * command_timeout_s / COMMAND_TIMEOUT_S
    common: dict[str, Any] = {
        "username": target.username,
        "password": target.password,
        "protocol": 3,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": command_timeout_s,
        # A pooled connection may have died unnoticed: once more, at once. Time-outs are not repeated: a slow store does not get faster by asking twice.
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    tls: dict[str, Any] = {"ssl_ca_certs": str(ca_file) if ca_file else None, "ssl_check_hostname": True} if target.tls else {}
    if target.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        return Link(RedisCluster(startup_nodes=nodes, ssl=target.tls, max_connections=MAX_CONNECTIONS, **common, **tls), replicas=replicas, deadline_s=deadline_s)
    common |= {"db": target.database}
    if target.kind == "sentinel":
        sentinels = {
            "username": target.sentinel_username, "password": target.sentinel_password, "protocol": 3, "ssl": target.tls,
            "socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": command_timeout_s, "retry": common["retry"],
            "maint_notifications_config": common["maint_notifications_config"], **tls,
        }  # fmt: skip
        sentinel = Sentinel(target.hosts, sentinel_kwargs=sentinels)  # type: ignore[no-untyped-call]
        client = sentinel.master_for(target.service, ssl=target.tls, max_connections=MAX_CONNECTIONS, **common, **tls)
        return Link(client, replicas=replicas, sentinel=sentinel, deadline_s=deadline_s)
    pool: dict[str, Any] = {**common, "max_connections": MAX_CONNECTIONS, "timeout": command_timeout_s}
    if target.kind == "unix":
        pool |= {"connection_class": redis.UnixDomainSocketConnection, "path": target.path}
    else:
        host, port = target.hosts[0]
        pool |= {"host": host, "port": port, **tls}
        if target.tls:
            pool["connection_class"] = redis.SSLConnection
    return Link(redis.Redis.from_pool(redis.BlockingConnectionPool(**pool)), deadline_s=deadline_s)


__all__ = ["COMMAND_TIMEOUT_S", "CONNECT_TIMEOUT_S", "DEADLINE_S", "Link", "Script", "Target", "connect", "link_to", "parse_url", "unavailable"]
