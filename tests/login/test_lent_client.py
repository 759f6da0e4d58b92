"""A test link of a move is made with the other pool's client, or with none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.model import AppClient, Secret
from gateway.core.signed_link import LENT
from gateway.login.connection_test import _with_lent
from gateway.login.request import BrowserError
from tests.core.build import tenant

if TYPE_CHECKING:
    from gateway.core.model import Tenant

NAME = "ab" * 32


async def asked(name: str, client: AppClient | None) -> Tenant:
    async def lent(_name: str) -> AppClient | None:
        return client

    browser: Any = SimpleNamespace(services=SimpleNamespace(trials=SimpleNamespace(lent=lent)))
    return await _with_lent(browser, tenant(), name)


async def test_without_that_client_nothing_is_tested() -> None:
    """The store may have lost it: the tenant's own would be believed to be the other pool's."""
    client = AppClient("other", Secret("s"), pool="second")
    tried = await asked(LENT + NAME, client)
    assert (tried.client_id, tried.pool, tried.retired) == ("other", "second", ())
    with pytest.raises(BrowserError) as refused:
        await asked(LENT + NAME, None)
    assert refused.value.status == 400
    assert await asked(NAME, client) == tenant(), "an ordinary link"
