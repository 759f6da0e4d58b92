"""The admin API as commands call it: over the local socket of this machine's gateway, or at a
server with a key.

Rules:
- The key comes from the environment or a file, travels in one header over TLS (or to this very
  machine), and is never printed.
- A redirect is not followed: it would take the key, or what is changed, somewhere else.
- What the gateway says, it says in its own words: a problem is told with its title, detail and
  places. What is no answer of an admin API is told as that.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

from gateway.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

Json = dict[str, Any]
PREFIX: Final = "/admin/v1"
LOCAL_HOST: Final = "admin.sock"
"""Name of the socket in ``state_dir``, and what a request over it names as its host."""
CONNECT_S: Final = 10.0
PAGE: Final = 200
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
MAX_WAITS: Final = 20
"""For a turn, where the gateway says that there were too many requests."""
_KEY: Final = re.compile(r"[!-~]{1,512}")
REFUSED, WRONG, UNREACHABLE, NOT_PERMITTED = 1, 2, 3, 4
"""Exit codes."""
_WRONG: Final = frozenset(
    {"invalid_body", "invalid_query", "invalid_header", "secret_reference", "not_json", "too_large"}
)
_NOT_PERMITTED: Final = frozenset({401, 403})


class CommandError(GatewayError):
    """A command did not do what it was to do."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ProblemError(CommandError):
    """The admin API's refusal; ``problem`` is its document (RFC 9457)."""

    def __init__(self, problem: Json) -> None:
        self.problem = problem
        self.code, status = str(problem.get("code", "")), problem.get("status")
        super().__init__(
            _in_words(problem),
            exit_code=NOT_PERMITTED
            if status in _NOT_PERMITTED
            else WRONG
            if self.code in _WRONG
            else REFUSED,
        )

    @property
    def mistakes(self) -> list[tuple[str, str]]:
        """Where, and what is wrong there."""
        return [
            (str(e.get("where")), str(e.get("problem"))) for e in self.problem.get("errors", [])
        ]


def _in_words(problem: Json) -> str:
    title, errors = str(problem.get("title", "refused")), problem.get("errors") or []
    detail = "" if errors else str(problem.get("detail", ""))
    request = f", request {problem['request_id']}" if problem.get("status", 0) >= 500 else ""
    text = f"{title}{': ' + detail if detail else ''} ({problem.get('code')}{request})"
    return "\n".join([text, *(f"  {e.get('where')}: {e.get('problem')}" for e in errors)])


@dataclass(frozen=True, slots=True)
class Target:
    """Where the admin API is, as options and environment say it."""

    config_path: str
    server: str | None = None
    key: str | None = field(default=None, repr=False)
    """``env:NAME`` or ``file:PATH``."""
    ca: str | None = None
    insecure_http: bool = False
    timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a success. ``etag`` without quotes."""

    document: Any
    etag: str | None = None


class Api:
    """One connection after the other; nothing is kept open between two commands."""

    def __init__(
        self,
        where: str,
        *,
        opened: Callable[[], http.client.HTTPConnection],
        headers: Mapping[str, str],
        timeout_s: float,
        prefix: str = PREFIX,
    ) -> None:
        self.where, self._opened, self._headers, self._prefix = where, opened, headers, prefix
        self._timeout_s = timeout_s

    def get(self, path: str, **query: object) -> Any:
        return self.call("GET", path, query=query).document

    def pages(self, path: str, *, limit: int | None = None, **query: object) -> Json:
        """All pages of a list as one: ``items``, and ``next`` where there are more than
        ``limit``.
        """
        items: list[Json] = []
        following: str | None = None
        while limit is None or len(items) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(items))
            page = self.get(path, **query, limit=size, cursor=following)
            items += page["items"]
            following = page["next"]
            if following is None:
                break
        return {"items": items, "next": following}

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        if_match: str | None = None,
    ) -> Answer:
        """Raises ``ProblemError``, and ``CommandError`` where no admin API answers."""
        headers = dict(self._headers)
        data = None
        if body is not None:
            data = json.dumps(body, ensure_ascii=False).encode()
            headers["Content-Type"] = "application/json"
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        for _ in range(MAX_WAITS):
            status, response_headers, raw = self._exchange(method, path, query, headers, data)
            if status != 429:
                break
            time.sleep(min(5.0, float(response_headers.get("Retry-After", "1"))))
        document = _parsed(raw, response_headers) if raw else None
        if 200 <= status < 300:
            etag = response_headers.get("ETag")
            return Answer(document, etag.strip('"') if etag else None)
        if isinstance(document, dict) and "code" in document:
            raise ProblemError(document)
        msg = f"{self.where} answered {status}, and not as an admin API does"
        raise CommandError(msg, exit_code=UNREACHABLE)

    def follow(self, path: str, **query: object) -> Generator[Json, None, None]:
        """The data of server-sent events, until the gateway ends the stream."""
        connection = self._send("GET", path, query, dict(self._headers), None)
        with contextlib.closing(connection):
            response = connection.getresponse()
            if response.status != 200:
                document = _parsed(response.read(), response.headers)
                if isinstance(document, dict) and "code" in document:
                    raise ProblemError(document)
                msg = f"{self.where} answered {response.status}, and not as an admin API does"
                raise CommandError(msg, exit_code=UNREACHABLE)
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        headers: dict[str, str],
        data: bytes | None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self._send(method, path, query, headers, data)
        try:
            with contextlib.closing(connection):
                response = connection.getresponse()
                raw = response.read(MAX_ANSWER_BYTES + 1)
        except TimeoutError as error:
            msg = f"{self.where} has not answered in time" + _perhaps(method)
            raise CommandError(msg, exit_code=UNREACHABLE) from error
        except (OSError, http.client.HTTPException) as error:
            msg = f"{self.where} ended the connection ({_why(error)})" + _perhaps(method)
            raise CommandError(msg, exit_code=UNREACHABLE) from error
        if len(raw) > MAX_ANSWER_BYTES:
            msg = f"{self.where} answered more than {MAX_ANSWER_BYTES} bytes"
            raise CommandError(msg, exit_code=UNREACHABLE)
        return response.status, response.headers, raw

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        headers: dict[str, str],
        data: bytes | None,
    ) -> http.client.HTTPConnection:
        parameters = {
            name: _text(value) for name, value in (query or {}).items() if value is not None
        }
        connection = self._opened()
        try:
            connection.connect()
            connection.sock.settimeout(self._timeout_s)
            connection.request(
                method,
                self._prefix + path + (f"?{urlencode(parameters)}" if parameters else ""),
                body=data,
                headers=headers,
            )
        except (BrokenPipeError, ConnectionResetError):
            return connection  # refused before all of it was sent: the answer may say why
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            msg = f"{self.where} cannot be reached: {_why(error)}"
            raise CommandError(msg, exit_code=UNREACHABLE) from error
        return connection


def url_path(*parts: str) -> str:
    """What people type is one part of a path each, whatever is in it."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _perhaps(method: str) -> str:
    return "" if method == "GET" else ": it may have been done; look before you try again"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parsed(raw: bytes, headers: http.client.HTTPMessage) -> object:
    if not headers.get_content_type().endswith("json"):
        return None
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _why(error: Exception) -> str:
    from gateway.http.connection_error import why  # noqa: PLC0415 - only where something is wrong

    return why(error, trust="--ca")


# --- where it is ---------------------------------------------------------------------------------


def connect(target: Target) -> Api:
    """Looks whether somebody answers before anything is asked of the person at the terminal. Raises
    ``ConfigError`` and ``CommandError``.
    """
    return _server(target) if target.server is not None else _local(target)


def _server(target: Target) -> Api:
    server = target.server or ""
    try:
        parts = urlsplit(server)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), -1
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.username is not None
        or parts.query
        or parts.fragment
        or port == -1
    ):
        msg = "--server: https://HOST[:PORT], without anything that belongs to a request"
        raise ConfigError(msg)
    host = parts.hostname
    if parts.scheme == "http" and not target.insecure_http and not _is_loopback(host):
        msg = (
            f"--server: {server} is not https: the key would cross the network readable for "
            "everybody on its way (--insecure-http permits that)"
        )
        raise ConfigError(msg)
    key = _key(target.key)
    where = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    context = _tls(target.ca) if parts.scheme == "https" else None

    def opened() -> http.client.HTTPConnection:
        if context is None:
            return http.client.HTTPConnection(host, port, timeout=CONNECT_S)
        return http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=context)

    return Api(
        where,
        opened=opened,
        headers={"Authorization": f"Bearer {key}", "Accept": "application/json"},
        timeout_s=target.timeout_s,
        prefix=parts.path.rstrip("/") + PREFIX,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        msg = f"--ca: {ca}: cannot be read as certificates ({_file_problem(error)})"
        raise ConfigError(msg) from error


def _file_problem(error: OSError) -> str:
    return "not PEM" if isinstance(error, ssl.SSLError) else error.strerror or "unreadable"


def _key(said: str | None) -> str:
    from gateway.config.model import resolve_secret  # noqa: PLC0415 - the configuration's models take a while to import

    option = "--key"
    if said is None:
        option, said = "GATEWAY_ADMIN_KEY", os.environ.get("GATEWAY_ADMIN_KEY")
        if not said:
            msg = (
                "a server wants a key: --key env:NAME or --key file:PATH, or GATEWAY_ADMIN_KEY in "
                "the environment (gateway admin-keys create makes one)"
            )
            raise ConfigError(msg)
    elif not said.startswith(("env:", "file:")):
        msg = (
            "--key: env:NAME or file:PATH; a key on the command line is seen by everybody on the "
            "machine. Revoke the one that you wrote there"
        )
        raise ConfigError(msg)
    try:
        key = resolve_secret(said).reveal()
    except ValueError as error:
        msg = f"{option}: {error}"
        raise ConfigError(msg) from error
    if not _KEY.fullmatch(key):
        msg = f"{option}: is no key of gateway admin-keys create"
        raise ConfigError(msg)
    return key


def _local(target: Target) -> Api:
    path = _socket_path(target.config_path)

    def opened() -> http.client.HTTPConnection:
        return _UnixConnection(path, timeout=CONNECT_S)

    with contextlib.closing(_UnixConnection(path, timeout=CONNECT_S)) as attempt:
        try:
            attempt.connect()
        except OSError as error:
            raise CommandError(_nobody(path, target, error), exit_code=UNREACHABLE) from error
    return Api(
        f"unix:{path}",
        opened=opened,
        headers={"Accept": "application/json"},
        timeout_s=target.timeout_s,
    )


def _nobody(path: Path, target: Target, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            f"{path} is not for this user: run the command as root or as the user that the gateway "
            "runs as. Nothing was done."
        )
    why = (
        "there is no such socket"
        if isinstance(error, FileNotFoundError)
        else "its process has ended"
        if isinstance(error, ConnectionRefusedError)
        else error.strerror or type(error).__name__
    )
    return (
        f"no gateway with the admin role answers at {path}: {why}. Nothing was done.\n"
        f"  Start it here:       gateway serve -c {target.config_path} --role admin   (or all)\n"
        "  Or name another one: gateway --server https://HOST:PORT --key env:NAME …\n"
        "                       (or GATEWAY_SERVER and GATEWAY_ADMIN_KEY)"
    )


def _socket_path(config_path: str) -> Path:
    """Nothing else of the configuration is needed, its secrets least of all."""
    from gateway.config.yaml import read_yaml  # noqa: PLC0415 - as above

    state_dir = os.environ.get("GATEWAY_STATE_DIR")
    if state_dir is None:
        if not Path(config_path).exists():
            msg = (
                f"there is no {config_path} here that would say where this machine's gateway is: "
                "name it with -c, or another gateway with --server https://HOST:PORT --key "
                "env:NAME (or GATEWAY_SERVER and GATEWAY_ADMIN_KEY). Nothing was done."
            )
            raise CommandError(msg, exit_code=UNREACHABLE)
        state_dir = read_yaml(Path(config_path)).get("state_dir", "state")
    if not isinstance(state_dir, str) or not state_dir:
        msg = f"{config_path}: state_dir: a path"
        raise ConfigError(msg)
    return Path(state_dir) / LOCAL_HOST


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, *, timeout: float) -> None:
        super().__init__(LOCAL_HOST, timeout=timeout)
        self._path = path

    def connect(self) -> None:
        # By descriptor: the name of a socket holds 107 bytes, whatever the length of the path.
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)
