"""From ``redis.url`` to a ``RedisClient``: commands reach the primary that owns a key, in bounded
time, or raise ``UnavailableError``.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
import importlib.resources
import re
import ssl
from dataclasses import dataclass, field, fields
from functools import lru_cache
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.errors import ConfigError, UnavailableError, UnconfirmedError
from gateway.http.connection_error import at
from gateway.metrics import STORE_REQUEST_DURATION
from gateway.sessions.cluster import DIED, NO_ANSWER, Topology, half_moved, on_one_connection
from gateway.sessions.redis_connections import TcpConnection, TlsConnection, UnixConnection
from gateway.sessions.redis_error import ENCODED, reason
from gateway.sessions.sentinels import Sentinels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from _typeshed import DataclassInstance
    from prometheus_client import Histogram

    from gateway.config.model import Redis as RedisSettings

CONNECT_TIMEOUT_S: Final = 1.0
COMMAND_TIMEOUT_S: Final = 1.0
"""One command, one reply. An ingress waits longer than this, so that a slow store is our 503 and
not its 504.
"""
DEADLINE_S: Final = 2.5
"""All attempts of one operation, connecting and fail-over included."""
WAIT_MS: Final = 800
"""How long a durable write waits for its replicas before it is not promised; less than
``COMMAND_TIMEOUT_S``.
"""
AT_ONCE: Final = 64
"""Commands under way to one server, for everything that has no places of its own
(``RedisClient.apart``).
"""
_POOL: Final = 4096
"""Connections to one server: never reached, since every command waits for its place before it takes
one. redis-py's pools raise where they are exhausted.
"""
_MAX_SERVERS: Final = 256
"""Names of servers that places are kept for: a Cluster whose addresses change must not collect
them.
"""
_MAX_SILENT: Final = 4
"""Primaries one after another that do not answer."""
_MAX_SENT_ON: Final = 8
"""Redirections of one command, while nodes do not agree."""
_ARGUMENT: Final = re.compile(r"\bargs\.(\w+)")
NOBODY: Final = "nobody"
_FIRST_PAUSE_S: Final = 0.01
_LAST_PAUSE_S: Final = 0.1
"""Between two attempts in a slot that is being moved, as long as the deadline lasts."""


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file of ``scripts/``, with the shared preamble in front."""

    name: str
    text: str = field(repr=False)
    sha: str

    @classmethod
    def load(cls, name: str, arguments: type[DataclassInstance] | None = None) -> Script:
        """``arguments``: a dataclass whose fields, in their order, are what the script is given
        (``in_order``). There ``args.x`` is the place of the field ``x``.
        """
        folder = importlib.resources.files("gateway.sessions") / "scripts"
        text = (folder / "common.lua").read_text(encoding="ascii") + (
            folder / f"{name}.lua"
        ).read_text(encoding="ascii")
        if arguments is not None:
            places = {each.name: f"ARGV[{n}]" for n, each in enumerate(fields(arguments), 1)}
            text = _ARGUMENT.sub(lambda match: places[match[1]], text)
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def in_order(arguments: DataclassInstance) -> list[str | bytes | int]:
    return list(_values_of(type(arguments))(arguments))


@lru_cache(maxsize=16)
def _values_of(kind: type[DataclassInstance]) -> Callable[[object], tuple[str | bytes | int, ...]]:
    """``kind``: of a script's arguments, which are two or more."""
    return attrgetter(*(each.name for each in fields(kind)))


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

    @property
    def address(self) -> str:
        """Where it is, without what nobody may read."""
        names = ", ".join(at(host, port) for host, port in self.hosts)
        return {"unix": self.path, "sentinel": f"sentinels {names}"}.get(self.kind, names)


def parse_url(url: str) -> Target:
    """Raises ``ConfigError`` that says what is wrong without quoting the URL: it may hold a
    password.
    """
    message = (
        "redis.url: redis[s]://[user:password@]host[:port][/db], unix:///path, "
        "redis[s]+sentinel://host:port,host:port/service[/db] or "
        f"redis[s]+cluster://host:port,host:port; {ENCODED}"
    )
    try:
        parts = urlsplit(url)
    except ValueError:
        # Its text quotes what it did not understand, which may be of the password.
        raise ConfigError(message) from None
    if "#" in url or "@" in parts.path:
        raise ConfigError(message)  # a password was cut: its rest must not be shown as a name
    options = {
        name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
    }
    login, _, hosts_text = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    credentials: dict[str, Any] = {
        "username": unquote(username) or None,
        "password": unquote(password) or None,
    }
    scheme, _, flavour = parts.scheme.partition("+")
    if parts.scheme == "unix":
        if set(options) - {"db"} or not parts.path or hosts_text:
            raise ConfigError(message)
        return Target(
            "unix",
            path=unquote(parts.path),
            database=_number(options.get("db", "0"), message),
            **credentials,
        )
    if scheme not in {"redis", "rediss"} or flavour not in {"", "sentinel", "cluster"}:
        raise ConfigError(message)
    default_port = 26379 if flavour == "sentinel" else 6379
    hosts = tuple(_host(text, default_port, message) for text in hosts_text.split(","))
    path = [unquote(step) for step in parts.path.split("/") if step]
    common: dict[str, Any] = {"hosts": hosts, "tls": scheme == "rediss", **credentials}
    if flavour == "sentinel":
        if not 1 <= len(path) <= 2 or set(options) - {"sentinel_username", "sentinel_password"}:
            raise ConfigError(message)
        return Target(
            "sentinel",
            service=path[0],
            database=_number(path[1] if path[1:] else "0", message),
            **options,  # type: ignore[arg-type]  # the options' names are checked
            **common,
        )
    if options or len(path) > (0 if flavour else 1) or (not flavour and len(hosts) != 1):
        raise ConfigError(message)
    if flavour:
        return Target("cluster", **common)
    return Target("single", database=_number(path[0] if path else "0", message), **common)


def _number(text: str, allowed: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ConfigError(allowed)
    return int(text)


def _host(text: str, default_port: int, allowed: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname:
            return parts.hostname, parts.port or default_port
    except ValueError:
        pass
    raise ConfigError(allowed)


@contextlib.contextmanager
def unavailable(what: str, target: Target | None = None) -> Iterator[None]:
    """Whatever goes wrong on the way to the store and back is ``UnavailableError``; the cause is
    chained, its text not repeated. A mistake in our own code stays one. ``target``: who was asked.
    """
    try:
        yield
    except (RedisError, *NO_ANSWER) as error:
        _raise_unavailable(error, what, target)
        raise


def _raise_unavailable(error: BaseException, what: str, target: Target | None) -> None:
    """Returns where ``error`` is a mistake in our own code."""
    if _is_ours(error):
        return
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        # Its connection did not close well, but what ended the command is that somebody ended us: a
        # loop that took this for trouble would go on.
        raise asyncio.CancelledError from error
    where, tls = (f"{target.address}: ", target.tls) if target is not None else ("", None)
    if target is not None and target.kind == "unix":
        tls = None
    msg = f"Redis: {what}: {where}{reason(error, tls=tls)}"
    raise UnavailableError(msg) from error


def _is_ours(error: BaseException) -> bool:
    """An ``AttributeError`` or ``RuntimeError`` that no library raised: redis-py's and the loop's
    mean a connection that died (``DIED``).
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        isinstance(error, AttributeError | RuntimeError)
        and trace is not None
        and str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == "gateway"
    )


class _Timed:
    """A question to the store: its faults as above, and its time, answered or not. A class, since
    generators cost three times as much, and each command is one.
    """

    __slots__ = ("_start", "_target", "_what")

    def __init__(self, what: str, target: Target | None = None) -> None:
        self._what, self._target = what, target

    def __enter__(self) -> None:
        self._start = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _duration(self._what).observe(perf_counter() - self._start)
        if isinstance(error, (RedisError, *NO_ANSWER)):
            _raise_unavailable(error, self._what, self._target)


@lru_cache(maxsize=256)
def _duration(what: str) -> Histogram:
    """``what``: a command or script of ours."""
    return STORE_REQUEST_DURATION.labels("redis", what)


class RedisClient:
    """Commands to one deployment. ``replicas`` > 0: a durable write waits for that many, on the
    connection that wrote.

    ``at_once`` commands are under way to each server; who comes then waits for a place, in turn, as
    part of the deadline.
    """

    def __init__(
        self,
        client: redis.Redis | RedisCluster,
        *,
        replicas: int = 0,
        sentinel: Sentinels | None = None,
        deadline_s: float = DEADLINE_S,
        at_once: int = AT_ONCE,
        target: Target | None = None,
    ) -> None:
        """``target``: for messages, and where a Cluster is found anew when no node that was known
        answers.
        """
        self.client = client
        self.target = target
        self.replicas = replicas
        self.deadline_s = deadline_s
        self._sentinel = sentinel
        seeds = target.hosts if target is not None else ()
        self._topology = Topology(client, seeds) if isinstance(client, RedisCluster) else None
        self._at_once = at_once
        self._places: dict[str, asyncio.Semaphore] = {}

    def apart(self, *, at_once: int) -> Self:
        """The same deployment with places (and connections) of its own: what waits there, waits for
        none of the others.
        """
        other = copy.copy(self)
        other._at_once, other._places = at_once, {}  # noqa: SLF001 - its own
        return other

    def _place(self, server: str) -> asyncio.Semaphore:
        place = self._places.get(server)
        if place is None:
            if len(self._places) >= _MAX_SERVERS:
                self._places = {
                    name: place for name, place in self._places.items() if place.locked()
                }
            place = self._places[server] = asyncio.Semaphore(self._at_once)
        return place

    async def get(self, key: str) -> bytes | None:
        """One GET at the primary."""
        return await self.command("GET", key)  # type: ignore[no-any-return]  # bytes or None by the protocol

    async def command(self, *words: str | bytes | int) -> Any:
        """Any command whose first argument is its key."""
        with _Timed(str(words[0]), self.target):
            async with asyncio.timeout(self.deadline_s):
                if self._topology is not None:
                    (answer,) = await self._send(str(words[1]), (words,), asking=True)
                    return _raised(answer)
                async with self._place(""):
                    return await self.client.execute_command(*words)

    async def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> Any:
        """One script; its keys are all of one bucket."""
        with _Timed(script.name, self.target):
            async with asyncio.timeout(self.deadline_s):
                evaluate = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
                try:
                    return await self._run_once(keys[0], evaluate)
                except NoScriptError:
                    return await self._run_once(keys[0], ("EVAL", script.text, *evaluate[2:]))

    async def _run_once(self, key: str, words: tuple[Any, ...]) -> Any:
        if self._topology is not None:
            (answer,) = await self._send(key, (words,))
            return _raised(answer)
        async with self._place(""):
            return await self.client.execute_command(*words)

    async def run_durably(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> Any:
        """As ``run``, and the replicas have it. ``UnavailableError`` when too few answer: done
        here, not promised.
        """
        if not self.replicas:
            return await self.run(script, keys, arguments)
        with _Timed(script.name, self.target):
            async with asyncio.timeout(self.deadline_s):
                # WAIT speaks for the connection it is sent on, so both travel as one batch.
                wait = ("WAIT", self.replicas, WAIT_MS)
                evaluate = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
                answer, wait_answer = await self._batch(keys[0], (evaluate, wait))
                if isinstance(answer, NoScriptError):
                    answer, wait_answer = await self._batch(
                        keys[0], (("EVAL", script.text, *evaluate[2:]), wait)
                    )
                _raised(answer)
                await self._require_confirmed(_raised(wait_answer), script)
        return answer

    async def _require_confirmed(self, confirmed: int, script: Script) -> None:
        """Raises ``UnavailableError`` where WAIT counted too few."""
        if confirmed < self.replicas:
            if self._topology is None:
                # Perhaps a primary that lost its replicas to another one, and still answers us:
                # connections made from now on ask the sentinels, or the name.
                await self.client.connection_pool.disconnect(inuse_connections=False)  # type: ignore[union-attr]  # it is no Cluster
            msg = (
                f"Redis: {script.name}: written, but {confirmed} of {self.replicas} replicas "
                f"confirmed in {WAIT_MS} ms"
            )
            raise UnconfirmedError(msg)

    async def _batch(self, key: str, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """All commands on one connection to the primary of ``key``; errors of single commands are
        returned in place.
        """
        if self._topology is not None:
            return await self._send(key, commands)
        async with self._place(""), self.client.pipeline(transaction=False) as pipe:
            for words in commands:
                pipe.execute_command(*words)
            return await pipe.execute(raise_on_error=False)

    # --- Cluster
    # -----------------------------------------------------------------------------------

    @property
    def clustered(self) -> bool:
        """One command may name the keys of one slot only, and each primary fails by itself."""
        return self._topology is not None

    async def by_primary(self, keys: Mapping[int, str]) -> dict[str, list[int]]:
        """Which of these (number → key) is on which primary, as far as known; the order is kept.
        Raises ``UnavailableError``.

        A primary is called by its address, the one server by nothing, and ``nobody`` has the slots
        that no node of a Cluster holds.
        """
        groups: dict[str, list[int]] = {}
        if self._topology is None:
            return {"": list(keys)} if keys else groups
        with unavailable("topology", self.target):
            async with asyncio.timeout(self.deadline_s):
                await self._topology.known()
        for number, key in keys.items():
            groups.setdefault(self._topology.name_of(key) or NOBODY, []).append(number)
        return groups

    async def primary_of(self, key: str) -> ClusterNode:
        """In a Cluster: the primary of the key, as far as known. Raises ``UnavailableError``."""
        assert self._topology is not None  # noqa: S101 - elsewhere there is one server
        with unavailable("topology", self.target):
            async with asyncio.timeout(self.deadline_s):
                return await self._topology.node(key)

    async def look_again(self) -> None:
        """Ask a Cluster which primary holds what: slots may have been moved, and nobody have asked
        for their keys since. Raises ``UnavailableError``.
        """
        if self._topology is not None:
            with unavailable("topology", self.target):
                async with asyncio.timeout(self.deadline_s):
                    await self._topology.refresh()

    async def run_together(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[str | bytes | int]]]
    ) -> list[Any]:
        """In a Cluster: many runs of one script (keys, arguments), all of keys on one primary, on
        one connection. Each answer, or the error in its place; raises where none came.
        """
        return await self._together(script, calls, ())

    async def run_together_durably(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[str | bytes | int]]]
    ) -> list[Any]:
        """As ``run_together``, and the replicas have it."""
        *answers, wait_answer = await self._together(
            script, calls, (("WAIT", self.replicas, WAIT_MS),)
        )
        await self._require_confirmed(_raised(wait_answer), script)
        return answers

    async def _together(
        self,
        script: Script,
        calls: Sequence[tuple[Sequence[str], Sequence[str | bytes | int]]],
        then: tuple[tuple[Any, ...], ...],
    ) -> list[Any]:
        topology = self._topology
        assert topology is not None  # noqa: S101 - elsewhere one command names the keys of all
        with _Timed(script.name, self.target):
            async with asyncio.timeout(self.deadline_s):
                runs = [
                    ("EVALSHA", script.sha, len(keys), *keys, *arguments)
                    for keys, arguments in calls
                ]
                answers = await self._answered(topology, calls[0][0][0], (*runs, *then))
                if any(isinstance(answer, NoScriptError) for answer in answers):
                    _, *answers = await self._answered(
                        topology, calls[0][0][0], (("SCRIPT LOAD", script.text), *runs, *then)
                    )
                for answer in answers:
                    if isinstance(answer, MovedError):
                        await topology.moved(answer)
        return answers

    async def _send(
        self, key: str, commands: Sequence[tuple[Any, ...]], *, asking: bool = False
    ) -> list[Any]:
        """To the primary of ``key``, wherever it is now: repeated where the slot has moved, is
        being moved, or its primary is another since it stopped answering.

        ``asking``: a slot that is being moved is followed for a key that has gone already. Never
        for what touches more than one key: the rest of a tenant may still be where it was, and be
        seen by nobody who asks at the new place (ADR 0111).
        """
        topology = self._topology
        assert topology is not None  # noqa: S101 - the caller's
        pause_s, sent_on = _FIRST_PAUSE_S, 0
        ahead: ClusterNode | None = None
        while True:
            if ahead is not None:
                async with self._place(ahead.name):
                    _, *answers = await on_one_connection(ahead, (("ASKING",), *commands))
                ahead = None
            else:
                answers = await self._answered(topology, key, commands)
            first = answers[0]
            if isinstance(first, MovedError):
                sent_on += 1
                await topology.moved(first)
            elif isinstance(first, AskError) and asking:
                sent_on += 1
                ahead = await topology.at(first.host, first.port)
            elif isinstance(first, AskError) or half_moved(first):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            else:
                return answers
            if sent_on > _MAX_SENT_ON:
                return answers

    async def _answered(
        self, topology: Topology, key: str, commands: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """What the primary of ``key`` answers; another one that has taken over is asked instead.
        Redirections are answers.
        """
        silent = 0
        while True:
            node = await topology.node(key)
            try:
                async with self._place(node.name):
                    return await on_one_connection(node, commands)
            except NO_ANSWER as error:
                silent += 1
                await topology.refresh(failed=node)
                # A pooled connection may have died unnoticed: once more, at once. Time-outs are not
                # repeated at the same node: it does not get faster by being asked twice.
                died = isinstance(error, DIED)
                if silent > _MAX_SILENT or (
                    topology.known_node(key) is node and (silent > 1 or not died)
                ):
                    raise

    async def close(self) -> None:
        if self._topology is not None:
            await self._topology.close()
            # redis-py closes what it has initialized itself; the map was asked for beside it.
            for nodes in ("nodes_cache", "startup_nodes"):
                await self.client.nodes_manager.aclose(nodes)  # type: ignore[union-attr]  # a Cluster has one
        await self.client.aclose()
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()


def _raised(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def connect(settings: RedisSettings, *, socket_path: str | None = None) -> RedisClient:
    """A link by URL; ``socket_path`` is the embedded server's. Nothing is sent before the first
    command.
    """
    if socket_path is not None:
        return client_to(Target("unix", path=socket_path), ca_file=None, replicas=0)
    return client_to(
        parse_url(settings.url.reveal()), ca_file=settings.ca_file, replicas=settings.confirming
    )


def _check_authorities(file: Path) -> None:
    try:
        ssl.create_default_context(cafile=str(file))
    except OSError as error:
        problem = (
            "holds no certificate (PEM)" if isinstance(error, ssl.SSLError) else error.strerror
        )
        msg = f"redis.ca_file: {file}: {problem}"
        raise ConfigError(msg) from error


def client_to(
    target: Target,
    *,
    ca_file: Path | None,
    replicas: int,
    command_timeout_s: float = COMMAND_TIMEOUT_S,
) -> RedisClient:
    """``replicas`` confirm each durable write. The deadline of an operation grows with the time-out
    of a command. Raises ``ConfigError`` for a ``ca_file`` that holds no certificates.
    """
    deadline_s = DEADLINE_S * command_timeout_s / COMMAND_TIMEOUT_S
    common: dict[str, Any] = {
        "username": target.username,
        "password": target.password,
        "protocol": 3,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": command_timeout_s,
        # A pooled connection may have died unnoticed: once more, at once. Time-outs are not
        # repeated: a slow store does not get faster by asking twice.
        "retry": Retry(NoBackoff(), 1, supported_errors=DIED),  # type: ignore[arg-type]  # its annotation names RedisError only; it catches whatever it is given
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if target.tls and ca_file is not None:
        _check_authorities(ca_file)
    tls: dict[str, Any] = (
        {"ssl_ca_certs": str(ca_file) if ca_file else None, "ssl_check_hostname": True}
        if target.tls
        else {}
    )
    if target.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        # One shard that nobody holds is no reason to know of none.
        client = RedisCluster(
            startup_nodes=nodes,
            ssl=target.tls,
            max_connections=_POOL,
            require_full_coverage=False,
            **common,
            **tls,
        )
        return RedisClient(client, replicas=replicas, deadline_s=deadline_s, target=target)
    common |= {"db": target.database}
    if target.kind == "sentinel":
        sentinels = {
            "username": target.sentinel_username,
            "password": target.sentinel_password,
            "protocol": 3,
            "ssl": target.tls,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": command_timeout_s,
            "retry": common["retry"],
            "maint_notifications_config": common["maint_notifications_config"],
            **tls,
        }
        sentinel = Sentinels(target.hosts, sentinel_kwargs=sentinels)
        primary = sentinel.master_for(
            target.service, ssl=target.tls, max_connections=_POOL, **common, **tls
        )
        return RedisClient(
            primary, replicas=replicas, sentinel=sentinel, deadline_s=deadline_s, target=target
        )
    pool: dict[str, Any] = {**common, "max_connections": _POOL}
    if target.kind == "unix":
        pool |= {"connection_class": UnixConnection, "path": target.path}
    else:
        host, port = target.hosts[0]
        kind = TlsConnection if target.tls else TcpConnection
        pool |= {"connection_class": kind, "host": host, "port": port, **tls}
    return RedisClient(
        redis.Redis.from_pool(redis.ConnectionPool(**pool)),
        replicas=replicas,
        deadline_s=deadline_s,
        target=target,
    )


__all__ = [
    "COMMAND_TIMEOUT_S",
    "CONNECT_TIMEOUT_S",
    "DEADLINE_S",
    "RedisClient",
    "Script",
    "Target",
    "client_to",
    "connect",
    "parse_url",
    "unavailable",
]
