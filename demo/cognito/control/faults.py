"""What a test can make the control plane do wrong, call by call, before or after the effect.

``plan("CreateUserPoolClient", drop_connection, after=True)`` creates the client and then lets the
caller wait in vain: the case in which a blind retry makes a duplicate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.cognito.control.errors import ApiError, internal, throttled

if TYPE_CHECKING:
    import asyncio

Fault = Callable[[web.Request], Awaitable[None]]
"""Raises ``ApiError``, cuts the connection, or waits."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was answered. ``outcome`` is ``ok``, an error code, or ``lost`` where no
    answer went out.
    """

    operation: str
    request: dict[str, Any] = field(repr=False)
    outcome: str
    at: float


@dataclass(slots=True)
class _Planned:
    operation: str
    fault: Fault
    after: bool
    skip: int
    times: int


class CallFaults:
    """Planned faults and rate limits; nothing by default."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []

    def plan(
        self, operation: str, fault: Fault, *, after: bool = False, skip: int = 0, times: int = 1
    ) -> None:
        """Strike ``times`` calls of the operation (``*``: any) after letting ``skip`` of them
        pass.
        """
        self._planned.append(_Planned(operation, fault, after, skip, times))

    def clear(self) -> None:
        self._planned.clear()

    async def strike(self, operation: str, request: web.Request, *, after: bool) -> None:
        """Run the first planned fault that fits this call at this point."""
        for planned in self._planned:
            if planned.operation not in (operation, "*") or planned.after is not after:
                continue
            if planned.skip:
                planned.skip -= 1
            elif planned.times:
                planned.times -= 1
                await planned.fault(request)
                return


def fail(error: ApiError) -> Fault:
    """Answer with this error."""

    async def fault(_: web.Request) -> None:
        raise error

    return fault


async def throttle(_: web.Request) -> None:
    """``TooManyRequestsException``."""
    raise throttled()


async def internal_error(_: web.Request) -> None:
    """``InternalErrorException``, status 500."""
    raise internal()


async def drop_connection(request: web.Request) -> None:
    """Close the socket without an answer."""
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("planned")


def hang(until: asyncio.Event) -> Fault:
    """Answer only when the event is set: the caller's own timeout strikes first."""

    async def fault(_: web.Request) -> None:
        await until.wait()

    return fault
