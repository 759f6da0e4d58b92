"""Why Redis did not do what it was asked, in words that whoever runs the gateway can act on.

No text of a server is repeated: it can quote the arguments of a command.
"""

from __future__ import annotations

import re
from typing import Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from gateway.http.connection_error import CLOSED, NO_TIME, NO_TLS, RESET, chain, why

ENCODED: Final = (
    "other characters than letters, digits and -._~ in the password must be percent-encoded"
)
_NO_RIGHT = re.compile(r"to run the '([\w|-]{1,40})' command")
_A_NODE: Final = "the server is a node of a Cluster: use redis+cluster:// in redis.url"
_NO_NODE: Final = "the server is not a node of a Cluster: use redis:// in redis.url"
_NO_PASSWORD: Final = "the server wants a password, and redis.url names none"
_NOT_REDIS: Final = "what listens there is not Redis"
_LOADING: Final = "the server is still loading its data"
_NO_CLUSTER: Final = "the Cluster is down: not every slot has a primary"
_KINDS: Final = (
    (MovedError, _A_NODE),
    (AskError, _A_NODE),
    (BusyLoadingError, _LOADING),
    (OutOfMemoryError, "the server's memory is full (maxmemory): it takes no writes"),
    (ReadOnlyError, "the server is a replica: redis.url must lead to the primary"),
    (ClusterDownError, _NO_CLUSTER),
    (InvalidResponse, _NOT_REDIS),
)
_TEXTS: Final = (
    ("max number of clients", "the server has no connection left (maxclients)"),
    ("DB index is out of range", "the server has no database of that number (redis.url)"),
    ("SELECT is not allowed in cluster mode", "a Cluster has the database 0 only (redis.url)"),
    ("Cluster mode is not enabled", _NO_NODE),
    ("cluster support disabled", _NO_NODE),
    ("DENIED", "the server is in protected mode: set a password, or bind it"),
    ("MISCONF", "the server cannot write its snapshot to disk, and takes no writes"),
    ("NOREPLICAS", "too few replicas are connected (min-replicas-to-write)"),
    ("MASTERDOWN", "the server is a replica without its primary"),
    ("LOADING", _LOADING),
    ("CLUSTERDOWN", _NO_CLUSTER),
    ("BUSY", "the server is busy with a script"),
    ("no password is set", "the server has no password, and redis.url names one"),
    ("NOAUTH", _NO_PASSWORD),
    ("HELLO must be called", _NO_PASSWORD),
    ("Authentication required", _NO_PASSWORD),
    ("Protocol Error", _NOT_REDIS),
)


def reason(error: BaseException, *, tls: bool | None = None) -> str:
    """``tls``: whether the connection was to be encrypted, None where that is not known."""
    if isinstance(error, MasterNotFoundError):
        return str(error)  # our own words (sentinels.py)
    for one in chain(error):
        if isinstance(one, RedisError) and (answer := _answered(one)):
            cause = answer
            break
    else:
        cause = (
            "the connection was closed while it was in use"
            if isinstance(error, AttributeError | RuntimeError)
            else why(error, trust="redis.ca_file")
        )
    if tls and cause == NO_TLS:
        return f"{cause}: use redis:// (redis.url says rediss://)"
    if tls and cause == NO_TIME:
        return "no answer in time; is it a port without TLS (then use redis://), or a firewall?"
    if tls is None and cause == NO_TIME:
        return "no answer in time"
    if tls is False and cause in {CLOSED, RESET}:
        return f"{cause}; is it a TLS port? Then use rediss://"
    return cause


def _answered(error: RedisError) -> str:
    """What the server's own answer means; "" where it gave none."""
    text = str(error)
    if isinstance(error, NoPermissionError):
        return _not_permitted(text)
    for kind, words in _KINDS:
        if isinstance(error, kind):
            return words
    for part, words in _TEXTS:
        if part in text:
            return words
    if isinstance(error, AuthenticationError | AuthorizationError):
        return f"the user or its password is wrong; in redis.url, {ENCODED}"
    if "Connection closed by server" in text:
        return CLOSED
    if isinstance(error, ResponseError):
        if "unknown command" in text:
            return "the server does not know that command: is it a sentinel, or older than 7?"
        code = text.partition(" ")[0]
        return f"the server refused it ({code[:20]})" if code.isupper() else "the server refused it"
    return ""


def _not_permitted(text: str) -> str:
    if match := _NO_RIGHT.search(text):
        return f"the user in redis.url may not run {match[1].upper()} (see ACL SETUSER)"
    what = "channels" if "channel" in text else "keys" if "key" in text else "commands"
    names = "; all names of the gateway begin with gw:" if what != "commands" else ""
    return f"the user in redis.url may not use these {what} (see ACL SETUSER{names})"


__all__ = ["ENCODED", "reason"]
