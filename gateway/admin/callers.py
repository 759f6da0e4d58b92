"""Who asks the admin API: whoever holds a bearer key, or a process of the gateway's own machine at
its socket.

Rules of the socket:
- Its file is the gateway's own user's alone (0600), and the kernel says who is at the other end:
  root and the gateway's own user are answered, nobody else.
- It is for commands, never for the web: a request that names another host, that a page sent, or
  that something in between passed on is refused before anything else is looked at.
"""

from __future__ import annotations

import math
import pwd
import socket
import struct
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from gateway.admin.keys import AdminKey, KeyRejection, Scope
from gateway.admin.problem import Code, Problem, problem_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.admin.keys_store import AdminKeys
    from gateway.http.rate_limit import RateLimit

LOCAL_HOST: Final = "admin.sock"
"""What a request over the socket names as its host; no name of the web is spelled so."""
_OF_THE_WEB: Final = ("origin", "referer", "cookie", "authorization", "via", "forwarded")
_OF_THE_WEB_BEGINS: Final = ("sec-", "x-forwarded-", "x-real-", "proxy-")


class Callers(Protocol):
    """Whom a listener of the admin API answers."""

    async def identify(self, request: web.Request) -> AdminKey:
        """Raises ``Problem`` for everybody else."""

    async def still_allowed(self, request: web.Request) -> bool:
        """Asked again and again while an answer goes on."""


class KeyCallers:
    """Bearer keys. ``exposed``: other machines reach the listener, so nothing is served while no
    key exists. ``rate`` is per key, ``failures`` per address.
    """

    def __init__(
        self, keys: AdminKeys, *, exposed: bool, rate: RateLimit, failures: RateLimit
    ) -> None:
        self._keys, self._exposed, self._rate, self._failures = keys, exposed, rate, failures

    async def identify(self, request: web.Request) -> AdminKey:
        if self._exposed and not await self._keys.exist():
            raise Problem(
                Code.NO_ADMIN_KEY,
                "make one on the gateway's own machine: gateway admin-keys create",
            )
        presented = _bearer(request)
        if presented is None:
            raise Problem(
                Code.NO_KEY, "send Authorization: Bearer with a key of gateway admin-keys create"
            )
        key = await self._keys.authenticate(presented)
        if isinstance(key, KeyRejection):
            # Counted after the look-up, never before: a key that is right passes however many wrong
            # ones came from its address.
            if wait := self._failures.wait_s(request.remote or "local"):
                raise Problem(
                    Code.RATE_LIMITED,
                    "too many unknown keys from this address",
                    headers={"Retry-After": str(math.ceil(wait))},
                )
            raise Problem(Code(f"key_{key}"))
        if wait := self._rate.wait_s(key.id):
            raise Problem(Code.RATE_LIMITED, headers={"Retry-After": str(math.ceil(wait))})
        return key

    async def still_allowed(self, request: web.Request) -> bool:
        presented = _bearer(request)
        return presented is not None and isinstance(
            await self._keys.authenticate(presented), AdminKey
        )


def _bearer(request: web.Request) -> str | None:
    values = request.headers.getall("Authorization", [])
    scheme, _, presented = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return presented.strip(" ") if scheme.lower() == "bearer" and presented else None


class LocalCallers:
    """Processes of root and of the user ``uid``, with every scope and without a limit."""

    def __init__(self, *, uid: int, user_of: Callable[[web.Request], int | None]) -> None:
        self._uids, self._user_of = frozenset({0, uid}), user_of

    async def identify(self, request: web.Request) -> AdminKey:
        uid = self._user_of(request)
        if uid is None or uid not in self._uids:
            raise Problem(Code.PEER_REFUSED, "run the command as root or as the gateway's own user")
        if _of_the_web(request):
            raise Problem(Code.FORWARDED, "it is for commands on this machine, without a key")
        name = _user_name(uid)
        return AdminKey(
            f"local:{name}", name, frozenset({Scope.OPERATOR}), None, 0, None, local=True
        )

    async def still_allowed(self, request: web.Request) -> bool:  # noqa: ARG002 - the protocol's
        return True

    @property
    def guard(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """For every path there is, the unknown ones and the description too."""

        @web.middleware
        async def guard(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            try:
                await self.identify(request)
            except Problem as problem:
                return problem_response(problem, request_id="-")
            return await handler(request)

        return guard


def _of_the_web(request: web.Request) -> bool:
    names = {name.lower() for name in request.headers}
    return (
        request.headers.getall("Host", []) != [LOCAL_HOST]
        or not names.isdisjoint(_OF_THE_WEB)
        or any(name.startswith(_OF_THE_WEB_BEGINS) for name in names)
    )


def peer_uid(request: web.Request) -> int | None:
    """Of the process at the other end of a Unix socket, as the kernel noted it at its ``connect``;
    None for any other connection.
    """
    bound = request.transport.get_extra_info("socket") if request.transport is not None else None
    if bound is None or bound.family != socket.AF_UNIX:
        return None
    credentials = struct.Struct("3i")
    _pid, uid, _gid = credentials.unpack(
        bound.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    )
    return int(uid)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
