"""One machine of the deployment, as a process sees it: its clock and its resolver, which the soak
turns while the process runs.

``python -m tests.soak.chaos.host FILE [--address IP] [--mutant NAME] MODULE [ARGUMENTS…]`` runs a
module on the machine that ``FILE`` describes (``Machine``). Only the soak starts processes so:
nothing of it is in the product. ``time.time`` is moved before anything of the gateway is imported;
the monotonic clock runs on, as it does when somebody sets a machine's clock. Names below ``DOMAIN``
lead to this machine, unless DNS is away.
"""

from __future__ import annotations

import mmap
import runpy
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = ".chaos.test"
_FORM = struct.Struct("=d?")


class Machine:
    """What the soak writes and the machine's processes, forked ones too, read at every look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(_FORM.pack(0.0, False))
        self._shift_s, self._no_dns = 0.0, False

    def set_clock(self, shift_s: float) -> None:
        self._shift_s = shift_s
        self._write()

    def set_dns(self, *, away: bool) -> None:
        self._no_dns = away
        self._write()

    def _write(self) -> None:
        with self.path.open("r+b") as file:
            file.write(_FORM.pack(self._shift_s, self._no_dns))


def install(path: str, *, address: str = "127.0.0.1") -> None:
    """From here on this process is on that machine; ``address`` is where the names lead."""
    with open(path, "rb") as file:  # noqa: PTH123 - nothing else is imported before the clock is
        seen = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    real_time, real_resolve = time.time, socket.getaddrinfo

    def shifted() -> float:
        return real_time() + float(_FORM.unpack(seen[:])[0])

    def resolve(host: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if isinstance(name, str) and name.endswith(DOMAIN):
            if _FORM.unpack(seen[:])[1]:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            host = address
        return real_resolve(host, *more, **named)

    time.time = shifted
    socket.getaddrinfo = resolve
    _install_in_uvloop(resolve)


def _install_in_uvloop(resolve: Any) -> None:
    """Its own look-up goes past ``socket``; the gateway's only loop."""
    import uvloop

    native = uvloop.Loop.getaddrinfo

    async def getaddrinfo(loop: Any, host: Any, port: Any, **named: Any) -> Any:
        if isinstance(host, str) and host.endswith(DOMAIN):
            return resolve(host, port, **named)
        return await native(loop, host, port, **named)

    uvloop.Loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign,assignment]  # as it is called here


def acknowledge_without_waiting() -> None:
    """A mutant that has to be found: a revocation is promised while replicas may still allow."""
    from gateway.revocation.acknowledgement import Acknowledgements

    async def at_once(*_: Any, **__: Any) -> None:
        pass

    Acknowledgements.confirm = at_once  # type: ignore[method-assign]  # that is the fault


MUTANTS = {"acknowledge-without-waiting": acknowledge_without_waiting}


def main() -> None:
    path, *arguments = sys.argv[1:]
    address = "127.0.0.1"
    if arguments[0] == "--address":
        address, arguments = arguments[1], arguments[2:]
    install(path, address=address)
    if arguments[0] == "--mutant":
        MUTANTS[arguments[1]]()
        arguments = arguments[2:]
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
