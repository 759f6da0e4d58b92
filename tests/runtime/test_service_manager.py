"""What a service manager hears, and who speaks."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from gateway.runtime.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def listening(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, Callable[[], str]]]:
    """NOTIFY_SOCKET, and what arrives there; empty where nothing did."""
    abstract = request.param == "abstract"
    name = f"@gateway-{os.getpid()}-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.bind("\0" + name[1:] if abstract else name)
    end.setblocking(False)

    def heard() -> str:
        try:
            return end.recv(4096).decode()
        except BlockingIOError:
            return ""

    yield name, heard
    end.close()


def test_each_fact_is_one_datagram_and_children_inherit_nothing(
    listening: tuple[str, Callable[[], str]],
) -> None:
    address, heard = listening
    environment = {
        "NOTIFY_SOCKET": address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    manager = ServiceManager.of(environment)
    assert environment == {"PATH": "/bin"}
    manager.ready("Role auth serves 3 tenants")
    assert heard() == "READY=1\nSTATUS=Role auth serves 3 tenants"
    manager.reloading()
    assert heard().startswith("RELOADING=1\nMONOTONIC_USEC=")
    manager.stopping()
    assert heard().startswith("STOPPING=1\n")
    manager.alive()
    manager.alive()
    assert (heard(), heard()) == ("WATCHDOG=1", ""), "when it is due, however often it is called"


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="no service manager"),
        pytest.param({"NOTIFY_SOCKET": "relative"}, id="neither path nor abstract name"),
        pytest.param({"NOTIFY_SOCKET": "/nonexistent/notify"}, id="nobody there"),
        pytest.param(
            {"NOTIFY_SOCKET": "/nonexistent/notify", "WATCHDOG_USEC": "x"}, id="no number"
        ),
    ],
)
async def test_without_a_listener_nothing_happens(environment: dict[str, str]) -> None:
    manager = ServiceManager.of(environment)
    manager.ready("all is well")
    manager.alive()
    await manager.keep_alive()


async def test_a_watchdog_that_is_another_process_is_not_ours(
    listening: tuple[str, Callable[[], str]],
) -> None:
    address, heard = listening
    manager = ServiceManager.of(
        {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    )
    await manager.keep_alive()
    manager.alive()
    assert heard() == ""
