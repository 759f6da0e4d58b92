"""Loopback plumbing: ``*.localhost`` resolved without the machine's resolver, and servers on
sockets bound in advance.

RFC 6761 §6.3 sends every name under ``localhost`` to loopback, but not every resolver obeys; the
demo's own HTTP clients do.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

if TYPE_CHECKING:
    import ssl


class LocalhostResolver(AbstractResolver):
    """Maps ``localhost`` and every name below it to 127.0.0.1 and leaves other names to the
    system.
    """

    def __init__(self) -> None:
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        name = host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return [
                ResolveResult(
                    hostname=host,
                    host="127.0.0.1",
                    port=port,
                    family=socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
            ]
        return await self._system.resolve(host, port, family)

    async def close(self) -> None:
        await self._system.close()


def client_session(*, timeout_s: float = 10.0) -> ClientSession:
    """An HTTP client for server-to-server calls: no cookies, ``*.localhost`` on loopback."""
    return ClientSession(
        connector=TCPConnector(resolver=LocalhostResolver(), use_dns_cache=False),
        timeout=ClientTimeout(total=timeout_s),
        cookie_jar=DummyCookieJar(),
    )


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening socket whose port is known before the server behind it exists: an issuer contains
    its own port.
    """

    socket: socket.socket
    port: int

    def url(self, host: str = "127.0.0.1") -> str:
        """The origin under which a name of this machine reaches the socket."""
        return f"http://{host}:{self.port}"


def bind(port: int = 0, address: str = "127.0.0.1") -> Bound:
    """Listen on an IPv4 address; port 0 takes a free one."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return Bound(listening, listening.getsockname()[1])


async def bind_origin(origin: str) -> Bound:
    """Listen where the name of an origin leads on this machine (``/etc/hosts``), at its port."""
    url = URL(origin)
    resolver = LocalhostResolver()
    try:
        found = await resolver.resolve(url.host or "", url.port or 0, socket.AF_INET)
    finally:
        await resolver.close()
    return bind(url.port or 0, found[0]["host"])


async def serve(
    app: web.Application, bound: Bound, *, tls: ssl.SSLContext | None = None
) -> web.AppRunner:
    """Start an application on a bound socket; the caller cleans the runner up, which closes the
    socket.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, bound.socket, ssl_context=tls).start()
    return runner
