"""Calls of Cognito that are not answered."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from gateway.cognito.api import UnansweredError, open_cognito
from tests.provisioning.bench import config_for

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_connection_that_fails_is_no_refusal(tmp_path: Path) -> None:
    """One that breaks while Cognito answers has the same name in AWS's library."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    config = config_for(
        tmp_path, endpoint_url=url, domain=url, issuer=url, pool_id="eu-north-1_Demo12345"
    )
    async with open_cognito(config, per_second=1000.0) as api:
        with pytest.raises(UnansweredError, match="did not answer CreateUserPoolClient"):
            await api.call("CreateUserPoolClient", idempotent=False, ClientName="c")
