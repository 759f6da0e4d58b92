"""The key with which an ingress proves what it is, exchanged while it serves: whatever order the
steps come in, and with each real proxy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.ingress import LAUNCHERS, launch
from demo.processes import free_port
from gateway.config.model import Ingress
from gateway.core.model import Secret
from tests.ingress.conftest import HARDENED, Proxy
from tests.ingress.stand import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ingress.stand import Stand

OLD, NEW = Secret(KEY), Secret("the-next-key-of-the-tests-0123456789")
OTHER = Secret("a-key-that-nobody-was-told-0123456789")


@pytest.mark.parametrize("kind", HARDENED)
def test_a_key_is_rotated_in_any_order_of_steps_and_no_request_is_refused(
    kind: str, stand: Stand, tmp_path: Path
) -> None:
    if LAUNCHERS[kind].binary() is None:
        pytest.skip(f"{kind} is not installed")
    before = stand.trust
    try:
        for rendered, at_the_gateway in (
            # The ingress first: what it was rendered with holds while the gateway knows only one.
            ((NEW, OLD), ((OLD,), (NEW, OLD), (OLD, NEW), (NEW,))),
            # The gateway first.
            ((OLD,), ((OLD,), (OLD, NEW), (NEW, OLD))),
        ):
            running = launch(
                kind,
                replace(stand.site(free_port()), keys=rendered),
                directory=tmp_path / str(len(rendered)),
            )
            try:
                proxy = Proxy(running, stand)
                for keys in at_the_gateway:
                    stand.trust.replace(Ingress(keys=keys))
                    assert proxy.ask(proxy.alice).status == 200, keys
                    assert proxy.only().values("X-Gateway-Key") == []
                    assert proxy.ask(proxy.alice, target="/_auth/login").status == 200
                    assert proxy.pages[0].values("X-Gateway-Key") == []
                stand.trust.replace(Ingress(keys=(OTHER,)))
                assert not 200 <= proxy.ask(proxy.alice).status < 400
                assert proxy.app == []
            finally:
                running.stop()
    finally:
        stand.trust = before
        stand.trust.replace(stand.config.ingress)
