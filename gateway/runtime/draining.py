"""The last answers of a process that ends: whoever is connected by then is answered, and nobody's
connection is reset.

An ingress keeps its connections. One that is closed under a request costs that request its answer,
and fails closed; one whose last answer said ``Connection: close`` is simply not used again.

A new connection stands in the kernel's queue before the process sees it, and closing the socket
resets what stands there. So the queue is closed at its entrance first: a filter on the socket drops
SYN segments (whoever sends one tries again, and finds the next process or is refused, which costs
no request; a Unix socket refuses at once), what is inside is accepted and answered, and only then
the socket may be closed.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
import struct
from typing import TYPE_CHECKING, Final

from gateway.http.listener import BACKLOG
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.http.listener import Listener

_LOG = logging.getLogger(__name__)
QUIET_S: Final = 0.05
"""Nobody asked for so long: the connections that are left are idle ones. Also longer than the
handshake of a connection in the same network.
"""
LOOKS: Final = 20
"""At most one second for each of the two stages: an orchestrator waits no longer than it must."""
_SO_ATTACH_FILTER: Final = 26
_DROP_SYN: Final = (
    (0x30, 0, 0, 13),
    (0x54, 0, 0, 0x12),
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0x7FFFFFFF),
)
"""Classic BPF, code, jumps and operand: of the TCP header's byte 13 the bits SYN and ACK; SYN alone
is dropped, all else is kept whole.
"""


async def drain(
    listeners: Sequence[Listener],
    *,
    owns: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Before the listeners are left. ``owns``: whether their sockets end with this process;
    otherwise other workers accept what comes now.
    """
    for listener in listeners:
        listener.ending = True
    for _ in range(LOOKS):
        before = sum(listener.answered for listener in listeners)
        await sleep(QUIET_S)
        if sum(listener.answered for listener in listeners) == before:
            break
    if owns():
        for listener in listeners:
            if not refuse_new(listener.bound):
                _LOG.warning(
                    "queue_left_open",
                    extra=fields(
                        listener=listener.name,
                        detail=(
                            "the system has no filter for it: who connects just now may be reset"
                        ),
                    ),
                )
        await sleep(QUIET_S)
        for listener in listeners:
            budget = (
                BACKLOG + 1
                # a queue holds no more; one that could not be closed is never empty while somebody
                # connects
            )
            while listener.accepting and budget > 0 and (came := listener.accept()):
                budget -= came
                await sleep(0)
    for listener in listeners:
        listener.stop()
    for _ in range(LOOKS):
        # Who connected just now has sent a request, or is about to.
        if not any(listener.new for listener in listeners):
            break
        await sleep(QUIET_S)


def refuse_new(bound: socket.socket) -> bool:
    """No connection begins any more; those that have begun can still be accepted. False where the
    system cannot do that.
    """
    try:
        if bound.family == socket.AF_UNIX:
            # Of a listening socket: who connects now is refused, who is in the queue stays there.
            bound.shutdown(socket.SHUT_RD)
        else:
            program = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_SYN)
            buffer = ctypes.create_string_buffer(program)
            bound.setsockopt(
                socket.SOL_SOCKET,
                _SO_ATTACH_FILTER,
                struct.pack("HL", len(_DROP_SYN), ctypes.addressof(buffer)),
            )
    except OSError:
        return False
    return True


__all__ = ["LOOKS", "QUIET_S", "drain", "refuse_new"]
