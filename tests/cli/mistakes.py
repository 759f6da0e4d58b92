"""What operators write wrongly, and the place in which it is tried: real commands, real servers and
a few that answer nothing but an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from gateway.cli import run
from gateway.cognito.api import CognitoRejectedError
from gateway.cognito.aws_error import rejected, try_credentials
from gateway.config.model import Redis, load_config
from gateway.core.model import Secret
from gateway.database.engine import open_database
from gateway.errors import GatewayError
from gateway.runtime.config_check import clock_state
from gateway.runtime.serve import bind
from gateway.sessions import store_rights
from gateway.sessions.connection import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pytest

    from tests.database.postgres import Postgres
    from tests.sessions.servers import Server

SECRET = "hunter2"
"""In every row that has one: never in what is said."""
A_WEB_SERVER = b"HTTP/1.1 400 Bad Request\r\n\r\n"
SMALLEST: dict[str, Any] = {
    "ingress": {"trusted_proxies": ["127.0.0.1/32"]},
    "cognito": {
        "region": "eu-north-1",
        "user_pool_id": "eu-north-1_AbCdEfGhI",
        "domain": "https://127.0.0.1:1",
        "issuer": "https://127.0.0.1:1",
    },
}
TENANT: dict[str, Any] = {
    "id": "acme",
    "name": "Acme",
    "hosts": ["acme.example.com"],
    "email_domains": ["acme.example.com"],
    "allowed_groups": ["users"],
    "providers": [{"name": "acme-okta", "kind": "okta"}],
    "client_id": "abc",
    "client_secret": SECRET,
}


class _Answers(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        with contextlib.suppress(OSError):
            talk = self.request
            if server.tls is not None:
                talk = server.tls.wrap_socket(talk, server_side=True)
            while talk.recv(65536):
                if not server.reply:
                    return
                talk.sendall(server.reply)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address = True, True
    reply: bytes = b""
    tls: ssl.SSLContext | None = None


@dataclass
class Place:
    """A folder, called ``/etc/gateway`` in what is said, and servers."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    valkey: Server
    postgres: Postgres
    certificate: tuple[Path, Path]
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def answering(self, reply: bytes, *, tls: bool = False) -> int:
        """The port of a server that says this to everything, and nothing where it is empty."""
        server = _Server(("127.0.0.1", 0), _Answers)
        server.reply = reply
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            server.tls = context
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.stack.callback(server.server_close)
        self.stack.callback(server.shutdown)
        return int(server.server_address[1])

    def write(self, document: Mapping[str, Any] | str | bytes) -> Path:
        path = self.folder / "gateway.yaml"
        if isinstance(document, dict):
            document = yaml.safe_dump({**SMALLEST, **document})
        path.write_bytes(document if isinstance(document, bytes) else str(document).encode())
        return path

    def command(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Everything that a command prints."""
        said = io.StringIO()
        with (
            self.monkeypatch.context() as patched,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            patched.chdir(self.folder)
            for name, value in (environment or {}).items():
                patched.setenv(name, value)
            assert run(arguments) != 0, arguments
        return self.plain(said.getvalue())

    def plain(self, said: str) -> str:
        return re.sub(
            r"(127\.0\.0\.1|localhost):\d{4,5}",
            r"\1:PORT",
            said.replace(str(self.folder), "/etc/gateway"),
        )

    def show(
        self,
        document: Mapping[str, Any] | str | bytes,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        self.write(document)
        return self.command("config", "show", "-c", "gateway.yaml", environment=environment)

    def check(self, document: Mapping[str, Any], *, role: str = "auth") -> str:
        self.write(document)
        return self.command("config", "check", "-c", "gateway.yaml", "--role", role)

    def tenant(self, text: str) -> str:
        (self.folder / "tenants").mkdir(exist_ok=True)
        (self.folder / "tenants" / "acme.yaml").write_text(text, encoding="utf-8")
        return self.check({"tenants": {"directory": "tenants"}})

    def tenant_with(self, **changes: Any) -> str:
        return self.tenant(yaml.safe_dump({**TENANT, **changes}))

    def redis(self, url: str, **more: Any) -> str:
        """What the store's client says."""

        async def ask() -> None:
            redis = connect(Redis(url=Secret(url), **more))
            try:
                await redis.command("EXISTS", "gw:probe")
            finally:
                await redis.close()

        return self.plain(_said(lambda: asyncio.run(ask())))

    def sql(self, url: str, **more: Any) -> str:
        """What the database says."""

        async def ask() -> None:
            self.write({"database": {"url": url, **more}, "key_ring": {"file": "keys.json"}})
            database = open_database(load_config(self.folder / "gateway.yaml"), list)
            try:
                await database.ping()
            finally:
                await database.close()

        with self.monkeypatch.context() as patched:
            patched.chdir(self.folder)
            return self.plain(_said(lambda: asyncio.run(ask())))

    def at_postgres(self, rest: str, login: str = "gateway", ca_file: Path | None = None) -> str:
        more = {} if ca_file is None else {"ca_file": str(ca_file)}
        url = f"postgresql+asyncpg://{login}@127.0.0.1:{self.postgres.port}/{rest}"
        return self.sql(url, **more)

    def ring(self, content: str, mode: int = 0o600) -> str:
        path = self.folder / "keys.json"
        path.write_text(content, encoding="utf-8")
        path.chmod(mode)
        self.write({"key_ring": {"file": "keys.json"}})
        try:
            return self.command("keys", "list", "-c", "gateway.yaml")
        finally:
            path.unlink()

    def made_anew(self, document: Mapping[str, Any]) -> str:
        self.write(document)
        return self.command("keys", "rotate", "--create", "-c", "gateway.yaml")

    def listening(self, address: str) -> str:
        return self.plain(_said(lambda: bind(address, key="listen.check").close()))

    def render(self, *arguments: str, **changes: Any) -> str:
        document = {"ingress": {"keys": ["k" * 32]}, "login_host": "login.example.com", **changes}
        self.write(document)
        return self.command("ingress", "render", *arguments, "-c", "gateway.yaml")


def _said(action: Callable[[], object]) -> str:
    try:
        action()
    except GatewayError as error:
        return str(error)
    raise AssertionError


def denied(*operations: str) -> str:
    """Of credentials that may not call these."""

    class Api:
        async def call(self, operation: str, *, idempotent: bool, **_: Any) -> dict[str, Any]:
            assert idempotent
            if operation in operations:
                raise CognitoRejectedError("AccessDeniedException", f"User: {SECRET} is not …")
            if operations and operation == "DescribeUserPool":
                return {}
            raise CognitoRejectedError("ResourceNotFoundException", "no")

    api: Any = Api()
    return _said(lambda: asyncio.run(try_credentials(api)))


def users(listed: Mapping[str, str], **files: str) -> str:
    return store_rights.kept(
        "redis:6379", listed, files.get("aclfile", ""), files.get("config_file", "")
    ).detail


@dataclass(frozen=True)
class Mistake:
    what: str
    """For the page."""
    said: str
    """Within what is said."""
    tried: Callable[[Place], str]


def _fake(reply: str, scheme: str = "redis", path: str = "") -> Callable[[Place], str]:
    answer = f"-{reply}\r\n".encode()
    return lambda p: p.redis(f"{scheme}://127.0.0.1:{p.answering(answer)}{path}")


def _valkey(scheme: str = "redis", login: str = "", path: str = "") -> Callable[[Place], str]:
    return lambda p: p.redis(f"{scheme}://{login}127.0.0.1:{p.valkey.port}{path}")


def _config(**changes: Any) -> Callable[[Place], str]:
    return lambda p: p.show(changes)


def _environment(name: str, value: str) -> Callable[[Place], str]:
    return lambda p: p.show({}, {name: value})


def _command(*arguments: str, **environment: str) -> Callable[[Place], str]:
    def tried(place: Place) -> str:
        place.write({})
        return place.command(*arguments, environment=environment)

    return tried


def _secret_file(content: bytes) -> Callable[[Place], str]:
    def tried(place: Place) -> str:
        (place.folder / "secret").write_bytes(content)
        return place.show({"redis": {"url": "file:secret"}})

    return tried


MISTAKES: dict[str, tuple[Mistake, ...]] = {
    "The configuration file": (
        Mistake(
            "there is no such file",
            "nowhere.yaml: cannot be read: No such file or directory",
            _command("config", "show", "-c", "nowhere.yaml"),
        ),
        Mistake(
            "the file is empty",
            "gateway.yaml: must hold a mapping of keys to values",
            lambda p: p.show(""),
        ),
        Mistake(
            "saved as UTF-16",
            "gateway.yaml: cannot be read: not UTF-8",
            lambda p: p.show("ingress: {}".encode("utf-16")),
        ),
        Mistake(
            "a tab at the beginning of a line",
            "gateway.yaml, line 2, column 1: not valid YAML: found character that cannot start any "
            "token",
            lambda p: p.show("ingress:\n\tkeys: []\n"),
        ),
        Mistake(
            "a key written twice",
            "gateway.yaml, line 2, column 1: not valid YAML: key 'ingress' is written twice",
            lambda p: p.show("ingress: {}\ningress: {}\n"),
        ),
        Mistake(
            "brackets that nobody closed, thousands of them",
            "gateway.yaml: not valid YAML: nested too deeply",
            lambda p: p.show("a: " + "[" * 50_000),
        ),
        Mistake(
            "a key that does not exist",
            "gateway.yaml: redis.uri: unknown key (allowed: ca_file, min_replicas, url)",
            _config(redis={"uri": SECRET}),
        ),
        Mistake(
            "a key of an earlier version",
            "gateway.yaml: session.idle: unknown key: renamed to session.idle_timeout",
            _config(session={"idle": "30m"}),
        ),
        Mistake(
            "a value where a section should be",
            "gateway.yaml: redis: keys with values",
            _config(redis=f"redis://:{SECRET}@10.0.0.1"),
        ),
        Mistake(
            "a duration without a unit",
            "gateway.yaml: session.idle_timeout (is '30'): a duration such as 30s, 15m or 12h",
            _config(session={"idle_timeout": 30}),
        ),
        Mistake(
            "a network with host bits",
            "gateway.yaml: ingress.trusted_proxies.0 (is '10.0.0.1/8'): a network such as "
            "10.0.0.0/8 (host bits zero)",
            _config(ingress={"trusted_proxies": ["10.0.0.1/8"]}),
        ),
        Mistake(
            "neither ingress keys nor trusted proxies",
            "ingress: keys or trusted_proxies must be set",
            _config(ingress={}),
        ),
        Mistake(
            "a short ingress key",
            "gateway.yaml: ingress.keys: keys of at least 16 characters (try: openssl rand -hex "
            "32)",
            _config(ingress={"keys": [SECRET]}),
        ),
        Mistake(
            "a URL where a host name is wanted",
            "gateway.yaml: login_host (is 'https://login.example.com'): a host name such as "
            "app.example.com, without scheme or port",
            _config(login_host="https://login.example.com"),
        ),
        Mistake(
            "an address to listen on without a host",
            "gateway.yaml: listen.check (is '8081'): host:port or unix:PATH",
            _config(listen={"check": 8081}),
        ),
        Mistake(
            "one address for two listeners",
            "gateway.yaml: listen: check and public are both 10.0.0.1:8080: each needs its own",
            _config(listen={"check": "10.0.0.1:8080", "public": "10.0.0.1:8080"}),
        ),
        Mistake(
            "no AWS region",
            "gateway.yaml: cognito.region (is 'Stockholm'): such as eu-north-1;",
            _config(cognito={**SMALLEST["cognito"], "region": "Stockholm"}),
        ),
        Mistake(
            "a pool of another region",
            "cognito.user_pool_id: the pool is of region us-east-1, and cognito.region is "
            "eu-north-1",
            _config(cognito={**SMALLEST["cognito"], "user_pool_id": "us-east-1_AbCdEfGhI"}),
        ),
        Mistake(
            "`http` in production",
            "public_scheme: http needs development: true",
            _config(public_scheme="http"),
        ),
        Mistake(
            "a header that the proxy needs itself",
            "headers: 'Cookie': letters, digits and single dashes, and not a header of HTTP itself",
            _config(headers={"Cookie": "sub"}),
        ),
        Mistake(
            "a header from an unknown source",
            "headers: X-User: 'mail': one of assertion, email, groups",
            _config(headers={"X-User": "mail"}),
        ),
        Mistake(
            "an external store and no key ring",
            "key_ring.file is required, and shared by all replicas, unless both stores are "
            "embedded",
            _config(redis={"url": "redis://10.0.0.1"}),
        ),
    ),
    "Environment": (
        Mistake(
            "one underscore too few",
            "environment: GATEWAY_REDIS_URL: unknown key (did you mean GATEWAY_REDIS__URL?)",
            _environment("GATEWAY_REDIS_URL", f"redis://:{SECRET}@10.0.0.1"),
        ),
        Mistake(
            "a part too many",
            "environment: GATEWAY_REDIS__URL__FILE: unknown key",
            _environment("GATEWAY_REDIS__URL__FILE", SECRET),
        ),
        Mistake(
            "lower case",
            "environment: gateway_redis__url: unknown key (did you mean GATEWAY_REDIS__URL? names "
            "are in capitals)",
            _environment("gateway_redis__url", f"redis://:{SECRET}@10.0.0.1"),
        ),
        Mistake(
            "an option of the command line, misspelled",
            "environment: GATEWAY_CONFIGS: unknown key (did you mean GATEWAY_CONFIG?)",
            _environment("GATEWAY_CONFIGS", "x"),
        ),
        Mistake(
            "a list that is cut off",
            "environment: GATEWAY_INGRESS__TRUSTED_PROXIES: not valid JSON (a list may also be "
            "written with commas)",
            _environment("GATEWAY_INGRESS__TRUSTED_PROXIES", '["10.0.0.0/8"'),
        ),
        Mistake(
            "a section as text",
            "environment: GATEWAY_REDIS: not valid JSON",
            _environment("GATEWAY_REDIS", SECRET),
        ),
        Mistake(
            "a value that does not fit",
            "environment: GATEWAY_SESSION__IDLE_TIMEOUT (is 'soon'): a duration such as 30s",
            _environment("GATEWAY_SESSION__IDLE_TIMEOUT", "soon"),
        ),
    ),
    "Secrets": (
        Mistake(
            "a variable that is not set",
            "gateway.yaml: redis.url: the environment variable REDIS_URL is not set",
            _config(redis={"url": "env:REDIS_URL"}),
        ),
        Mistake(
            "a file that is not there",
            "gateway.yaml: redis.url: the file /run/secrets/redis cannot be read (No such file or "
            "directory)",
            _config(redis={"url": "file:/run/secrets/redis"}),
        ),
        Mistake("an empty file", "redis.url: the file secret is empty", _secret_file(b"\n")),
        Mistake(
            "two lines in one file",
            "redis.url: the file secret holds a line feed (U+000A) at position 11: no control "
            "characters",
            _secret_file(f"redis://hé\nredis://{SECRET}\n".encode()),
        ),
        Mistake(
            "a binary file",
            "redis.url: the file secret is not UTF-8 text",
            _secret_file(b"\xff\xfe"),
        ),
        Mistake(
            "the output of `config show`",
            "redis.url: *** is how a secret is shown, not one",
            _config(redis={"url": "***"}),
        ),
    ),
    "Key ring": (
        Mistake(
            "readable by others",
            "keys.json: others can read the key ring (chmod 600)",
            lambda p: p.ring("{}", 0o644),
        ),
        Mistake(
            "something else in the file",
            "keys.json: not a key ring (make one with: gateway keys rotate --create)",
            lambda p: p.ring(f'{{"sealing": "{SECRET}"}}'),
        ),
        Mistake(
            "the file is away",
            "keys.json: the key ring is missing (key_ring.file); all replicas share one",
            lambda p: p.check(
                {"key_ring": {"file": "keys.json"}, "redis": {"url": "redis://127.0.0.1:1"}}
            ),
        ),
        Mistake(
            "its folder cannot be written",
            "/proc/keys.json: the key ring cannot be written: No such file or directory "
            "(key_ring.file)",
            lambda p: p.made_anew({"key_ring": {"file": "/proc/keys.json"}}),
        ),
        Mistake(
            "made anew while the stores cannot be asked",
            "the key ring is missing, and none was made, because something may have been written "
            "with it",
            lambda p: p.made_anew(
                {"key_ring": {"file": "keys.json"}, "redis": {"url": "redis://127.0.0.1:1"}}
            ),
        ),
    ),
    "Redis": (
        Mistake(
            "wrong port, or not running",
            "Redis: EXISTS: 127.0.0.1:1: connection refused: nothing listens there; is it running, "
            "and the port right?",
            lambda p: p.redis("redis://127.0.0.1:1"),
        ),
        Mistake(
            "a misspelled host",
            "redis.invalid:6379: the name does not resolve",
            lambda p: p.redis("redis://redis.invalid"),
        ),
        Mistake(
            "`redis://` to a TLS port",
            "is it a TLS port? Then use rediss://",
            lambda p: p.redis(f"redis://127.0.0.1:{p.answering(b'', tls=True)}"),
        ),
        Mistake(
            "`rediss://` to a port without TLS",
            "the server does not speak TLS at this port: use redis:// (redis.url says rediss://)",
            _fake("ERR no TLS", "rediss"),
        ),
        Mistake(
            "a certificate of your own authority",
            "its certificate is signed by an authority that is not trusted here: set redis.ca_file "
            "to that authority's certificate",
            lambda p: p.redis(f"rediss://127.0.0.1:{p.answering(b'', tls=True)}"),
        ),
        Mistake(
            "a certificate for another name",
            "its certificate is for another name: use the name that is in the certificate",
            lambda p: p.redis(
                f"rediss://localhost:{p.answering(b'', tls=True)}", ca_file=p.certificate[0]
            ),
        ),
        Mistake(
            "`ca_file` is not PEM",
            "redis.ca_file: /etc/gateway/gateway.yaml: holds no certificate (PEM)",
            lambda p: p.redis("rediss://127.0.0.1", ca_file=p.write({})),
        ),
        Mistake(
            "a wrong password",
            "the user or its password is wrong; in redis.url, other characters than letters, "
            "digits and -._~ in the password must be percent-encoded",
            _valkey(login=f"nobody:{SECRET}@"),
        ),
        Mistake(
            "a password that is not percent-encoded",
            "other characters than letters, digits and -._~ in the password must be "
            "percent-encoded",
            lambda p: p.redis(f"redis://:ab[{SECRET}]cd@10.0.0.1"),
        ),
        Mistake(
            "a password with `/`, in a URL of sentinels",
            "redis.url: redis[s]://[user:password@]host[:port][/db], unix:///path",
            lambda p: p.redis(f"redis+sentinel://gw:1/{SECRET}@10.0.0.1/gateway"),
        ),
        Mistake(
            "no password",
            "the server wants a password, and redis.url names none",
            _fake("NOAUTH Authentication required."),
        ),
        Mistake(
            "the user may not use these keys",
            "the user in redis.url may not use these keys (see ACL SETUSER; all names of the "
            "gateway begin with gw:)",
            _valkey(login=f"narrow:{SECRET}@"),
        ),
        Mistake(
            "the user may not use these commands",
            "the user in redis.url may not run EXISTS (see ACL SETUSER)",
            _valkey(login=f"poor:{SECRET}@"),
        ),
        Mistake(
            "a Cluster behind `redis://`",
            "the server is a node of a Cluster: use redis+cluster:// in redis.url",
            _fake("MOVED 1 10.0.0.1:6379"),
        ),
        Mistake(
            "`redis+cluster://` to a single server",
            "the server is not a node of a Cluster: use redis:// in redis.url",
            _valkey("redis+cluster"),
        ),
        Mistake(
            "`redis+sentinel://` to a server",
            "the server does not know that command: is it a sentinel, or older than 7?",
            _valkey("redis+sentinel", path="/gateway"),
        ),
        Mistake(
            "a replica instead of the primary",
            "the server is a replica: redis.url must lead to the primary",
            _fake("READONLY You can't write against a read only replica."),
        ),
        Mistake(
            "a database that the server does not have",
            "the server has no database of that number (redis.url)",
            _valkey(path="/99"),
        ),
        Mistake(
            "protected mode",
            "the server is in protected mode: set a password, or bind it",
            _fake("DENIED Redis is running in protected mode"),
        ),
        Mistake(
            "no connection left",
            "the server has no connection left (maxclients)",
            _fake("ERR max number of clients reached"),
        ),
        Mistake(
            "a web server at that port",
            "what listens there is not Redis",
            lambda p: p.redis(f"redis://127.0.0.1:{p.answering(A_WEB_SERVER)}"),
        ),
        Mistake(
            "a socket that is not there",
            "/run/valkey.sock: there is no such socket; is the server running?",
            lambda p: p.redis("unix:///run/valkey.sock"),
        ),
        Mistake(
            "`ACL SETUSER` without a file",
            "are in no file, and gone at the next restart unless the server's command line names "
            "them: set aclfile, then ACL SAVE",
            lambda _: users({"default": "", "gateway": ""}),
        ),
        Mistake(
            "`user default off` with an append-only file, before Redis 8.6 or Valkey 9.1.2",
            "after a restart every write of a script is lost, and so every session. Set: user "
            "default off ~* &* +@all",
            lambda _: (
                store_rights.replayed(
                    "redis:6379", {"redis_version": "7.0.15", "aof_enabled": 1}, ["SET"]
                ).detail
            ),
        ),
        Mistake(
            "an old release",
            "redis 6.2.1; Redis 7, Valkey 7.2 or newer is needed",
            lambda _: store_rights.release("redis:6379", {"redis_version": "6.2.1"}).detail,
        ),
        Mistake(
            "clocks apart",
            "this machine's clock is 30.0 s behind redis:6379; at most 5 s: run NTP",
            lambda _: store_rights.clock_requirement("redis:6379", -30.0).detail,
        ),
    ),
    "PostgreSQL": (
        Mistake(
            "wrong port, or not running",
            "SQL does not answer (127.0.0.1:1: connection refused: nothing listens there; is it "
            "running, and the port right?)",
            lambda p: p.sql(f"postgresql+asyncpg://u:{SECRET}@127.0.0.1:1/x"),
        ),
        Mistake(
            "a misspelled host",
            "postgres.invalid:5432: the name does not resolve",
            lambda p: p.sql(f"postgresql+asyncpg://u:{SECRET}@postgres.invalid/x"),
        ),
        Mistake(
            "no such database",
            "the server has no database of that name",
            lambda p: p.at_postgres("nowhere"),
        ),
        Mistake(
            "a user that the server does not admit",
            "the server does not admit this user from here (pg_hba.conf), or wants TLS: add "
            "?ssl=require to database.url",
            lambda p: p.at_postgres("postgres", f"nobody:{SECRET}"),
        ),
        Mistake(
            "`?sslmode=require`",
            "database.url: the option sslmode is called ssl here (one of disable, allow, prefer, "
            "require, verify-ca, verify-full)",
            lambda p: p.at_postgres("postgres?sslmode=require"),
        ),
        Mistake(
            "TLS where the server has none",
            "the server has no TLS (then remove ssl= from database.url, or switch TLS on there), "
            "or is not PostgreSQL",
            lambda p: p.at_postgres("postgres?ssl=require"),
        ),
        Mistake(
            "`ssl=verify-full` without the authority",
            "ssl=verify-ca and ssl=verify-full need the authority's certificate: set "
            "database.ca_file",
            lambda p: p.at_postgres("postgres?ssl=verify-full"),
        ),
        Mistake(
            "`ca_file` with a mode that verifies nothing",
            "database.ca_file: the certificate would not be verified with ssl=require in "
            "database.url: leave ssl out, or write one of verify-full, verify-ca",
            lambda p: p.at_postgres("postgres?ssl=require", ca_file=p.certificate[0]),
        ),
        Mistake(
            "`ca_file` that is not PEM",
            "database.ca_file: /etc/gateway/gateway.yaml: holds no certificate (PEM)",
            lambda p: p.at_postgres("postgres", ca_file=p.write({})),
        ),
        Mistake(
            "an unknown option",
            "database.url: has an option that is not known (known: host, port, ssl, "
            "target_session_attrs)",
            lambda p: p.at_postgres(f"postgres?pw={SECRET}"),
        ),
        Mistake(
            "a password with `@`, `/` or `?`",
            "database.url: not a URL (sqlite+aiosqlite:///PATH or "
            "postgresql+asyncpg://USER:PASSWORD@HOST[:PORT]/DATABASE; other characters than "
            "letters, digits and -._~ in the password must be percent-encoded)",
            lambda p: p.sql(f"postgresql+asyncpg://u:p@{SECRET}?x@127.0.0.1/x"),
        ),
        Mistake(
            "a port that is none",
            "database.url: the port is between 1 and 65535",
            lambda p: p.sql("postgresql+asyncpg://u@127.0.0.1:99999/x"),
        ),
        Mistake(
            "another driver",
            "database.url: embedded, sqlite+aiosqlite:///PATH or postgresql+asyncpg://…",
            _config(database={"url": f"postgres://u:{SECRET}@127.0.0.1/x"}),
        ),
        Mistake(
            "a SQLite file that is none",
            "SQL does not answer (gateway.yaml: SQLite: file is not a database)",
            lambda p: p.sql("sqlite+aiosqlite:///gateway.yaml"),
        ),
        Mistake(
            "a SQLite file in a folder that is not there",
            "SQLite: unable to open database file",
            lambda p: p.sql("sqlite+aiosqlite:////proc/nowhere/x.sqlite3"),
        ),
    ),
    "AWS and Cognito": (
        Mistake(
            "Cognito cannot be reached",
            "FAIL cognito: Cognito discovery cannot be reached: 127.0.0.1:1: connection refused",
            lambda p: p.check({}),
        ),
        Mistake(
            "permissions are missing",
            "the credentials may not call cognito-idp:ListUsers, cognito-idp:AdminGetUser on this "
            "pool: attach deploy/aws/admin-role-policy.json to them",
            lambda _: denied("ListUsers", "AdminGetUser"),
        ),
        Mistake(
            "no such pool in the region of this account",
            "this account has no such user pool in cognito.region",
            lambda _: denied(),
        ),
        Mistake(
            "an access key that AWS does not know",
            "AWS does not know the access key: it is mistyped, deactivated, of another partition, "
            "or its session token is missing (AWS_SESSION_TOKEN)",
            lambda _: rejected("UnrecognizedClientException", SECRET),
        ),
        Mistake(
            "a secret access key of another access key",
            "the secret access key does not belong to the access key ID",
            lambda _: rejected("InvalidSignatureException", SECRET),
        ),
        Mistake(
            "an expired session token",
            "the session token has expired: renew the credentials",
            lambda _: rejected("ExpiredTokenException", SECRET),
        ),
        Mistake(
            "no credentials: a call that is not signed",
            "the call was not signed: no credentials are configured for this process",
            lambda _: rejected("MissingAuthenticationTokenException", SECRET),
        ),
        Mistake(
            "the machine's clock is minutes off",
            "AWS refuses the signature's time: this machine's clock is wrong (run NTP)",
            lambda _: rejected("InvalidSignatureException", "Signature expired: 2026 is now …"),
        ),
        Mistake(
            "the machine's clock is seconds off",
            "this machine's clock is 60 s ahead of Cognito's; at most 5 s: run NTP",
            lambda _: (
                clock_state(
                    "Mon, 30 Nov 2026 00:00:00 GMT", asked_at=0, answered_at=0, wall=1795996860.5
                ).detail
            ),
        ),
        Mistake(
            "AWS throttles", "AWS throttles the calls now", lambda _: rejected("Throttling", "")
        ),
    ),
    "Tenant files": (
        Mistake(
            "no such folder",
            "tenants.directory: nowhere: cannot be read: No such file or directory",
            lambda p: p.check({"tenants": {"directory": "nowhere"}}),
        ),
        Mistake(
            "an unknown key",
            "tenants/acme.yaml: hostnames: unknown key (allowed: active, allowed_groups",
            lambda p: p.tenant_with(hostnames=["x"]),
        ),
        Mistake(
            "keys are missing",
            "tenants/acme.yaml: providers: is needed",
            lambda p: p.tenant("id: acme\n"),
        ),
        Mistake(
            "an ID with capitals",
            "tenants/acme.yaml: id (is 'Acme'): a text of the form",
            lambda p: p.tenant_with(id="Acme"),
        ),
        Mistake(
            "a rule that allows something unknown",
            "tenants/acme.yaml: rules.0.allow (is 'everybody')",
            lambda p: p.tenant_with(rules=[{"paths": ["/x"], "allow": "everybody"}]),
        ),
        Mistake(
            "a rule of an earlier version",
            "renamed to public",
            lambda p: p.tenant_with(rules=[{"paths": ["/x"], "allow": "everyone"}]),
        ),
        Mistake(
            "a client secret that is away",
            "client_secret: the environment variable ACME_SECRET is not set",
            lambda p: p.tenant_with(client_secret="env:ACME_SECRET"),
        ),
    ),
    "Files, addresses and permissions": (
        Mistake(
            "an address of another machine",
            "listen.check: cannot listen on 203.0.113.9:8081: this machine has no such address",
            lambda p: p.listening("203.0.113.9:8081"),
        ),
        Mistake(
            "a port in use",
            "another process, or another of the listeners, has that port",
            lambda p: p.listening(f"127.0.0.1:{p.valkey.port}"),
        ),
        Mistake(
            "a socket in a folder that is not there",
            "listen.check: cannot listen on unix:/proc/nowhere/check.sock: there is no such folder",
            lambda p: p.listening("unix:/proc/nowhere/check.sock"),
        ),
        Mistake(
            "a file of yours where a socket should be",
            "listen.check: /etc/gateway/gateway.yaml is there, and is no socket: it is left as it "
            "is",
            lambda p: p.listening(f"unix:{p.write({})}"),
        ),
        Mistake(
            "`state_dir` is a file",
            "FAIL state_dir: state_dir: /etc/gateway/gateway.yaml: is no folder",
            lambda p: p.check({"state_dir": "gateway.yaml"}),
        ),
        Mistake(
            "a backup into a folder that is not there",
            "/proc/nowhere/backup.partial: cannot be written: No such file or directory",
            _command("database", "backup", "-c", "gateway.yaml", "-o", "/proc/nowhere/backup"),
        ),
        Mistake(
            "a backup that is none",
            "gateway.yaml: is cut off or damaged, or no backup",
            _command("database", "restore", "-c", "gateway.yaml", "gateway.yaml"),
        ),
    ),
    "Reverse proxy": (
        Mistake(
            "nginx without an ingress key",
            "ingress.keys: nginx proves with a key that it is the ingress; set one",
            lambda p: p.render("nginx", ingress=SMALLEST["ingress"]),
        ),
        Mistake(
            "an unknown proxy",
            "'apache' is not one of 'nginx', 'traefik', 'caddy'",
            lambda p: p.render("apache"),
        ),
        Mistake(
            "an address of the check listener that is none",
            "check: 'nowhere': host:port, or unix:/path of plain characters",
            lambda p: p.render("nginx", "--check", "nowhere"),
        ),
        Mistake(
            "output into a folder that is not there",
            "/proc/nowhere: No such file or directory",
            lambda p: p.render("nginx", "-o", "/proc/nowhere/nginx.conf"),
        ),
    ),
    "Commands": (
        Mistake("a misspelled command", "No such command 'tenant'", _command("tenant")),
        Mistake(
            "a misspelled option",
            "No such option '--rolle'. Did you mean '--role'?",
            _command("serve", "--rolle", "auth"),
        ),
        Mistake(
            "an unknown role",
            "Invalid value for '--role': 'web' is not one of 'all', 'auth', 'admin'.",
            _command("config", "check", "--role", "web"),
        ),
        Mistake(
            "no gateway runs on this machine",
            "no gateway with the admin role answers at state/admin.sock: there is no such socket. "
            "Nothing was done.",
            _command("tenants", "list", "-c", "gateway.yaml"),
        ),
        Mistake(
            "`--server` without https",
            "the key would cross the network readable for everybody on its way",
            _command("--server", "http://10.0.0.1", "tenants", "list"),
        ),
        Mistake(
            "`--server` that is no URL",
            "--server: https://HOST[:PORT], without anything that belongs to a request",
            _command("--server", "https://[::1", "tenants", "list"),
        ),
        Mistake(
            "a key on the command line",
            "a key on the command line is seen by everybody on the machine. Revoke the one that "
            "you wrote there",
            _command("--server", "https://127.0.0.1:1", "--key", SECRET, "tenants", "list"),
        ),
        Mistake(
            "`--ca` is not PEM",
            "--ca: gateway.yaml: cannot be read as certificates (not PEM)",
            _command(
                *("--server", "https://127.0.0.1:1", "--ca", "gateway.yaml", "tenants", "list"),
                GATEWAY_ADMIN_KEY=f"gwa_{'a' * 43}",
            ),
        ),
        Mistake(
            "an argument in another encoding",
            "gateway: an argument is not UTF-8 text",
            _command("admin-keys", "revoke", "-c", "gateway.yaml", "caf\udce9"),
        ),
        Mistake(
            "a health check of nothing",
            "http://127.0.0.1:1 does not answer: connection refused",
            _command("health", "http://127.0.0.1:1"),
        ),
        Mistake(
            "a health check of no address",
            "http://[::1 is no address (http://HOST:PORT or unix:PATH)",
            _command("health", "http://[::1"),
        ),
        Mistake(
            "a patience that is no duration",
            "Invalid value for --wait: a duration such as 30s, 15m or 12h",
            _command("keys", "rotate", "-c", "gateway.yaml", "--wait", "soon"),
        ),
    ),
}


def rows() -> Iterator[Mistake]:
    for of_one_kind in MISTAKES.values():
        yield from of_one_kind
