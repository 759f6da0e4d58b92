"""What the service manager is told: that the gateway can serve, reads its configuration again,
ends, and still runs. Source: sd_notify(3), systemd.service(5) ``Type=notify``.

Rules:
- One datagram for each fact, to the socket that NOTIFY_SOCKET names; without one, nothing happens.
- Only the process that the manager started speaks: with workers that is the supervisor. What it
  starts finds neither variable.
- A manager that does not take a datagram changes nothing: serving does not depend on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Final

from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_LOG = logging.getLogger(__name__)
ADDRESS, WATCHDOG, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_BEATS: Final = 3
"""Signs of life within the time that the watchdog waits: one may be late."""


class ServiceManager:
    """``address`` is a path, or ``@name`` for an abstract socket; None where nobody listens.
    ``watchdog_s``: after so many seconds of silence the manager ends the process; None: never.
    """

    def __init__(self, address: str | None = None, *, watchdog_s: float | None = None) -> None:
        self._address = address
        self._beat_s = watchdog_s / _BEATS if address and watchdog_s else None
        self._beaten_at = 0.0

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Takes the variables out of ``environment``: a child that spoke for us would confuse the
        manager.
        """
        address = environment.pop(ADDRESS, "")
        microseconds = environment.pop(WATCHDOG, "")
        is_ours = environment.pop(WATCHDOG_PID, str(os.getpid())) == str(os.getpid())
        return cls(
            address if address.startswith(("/", "@")) else None,
            watchdog_s=int(microseconds) / 1e6 if is_ours and microseconds.isdecimal() else None,
        )

    def ready(self, status: str) -> None:
        """Also the end of a reload. ``status``: one line for ``systemctl status``."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=Answers the requests that are here")

    def alive(self) -> None:
        """As often as you like; told when it is due."""
        if self._beat_s is not None and time.monotonic() - self._beaten_at >= self._beat_s:
            self._beaten_at = time.monotonic()
            self._send("WATCHDOG=1")

    async def keep_alive(self) -> None:
        """Until cancelled: a loop that no longer turns sends nothing."""
        while self._beat_s is not None:
            self.alive()
            await asyncio.sleep(self._beat_s)

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        path = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as end:
                end.setblocking(False)
                end.sendto("\n".join(lines).encode(), path)
        except OSError as error:
            _LOG.warning(
                "service_manager_unavailable",
                extra=fields(told=lines[0], error=error.strerror or type(error).__name__),
            )


__all__ = ["ServiceManager"]
