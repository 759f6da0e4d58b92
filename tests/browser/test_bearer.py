"""Bearer tokens through real proxies. (TOK-14: an id of the attack corpus for forward-auth
gateways)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ingress.wire import request, send
from tests.support.tokens import machine_token

if TYPE_CHECKING:
    from tests.support.world import RunningWorld

TWO_LINES = {
    "the same twice": ("Bearer {}", "Bearer {}"),
    "a good one first": ("Bearer {}", "Bearer nonsense"),
    "a good one last": ("Bearer nonsense", "Bearer {}"),
    "two schemes": ("Basic YTpi", "Bearer {}"),
    "an empty one": ("", "Bearer {}"),
}


@pytest.mark.parametrize("lines", TWO_LINES.values(), ids=TWO_LINES)
def test_tok_14_two_authorization_lines_are_no_credential(
    fronted: RunningWorld, lines: tuple[str, ...]
) -> None:
    token = machine_token(fronted)
    port = fronted.world.port
    host = f"acme.localhost:{port}"
    good = send(port, request(f"Authorization: Bearer {token}", target="/api/x", host=host))
    assert good.status == 200
    answer = send(
        port,
        request(
            *(f"Authorization: {line.replace('{}', token)}" for line in lines),
            target="/api/x",
            host=host,
        ),
    )
    assert answer.status in (400, 401)
    assert answer.header("Location") is None
