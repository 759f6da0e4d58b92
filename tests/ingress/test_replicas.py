"""Several replicas of the gateway behind one ingress: one after the other is taken down and comes
back, and no request is lost.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.ingress import LAUNCHERS, launch
from demo.processes import free_port
from tests.ingress.conftest import HARDENED, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.ingress.stand import Stand

CLIENTS = 6
PATIENCE_S = 20.0


class Traffic:
    """Requests from several clients at once; counts what was answered, and keeps what was not
    200.
    """

    def __init__(self, proxy: Proxy, target: str) -> None:
        self._proxy, self._target = proxy, target
        self._answered = 0
        self._changed = threading.Condition()
        self._ended = False
        self.lost: list[object] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        clients = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self._ended = True
            for client in clients:
                client.join(PATIENCE_S)

    def _ask(self) -> None:
        while not self._ended:
            try:
                answer = self._proxy.ask(self._proxy.alice, target=self._target)
            except OSError as error:
                self.lost.append(error)
                continue
            if answer.status != 200:
                self.lost.append(answer)
            with self._changed:
                self._answered += 1
                self._changed.notify_all()

    def pass_on(self, count: int) -> None:
        """Wait until so many more were answered."""
        with self._changed:
            wanted = self._answered + count
            assert self._changed.wait_for(lambda: self._answered >= wanted, PATIENCE_S)


@pytest.mark.parametrize("sockets", [False, True], ids=["ports", "sockets"])
@pytest.mark.parametrize("kind", HARDENED)
def test_replicas_restart_one_after_the_other_and_no_request_is_lost(
    kind: str, sockets: bool, stand: Stand, tmp_path: Path
) -> None:
    if LAUNCHERS[kind].binary() is None:
        pytest.skip(f"{kind} is not installed")
    if sockets and kind == "traefik":
        pytest.skip("Traefik reaches no Unix socket")
    checks: list[str | int] = (
        [str(tmp_path / f"c{n}") for n in (1, 2)] if sockets else [free_port(), free_port()]
    )
    publics: list[str | int] = (
        [str(tmp_path / f"p{n}") for n in (1, 2)] if sockets else [free_port(), free_port()]
    )
    site = replace(
        stand.site(free_port()),
        checks=tuple(map(address, checks)),
        publics=tuple(map(address, publics)),
        check_entry_point=f"127.0.0.1:{free_port()}",
    )
    with ExitStack() as stack:
        replicas = []
        for check, public in zip(checks, publics, strict=True):
            replicas.append(replica := ExitStack())
            stack.callback(replica.close)
            replica.enter_context(stand.replica(check))
            replica.enter_context(stand.replica(public, public=True))
        running = launch(kind, site, directory=tmp_path)
        stack.callback(running.stop)
        guarded, pages = (
            Traffic(Proxy(running, stand), target) for target in ("/p", "/_auth/login")
        )
        with guarded.running(), pages.running():
            for traffic in (guarded, pages):
                traffic.pass_on(10)
            for number in (0, 1, 0):
                replicas[number].close()
                for traffic in (guarded, pages):
                    traffic.pass_on(15)
                replicas[number].enter_context(stand.replica(checks[number]))
                replicas[number].enter_context(stand.replica(publics[number], public=True))
                for traffic in (guarded, pages):
                    traffic.pass_on(5)
        assert guarded.lost == []
        assert pages.lost == []


def address(at: str | int) -> str:
    return f"unix:{at}" if isinstance(at, str) else f"127.0.0.1:{at}"
