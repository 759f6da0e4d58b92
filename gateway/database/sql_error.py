"""Why SQL did not do what it was asked, in words that whoever runs the gateway can act on; and what
of ``database.url`` cannot work.

No text of PostgreSQL is repeated: it can quote values. SQLite's never does.
"""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.config.types import is_loopback_name
from gateway.errors import ConfigError
from gateway.http.connection_error import CLOSED, UNKNOWN, at, chain, why

if TYPE_CHECKING:
    from sqlalchemy import URL

PORT: Final = 5432
_LAST_PORT: Final = 65535
ENCODED: Final = (
    "other characters than letters, digits and -._~ in the password must be percent-encoded"
)
FORM: Final = (
    "database.url: not a URL (sqlite+aiosqlite:///PATH or "
    f"postgresql+asyncpg://USER:PASSWORD@HOST[:PORT]/DATABASE; {ENCODED})"
)
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,255}|/[^@?#]*")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_OPTIONS: Final = frozenset({"ssl", "host", "port", "target_session_attrs"})
_OF_OTHERS: Final = {
    "sslmode": f"is called ssl here (one of {', '.join(_SSL_MODES)})",
    "sslrootcert": "is not known: set database.ca_file instead",
    "sslcert": "is not known: set PGSSLCERT in the environment instead",
    "sslkey": "is not known: set PGSSLKEY in the environment instead",
    "options": "is not known; the gateway sets what it needs itself",
    "connect_timeout": "is not known; the gateway has limits of time of its own",
    "timeout": "is not known; the gateway has limits of time of its own",
    "command_timeout": "is not known; the gateway has limits of time of its own",
    "application_name": "is not known",
    "prepared_statement_cache_size": "is for poolers that the gateway does not work behind",
}
"""Names that no password holds: these may be told."""
_STATES: Final = {
    "28P01": f"the user or its password is wrong; in database.url, {ENCODED}",
    "28000": "the server does not admit this user from here (pg_hba.conf), or wants TLS: add "
    "?ssl=require to database.url",
    "3D000": "the server has no database of that name",
    "53300": "the server has no connection left (max_connections)",
    "53100": "the disk of the server is full",
    "53200": "the server is out of memory",
    "57P01": "the server is shutting down",
    "57P02": "the server is shutting down",
    "57P03": "the server is starting or shutting down",
    "57P04": "the database was dropped",
    "57014": "it took too long",
    "55P03": "another transaction holds what is needed",
    "40P01": "a deadlock with another transaction",
    "40001": "another transaction changed the same",
    "42501": "the user in database.url may not do that: it must own the database's schema",
    "42P01": "a table is missing",
    "25006": "the server takes no writes: it is a standby, or set to read only",
    "08P01": "what listens there does not speak PostgreSQL's protocol",
    "26000": "a pooler in transaction mode stands between",
    "42P05": "a pooler in transaction mode stands between",
}


def reason(error: BaseException) -> str:
    """In words, without a value of any row or URL."""
    cause = error.orig or error if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return f"SQLite: {cause}"
    if isinstance(cause, PoolTimeoutError):
        return "every connection is in use"
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str) and state in _STATES:
        return _STATES[state]
    text = " ".join(str(one) for one in chain(cause))
    if "rejected SSL upgrade" in text:
        return (
            "the server has no TLS (then remove ssl= from database.url, or switch TLS on there), "
            "or is not PostgreSQL"
        )
    if "root certificate file" in text or "sslrootcert" in text:
        return (
            "ssl=verify-ca and ssl=verify-full need the authority's certificate: set "
            "database.ca_file"
        )
    words = why(cause, trust="database.ca_file")
    if words != UNKNOWN:
        return words
    if "connection was closed" in text or "connection_lost" in text or "is closed" in text:
        return f"{CLOSED}; is that port PostgreSQL's?"
    has_state = isinstance(state, str) and state.isalnum()
    return f"the server failed, SQLSTATE {state}" if has_state else words


def address(url: URL) -> str:
    """Where it is: the server, or SQLite's file."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    hosts = url.query.get("host", "localhost")
    if url.host is None and not isinstance(hosts, str):
        return ", ".join(hosts)
    host = url.host or str(hosts)
    return host if host.startswith("/") else at(host, url.port or PORT)


def parse_url(text: str) -> URL:
    """``database.url``. Raises ``ConfigError`` for what cannot work, and where a password with a
    character that is not encoded was cut: its rest would else be shown as a host.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # Its text quotes what it did not understand, which may be of the password.
        raise ConfigError(FORM) from None
    if text.count("@") > 1 or (url.host is not None and not _HOST.fullmatch(url.host)):
        raise ConfigError(FORM)
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:" or url.host or url.query:
            msg = "database.url: sqlite+aiosqlite:///PATH must name a file, and nothing else"
            raise ConfigError(msg)
    else:
        _check_server(url)
    return url


def warnings(url: URL) -> tuple[str, ...]:
    """What is allowed and seldom meant."""
    host = url.host or ""
    mode = url.query.get("ssl", "prefer")
    if url.get_backend_name() == "sqlite" or not host or host.startswith("/"):
        return ()
    if is_loopback_name(host) or mode == "verify-full":
        return ()
    return (
        (
            f"database.url: ssl is {mode}: {_SSL_MEANING.get(str(mode), '')}. Use ssl=verify-full "
            "unless the network itself is encrypted"
        ),
    )


_SSL_MEANING: Final = {
    "disable": "nothing is encrypted",
    "allow": "nothing is encrypted where the server does not insist",
    "prefer": "nothing is encrypted where somebody between says that the server has no TLS",
    "require": "it is encrypted, and nobody looks whose certificate it is",
    "verify-ca": "any certificate of the authority is taken",
}


def _check_server(url: URL) -> None:
    """What PostgreSQL's driver would fail at when it is used. Raises ``ConfigError``."""
    if set("@/?#") & set(url.database or ""):
        raise ConfigError(FORM)
    if url.port is not None and not 1 <= url.port <= _LAST_PORT:
        msg = f"database.url: the port is between 1 and {_LAST_PORT}"
        raise ConfigError(msg)
    for name, value in url.query.items():
        if name in _OF_OTHERS:
            msg = f"database.url: the option {name} {_OF_OTHERS[name]}"
            raise ConfigError(msg)
        if name not in _OPTIONS:
            msg = (
                "database.url: has an option that is not known (known: "
                f"{', '.join(sorted(_OPTIONS))}); {ENCODED}"
            )
            raise ConfigError(msg)
        if name == "ssl" and value not in _SSL_MODES:
            msg = f"database.url: ssl: one of {', '.join(_SSL_MODES)}"
            raise ConfigError(msg)


__all__ = ["address", "parse_url", "reason", "warnings"]
