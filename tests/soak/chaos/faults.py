"""What goes wrong, and how it is set right again. Each fault is drawn with its target from the
seed; some need root, and are left out without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from gateway.tenants.snapshot import GENERATION, MANIFEST, RECORDS
from tests.soak.chaos.cloud import LIES
from tests.soak.chaos.deployment import ADMINS, AUTHS, CLOUD, ROOT
from tests.soak.chaos.stores import SERVERS, WATCHERS

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from tests.soak.chaos.deployment import Deployment, Gateway

CLOCK_S: Final = 300.0
"""How far a machine's clock steps, one way or the other."""
DELAY_S: Final = 0.4
SPARE_FILES: Final = 1
SPARE_BYTES: Final = 4 << 20
RESTARTS_EVERY_S: Final = 0.5
Group = Literal["gateway", "redis", "sql", "cloud"]


@dataclass(frozen=True, slots=True)
class Kind:
    """``targets``: what it may strike. Two faults at a time are of two groups. Within ``inject``
    it is so; whoever leaves it has set it right.
    """

    name: str
    group: Group
    targets: tuple[str, ...]
    inject: Callable[[Deployment, str], AbstractAsyncContextManager[None]]
    root: bool = False


# --- processes of the gateway --------------------------------------------------------------------


@asynccontextmanager
async def killed(deployment: Deployment, target: str) -> AsyncIterator[None]:
    gateway = deployment.gateways[target]
    await gateway.kill()
    try:
        yield
    finally:
        gateway.start()


@asynccontextmanager
async def worker_killed(deployment: Deployment, target: str) -> AsyncIterator[None]:
    """Its supervisor makes another one."""
    os.kill(deployment.gateways[target].workers()[0], signal.SIGKILL)
    yield


@asynccontextmanager
async def terminated(deployment: Deployment, target: str) -> AsyncIterator[None]:
    """As a rolling update does."""
    gateway = deployment.gateways[target]
    await gateway.terminate()
    try:
        yield
    finally:
        gateway.start()


@asynccontextmanager
async def _stopped(pids: Iterable[int]) -> AsyncIterator[None]:
    stopped = list(pids)
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def stopped(deployment: Deployment, target: str) -> AbstractAsyncContextManager[None]:
    """All processes of a machine, or of a server, stand still; no connection breaks."""
    return _stopped(deployment.pids()[_server(deployment, target)])


def worker_stopped(deployment: Deployment, target: str) -> AbstractAsyncContextManager[None]:
    return _stopped(deployment.gateways[target].workers()[:1])


@asynccontextmanager
async def clock_stepped(deployment: Deployment, target: str) -> AsyncIterator[None]:
    name, sign = target.split(" ")
    machine = deployment.gateways[name].machine
    machine.set_clock(CLOCK_S if sign == "+" else -CLOCK_S)
    try:
        yield
    finally:
        machine.set_clock(0.0)


@asynccontextmanager
async def _limited(gateway: Gateway, what: int, most: Callable[[int], int]) -> AsyncIterator[None]:
    """``most``: the limit of a process, from its id."""
    before: dict[int, tuple[int, int]] = {}
    for pid in gateway.workers():
        with contextlib.suppress(ProcessLookupError, OSError):
            soft, hard = resource.prlimit(pid, what)
            resource.prlimit(pid, what, (most(pid), hard))
            before[pid] = soft, hard
    try:
        yield
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, what, limits)


def files_exhausted(deployment: Deployment, target: str) -> AbstractAsyncContextManager[None]:
    return _limited(
        deployment.gateways[target],
        resource.RLIMIT_NOFILE,
        lambda pid: len(os.listdir(f"/proc/{pid}/fd")) + SPARE_FILES,  # noqa: PTH208 - of the kernel's
    )


def memory_exhausted(deployment: Deployment, target: str) -> AbstractAsyncContextManager[None]:
    def most(pid: int) -> int:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[0])
        return pages * resource.getpagesize() + SPARE_BYTES

    return _limited(deployment.gateways[target], resource.RLIMIT_AS, most)


@asynccontextmanager
async def dns_away(deployment: Deployment, target: str) -> AsyncIterator[None]:
    machine = deployment.gateways[target].machine
    machine.set_dns(away=True)
    try:
        yield
    finally:
        machine.set_dns(away=False)


@asynccontextmanager
async def key_ring_half_replaced(deployment: Deployment, kind: str) -> AsyncIterator[None]:
    """A rotation as its document says it, of a key ring that is copied to each machine: after
    either step some have the new file, and the others the one before.
    """
    names = [*ADMINS, *AUTHS]
    await _rotate(deployment, kind)
    await _distribute(deployment, names[::2])
    try:
        yield
    finally:
        await _distribute(deployment, names)
        for _ in range(20):
            if await _rotate(deployment, kind):
                break
        await _distribute(deployment, names[1::2])
        await asyncio.sleep(1.0)
        await _distribute(deployment, names)


async def _rotate(deployment: Deployment, kind: str) -> bool:
    """Whether the new key writes now: every process has said that it knows it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", "keys", "rotate", kind, "--wait", "3s"),
        *("-c", str(deployment.folder / "gateway.yaml")),
        cwd=ROOT,
        env=deployment.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return await process.wait() == 0


async def _distribute(deployment: Deployment, names: Iterable[str]) -> None:
    for name in names:
        ring = deployment.gateways[name].ring
        fresh = ring.with_suffix(".new")
        await asyncio.to_thread(shutil.copy, deployment.folder / "keys.json", fresh)
        fresh.replace(ring)


# --- the network ---------------------------------------------------------------------------------

STORES: Final = (*SERVERS, *WATCHERS)
FAR: Final = {"redis": STORES, "sql": ("postgres",), "cloud": CLOUD}
"""What a machine of the gateway is cut off from."""


@asynccontextmanager
async def _link(deployment: Deployment, target: str, how: dict[str, float]) -> AsyncIterator[None]:
    source, _, far = target.partition(" to ")
    links = deployment.network.links_of(source, FAR.get(far, (far,)))
    for link in links:
        link.set(cut="cut" in how, silent="silent" in how, delay_s=how.get("delay_s", 0.0))
    try:
        yield
    finally:
        for link in links:
            link.set()


def link_cut(deployment: Deployment, target: str) -> AbstractAsyncContextManager[None]:
    return _link(deployment, target, {"cut": 1})


def link_silent(deployment: Deployment, target: str) -> AbstractAsyncContextManager[None]:
    return _link(deployment, target, {"silent": 1})


def link_slow(deployment: Deployment, target: str) -> AbstractAsyncContextManager[None]:
    return _link(deployment, target, {"delay_s": DELAY_S})


LINKS: Final = (
    *(f"{name} to redis" for name in (*AUTHS, *ADMINS)),
    *(f"{name} to sql" for name in ADMINS),
    *(f"{name} to cloud" for name in AUTHS),
    "valkey-b to valkey-a",
)


# --- stores --------------------------------------------------------------------------------------


def _server(deployment: Deployment, target: str) -> str:
    """A machine's name of a role that moves."""
    if target == "redis primary":
        return deployment.valkey.primary()
    if target == "redis replica":
        return deployment.valkey.replica()
    if target == "sql primary":
        return deployment.postgres.primary.name
    if target == "sql standby":
        return deployment.postgres.standby.name
    return target


@asynccontextmanager
async def redis_killed(deployment: Deployment, target: str) -> AsyncIterator[None]:
    name = await asyncio.to_thread(_server, deployment, target)
    await deployment.valkey.kill(name)
    try:
        yield
    finally:
        await deployment.valkey.start_again(name)


@asynccontextmanager
async def redis_full(deployment: Deployment, _target: str) -> AsyncIterator[None]:
    with deployment.valkey.disks[await asyncio.to_thread(deployment.valkey.primary)].full():
        yield


@asynccontextmanager
async def redis_out_of_memory(deployment: Deployment, _target: str) -> AsyncIterator[None]:
    struck = list(deployment.valkey.servers.values())
    for server in struck:
        server.ask("CONFIG", "SET", "maxmemory", "1mb")
    try:
        yield
    finally:
        for server in struck:
            server.ask("CONFIG", "SET", "maxmemory", "0")


@asynccontextmanager
async def snapshot_corrupted(deployment: Deployment, target: str) -> AsyncIterator[None]:
    """And a replica starts that has nothing else."""
    valkey = deployment.valkey
    garbage = secrets.token_hex(40)
    if target == "manifest":
        await asyncio.to_thread(valkey.ask, "SET", MANIFEST, garbage)
    elif target == "records":
        names = (await asyncio.to_thread(valkey.ask, "HKEYS", RECORDS)).split(b"\r\n")[2::2]
        for name in names:
            await asyncio.to_thread(valkey.ask, "HSET", RECORDS, name.decode("latin-1"), garbage)
    else:
        await asyncio.to_thread(valkey.ask, "SET", GENERATION, "99")
    gateway = deployment.gateways[AUTHS[0]]
    await gateway.kill()
    gateway.start()
    yield


@asynccontextmanager
async def sql_killed(deployment: Deployment, _target: str) -> AsyncIterator[None]:
    await asyncio.to_thread(deployment.postgres.primary.crash)
    try:
        yield
    finally:
        await asyncio.to_thread(deployment.postgres.primary.start)


@asynccontextmanager
async def standby_killed(deployment: Deployment, _target: str) -> AsyncIterator[None]:
    """Nothing is committed meanwhile."""
    await asyncio.to_thread(deployment.postgres.standby.crash)
    try:
        yield
    finally:
        await asyncio.to_thread(deployment.postgres.standby.start)


@asynccontextmanager
async def standby_promoted(deployment: Deployment, _target: str) -> AsyncIterator[None]:
    await deployment.postgres.promote()
    try:
        yield
    finally:
        await deployment.postgres.follow()


@asynccontextmanager
async def sql_full(deployment: Deployment, _target: str) -> AsyncIterator[None]:
    """Its write-ahead log included; a supervisor starts it again when it ends."""
    server = deployment.postgres.primary
    assert server.disk is not None

    has_room = asyncio.Event()

    async def supervise() -> None:
        while not has_room.is_set():
            if not server.alive():
                await asyncio.to_thread(server.launch)
            await asyncio.sleep(RESTARTS_EVERY_S)

    supervising = asyncio.create_task(supervise())
    try:
        with server.disk.full():
            yield
    finally:
        # Not cancelled: a launch in progress would go on, and another server meet its lock file.
        has_room.set()
        await supervising
        if not server.alive():
            await asyncio.to_thread(server.start)


# --- the cloud -----------------------------------------------------------------------------------


@asynccontextmanager
async def cloud_faulty(deployment: Deployment, target: str) -> AsyncIterator[None]:
    server, _, fault = target.partition(" ")
    await deployment.ask_cloud("fault", server=server, fault=fault)
    try:
        yield
    finally:
        await deployment.ask_cloud("heal")


@asynccontextmanager
async def certificate_expired(deployment: Deployment, _target: str) -> AsyncIterator[None]:
    await deployment.ask_cloud("certificate")
    for name in CLOUD:
        deployment.network.fronts[name].drop()
    try:
        yield
    finally:
        await deployment.ask_cloud("heal")


@asynccontextmanager
async def hooks_cut(deployment: Deployment, _target: str) -> AsyncIterator[None]:
    """Identity providers reach nobody."""
    link = deployment.network.link("", "hooks")
    link.set(cut=True)
    try:
        yield
    finally:
        link.set()


REDIS_TARGETS: Final = ("redis primary", "redis primary", "redis replica", WATCHERS[0])
GATEWAYS: Final = (*AUTHS, *ADMINS)
KINDS: Final[tuple[Kind, ...]] = (
    Kind("kill", "gateway", GATEWAYS, killed),
    Kind("kill worker", "gateway", AUTHS, worker_killed),
    Kind("terminate", "gateway", GATEWAYS, terminated),
    Kind("stop", "gateway", GATEWAYS, stopped),
    Kind("stop worker", "gateway", AUTHS, worker_stopped),
    Kind("cut", "gateway", LINKS, link_cut),
    Kind("silence", "gateway", LINKS, link_silent),
    Kind("delay", "gateway", LINKS, link_slow),
    Kind("clock", "gateway", tuple(f"{n} {s}" for n in GATEWAYS for s in "+-"), clock_stepped),
    Kind("open files", "gateway", GATEWAYS, files_exhausted),
    Kind("memory", "gateway", AUTHS, memory_exhausted),
    Kind("DNS", "gateway", GATEWAYS, dns_away),
    Kind("key ring", "gateway", ("sealing", "assertion", "database"), key_ring_half_replaced),
    Kind("kill redis", "redis", REDIS_TARGETS, redis_killed),
    Kind("stop redis", "redis", REDIS_TARGETS, stopped),
    Kind("redis memory", "redis", ("both",), redis_out_of_memory),
    Kind("redis disk", "redis", ("redis primary",), redis_full, root=True),
    Kind("snapshot", "redis", ("manifest", "records", "generation"), snapshot_corrupted),
    Kind("kill sql", "sql", ("sql primary",), sql_killed),
    Kind("kill standby", "sql", ("sql standby",), standby_killed),
    Kind("promote standby", "sql", ("sql standby",), standby_promoted),
    Kind("stop sql", "sql", ("sql primary", "sql standby"), stopped),
    Kind("sql disk", "sql", ("sql primary",), sql_full, root=True),
    Kind(
        "cognito",
        "cloud",
        tuple(f"cognito {fault}" for fault in ("throttle", "fail", "hang", "lag", *LIES)),
        cloud_faulty,
    ),
    Kind(
        "providers",
        "cloud",
        tuple(f"idps {fault}" for fault in ("throttle", "fail", "hang", "lag", *LIES)),
        cloud_faulty,
    ),
    Kind(
        "cognito API",
        "cloud",
        tuple(f"control {fault}" for fault in ("throttle", "fail", "hang", "lag", "lose")),
        cloud_faulty,
    ),
    Kind("certificate", "cloud", ("all",), certificate_expired),
    Kind("hooks cut", "cloud", ("hooks",), hooks_cut),
)
BY_NAME: Final = {kind.name: kind for kind in KINDS}


def named(text: str) -> Kind:
    """``KIND``, or ``KIND: TARGET`` of one that strikes only there. Raises ``ValueError``."""
    name, _, target = (part.strip() for part in text.partition(":"))
    kind = BY_NAME.get(name)
    if kind is None:
        msg = f"no such fault: {name}; there are {', '.join(BY_NAME)}"
        raise ValueError(msg)
    if target and target not in kind.targets:
        msg = f"{name} has no target {target}; there are {', '.join(kind.targets)}"
        raise ValueError(msg)
    return replace(kind, targets=(target,)) if target else kind


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault of the schedule."""

    kind: Kind
    target: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One or two faults at a time, for so long."""

    faults: tuple[Struck, ...]
    seconds: float

    def __str__(self) -> str:
        what = " and ".join(f"{one.kind.name} ({one.target})" for one in self.faults)
        return f"{what} for {self.seconds:.1f} s"


def schedule(chance: random.Random, kinds: list[Kind], *, count: int) -> list[Planned]:
    """Every kind once before any comes again; one in four is not alone."""
    planned: list[Planned] = []
    left: list[Kind] = []
    while len(planned) < count:
        if not left:
            left = chance.sample(kinds, len(kinds))
        first = left.pop()
        faults = [Struck(first, chance.choice(first.targets))]
        others = [kind for kind in kinds if kind.group != first.group]
        if others and chance.random() < 0.25:
            second = chance.choice(others)
            faults.append(Struck(second, chance.choice(second.targets)))
        planned.append(Planned(tuple(faults), 2.0 + chance.random() * 3.0))
    return planned
