"""What ``gateway config check`` demands of one Redis server besides its settings: its release, the
rights of the user in ``redis.url``, users that a restart leaves, and its clock.

Nothing is changed to find out: a script asks the server whether a command would be permitted.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from gateway.errors import UnavailableError
from gateway.sessions.clock_offset import APART_S, offset_s

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.sessions.connection import RedisClient

OLDEST: Final = (7, 0)
REPLAYS_AS_ANYBODY: Final = {"valkey": (9, 1, 2), "redis": (8, 6, 0)}
"""From these releases on, what is in the AOF is not judged by the rights of the default user when a
server starts. Some releases before may have been mended too.
"""
_KEY: Final = "gw:probe"
NEEDED: Final[tuple[tuple[str, ...], ...]] = (
    *((name, _KEY) for name in ("DEL", "EXISTS", "GET", "HGETALL", "HKEYS", "INCR", "LLEN")),
    *((name, _KEY) for name in ("PERSIST", "PTTL", "TTL", "ZCARD")),
    *((name, _KEY, "1") for name in ("EXPIRE", "EXPIREAT", "HDEL", "HEXISTS", "HGET", "HMGET")),
    *((name, _KEY, "1") for name in ("PEXPIREAT", "RPUSH", "SET", "ZREM", "ZSCAN")),
    *((name, _KEY, "1", "1") for name in ("GETRANGE", "HSET", "LRANGE", "LTRIM", "ZADD")),
    *((name, _KEY, "1", "1") for name in ("ZRANGE", "ZREMRANGEBYSCORE")),
    ("PUBLISH", _KEY, "1"),
    ("SUBSCRIBE", _KEY),
    ("EVAL", "return 1", "1", _KEY),
    ("EVALSHA", "0" * 40, "1", _KEY),
    ("SCRIPT", "LOAD", "return 1"),
    ("INFO", "replication"),
    ("TIME",),
    ("WAIT", "0", "1"),
)
"""Commands that the gateway sends, or its scripts."""
OF_A_CLUSTER: Final = (("CLUSTER", "SLOTS"), ("ASKING",))
_WRITES: Final = (
    ("SET", _KEY, "1"),
    ("HSET", _KEY, "1", "1"),
    ("DEL", _KEY),
    ("EXPIRE", _KEY, "1"),
)
_PERMITTED: Final = """
local refused = {}
for _, words in ipairs(cjson.decode(ARGV[1])) do
  local known, permitted = pcall(redis.acl_check_cmd, unpack(words))
  if known and not permitted then refused[#refused + 1] = words[1] end
end
return refused
"""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that must be so. ``detail`` says where and what is, and when it is wrong what would
    happen and what to set.
    """

    name: str
    ok: bool
    detail: str


async def looked_at(
    redis: RedisClient, name: str, info: Mapping[str, Any], *, clustered: bool
) -> list[Requirement]:
    """Of the server ``name``, which ``redis`` is connected to. Raises ``UnavailableError``."""
    return [
        release(name, info),
        await rights(redis, name, NEEDED + OF_A_CLUSTER * clustered),
        *await users(redis, name, info),
        await clock(redis, name),
    ]


def version(info: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    """``valkey`` or ``redis``, and its release; no numbers where it says none."""
    kind = "valkey" if "valkey_version" in info else "redis"
    text = str(info.get(f"{kind}_version", ""))
    return kind, tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def release(name: str, info: Mapping[str, Any]) -> Requirement:
    kind, numbers = version(info)
    summary = f"{name}: {kind} {'.'.join(map(str, numbers)) or 'of an unknown release'}"
    if not numbers or numbers >= OLDEST:
        return Requirement("redis release", ok=True, detail=summary)
    return Requirement(
        "redis release", ok=False, detail=f"{summary}; Redis 7, Valkey 7.2 or newer is needed"
    )


async def rights(
    redis: RedisClient, name: str, commands: Collection[tuple[str, ...]]
) -> Requirement:
    """Whether the user in ``redis.url`` may do what the gateway does."""
    try:
        refused_commands = await redis.command("EVAL", _PERMITTED, 0, json.dumps(list(commands)))
    except UnavailableError as error:
        if not isinstance(error.__cause__, ResponseError):
            raise
        return Requirement("redis rights", ok=False, detail=f"{error}; {_RULE}")
    names = ", ".join(sorted(_text(word).upper() for word in refused_commands))
    if not names:
        return Requirement(
            "redis rights",
            ok=True,
            detail=f"{name}: the user in redis.url may do all that is needed",
        )
    return Requirement(
        "redis rights",
        ok=False,
        detail=f"{name}: the user in redis.url may not run {names} on keys and channels that "
        f"begin with gw:; {_RULE}",
    )


_RULE: Final = "give it ~gw:* &gw:* +@all -@dangerous +info"


async def users(redis: RedisClient, name: str, info: Mapping[str, Any]) -> list[Requirement]:
    """Whether users and sessions are there after a restart."""
    try:
        acl_lines = [_text(line) for line in await redis.command("ACL", "LIST")]
        options = _pairs(await redis.command("CONFIG", "GET", "aclfile"))
        refused_commands = [
            words[0]
            for words in _WRITES
            if _text(await redis.command("ACL", "DRYRUN", "default", *words)) != "OK"
        ]
    except UnavailableError as error:
        if not isinstance(error.__cause__, ResponseError):
            raise
        return [
            Requirement(
                "redis users",
                ok=True,
                detail=f"{name}: the user in redis.url may not list users, so whether they are "
                "there after a restart was not looked at",
            )
        ]
    lines = {words[1]: line for line in acl_lines if len(words := line.split(" ")) > 1}
    return [
        kept(name, lines, options.get("aclfile", ""), str(info.get("config_file", ""))),
        replayed(name, info, refused_commands),
    ]


def kept(name: str, users: Mapping[str, str], aclfile: str, config_file: str) -> Requirement:
    """Whether each user but the default one is in a file that the server reads when it starts.
    ``users``: the line of ``ACL LIST`` of each.
    """
    others = sorted(users.keys() - {"default"})
    if not others:
        return Requirement("redis users", ok=True, detail=f"{name}: the default user only")
    file = aclfile or config_file
    prefix = f"{name}: users {', '.join(others)[:200]}"
    if not file:
        return Requirement(
            "redis users",
            ok=False,
            detail=f"{prefix} are in no file, and gone at the next restart unless the server's "
            "command line names them: set aclfile, then ACL SAVE",
        )
    file_users = _users_in(name, file)
    how = "ACL SAVE" if aclfile else "set aclfile, then ACL SAVE; or a user line in that file"
    if file_users is None:
        return Requirement(
            "redis users",
            ok=True,
            detail=f"{prefix}: after a restart those in {file} are left, which cannot be read from "
            f"here; what ACL SETUSER changed since is lost without {how}",
        )
    missing_users = [user for user in others if user not in file_users]
    changed_users = [
        user
        for user in others
        if aclfile and "#" in file_users.get(user, "") and file_users[user] != users[user]
    ]
    if missing_users or changed_users:
        what = f"users {', '.join(missing_users or changed_users)[:200]}"
        state = "are not in" if missing_users else "differ from what is in"
        return Requirement(
            "redis users",
            ok=False,
            detail=f"{name}: {what} {state} {file}, and last until the next restart; {how}",
        )
    return Requirement("redis users", ok=True, detail=f"{prefix} are in {file}")


def _users_in(name: str, file: str) -> dict[str, str] | None:
    """The users' lines; None for a server on another machine, and where nobody may read it."""
    if not name.startswith(("/", "127.", "localhost:", "[::1]:")):
        return None
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return {
        words[1]: line
        for line in lines
        if len(words := line.split(" ")) > 1 and words[0].lower() == "user"
    }


def replayed(name: str, info: Mapping[str, Any], refused: Collection[str]) -> Requirement:
    """Whether all of the append-only file is there after a restart. ``refused``: what the default
    user may not do.
    """
    kind, numbers = version(info)
    if not refused or numbers >= REPLAYS_AS_ANYBODY[kind] or not int(info.get("aof_enabled", 0)):
        return Requirement(
            "redis replay", ok=True, detail=f"{name}: a restart replays the whole append-only file"
        )
    return Requirement(
        "redis replay",
        ok=False,
        detail=f"{name}: {kind} {'.'.join(map(str, numbers))} replays its append-only file as the "
        f"default user, which may not run {', '.join(refused)}: after a restart every write of a "
        "script is lost, and so every session. Set: user default off ~* &* +@all",
    )


async def clock(redis: RedisClient, name: str) -> Requirement:
    """Ours against the server's: lives of sessions are told by both."""
    asked_at = time.monotonic()
    seconds, microseconds = await redis.command("TIME")
    theirs = int(seconds) + int(microseconds) / 1e6
    offset = offset_s(theirs, asked_at=asked_at, answered_at=time.monotonic(), wall=time.time())
    return clock_requirement(name, offset)


def clock_requirement(name: str, offset: float | None) -> Requirement:
    """``offset``: this machine's clock less the other's, in seconds; None where it is not known."""
    if offset is None:
        return Requirement(
            "redis clock", ok=True, detail=f"{name}: took too long to compare clocks"
        )
    side = "ahead of" if offset > 0 else "behind"
    summary = f"this machine's clock is {abs(offset):.1f} s {side} {name}"
    if abs(offset) <= APART_S:
        return Requirement("redis clock", ok=True, detail=summary)
    return Requirement(
        "redis clock",
        ok=False,
        detail=f"{summary}; at most {APART_S:g} s: run NTP (chrony, systemd-timesyncd) on both",
    )


def _text(word: object) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)


def _pairs(reply: Any) -> dict[str, str]:
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=False)
    return {_text(name): _text(value) for name, value in pairs}


__all__ = ["NEEDED", "Requirement", "clock_requirement", "kept", "looked_at", "release", "replayed"]
