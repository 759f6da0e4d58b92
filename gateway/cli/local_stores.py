"""Redis and SQL of this machine's configuration, for the commands that end sessions without a
running gateway.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.cli.local import configured_database
from gateway.cognito.kms import key_wrapping
from gateway.keys import ring as keys
from gateway.revocation.acknowledgement import Acknowledgements
from gateway.revocation.records import SqlRevocations
from gateway.revocation.restore import Markers
from gateway.revocation.service import StoreRevoker
from gateway.sessions.connection import connect
from gateway.sessions.embedded import EmbeddedValkey
from gateway.sessions.lease_client import steady
from gateway.sessions.watermarks import Watermarks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.sessions.connection import RedisClient


@dataclass(frozen=True, slots=True)
class Stores:
    """Redis and SQL of one configuration, opened and checked."""

    redis: RedisClient
    record: SqlRevocations
    revoker: StoreRevoker


@asynccontextmanager
async def configured_stores(config_path: str) -> AsyncIterator[Stores]:
    """Opened and brought up to the record; closed afterwards."""
    async with AsyncExitStack() as stack:
        config, database = await stack.enter_async_context(configured_database(config_path))
        ring = keys.load(config.key_file, create=False, wrapping=key_wrapping(config))
        socket_path = None
        if config.embedded_redis:
            # Without a gateway in this directory the command is its owner for a moment, so that no
            # other starts one meanwhile.
            embedded = EmbeddedValkey.start(config.state_dir)
            stack.callback(embedded.stop)
            socket_path = embedded.socket_path
        redis = connect(config.redis, socket_path=socket_path)
        stack.push_async_callback(redis.close)
        record = SqlRevocations(database)
        staleness_s, monotonic = config.session.max_revocation_delay.total_seconds(), steady()
        acknowledgements = Acknowledgements(redis, staleness_s=staleness_s, monotonic=monotonic)
        stack.push_async_callback(acknowledgements.close)
        revoker = StoreRevoker(
            Watermarks(redis, lambda: ring),
            record,
            acknowledgements,
            clock=database.clock,
            monotonic=monotonic,
        )
        stack.push_async_callback(revoker.close)
        # Where no gateway runs, nobody else brings the store up to the record. No snapshot is
        # demanded beyond what already was.
        await Markers(
            redis,
            tenants=record.tenants,
            restore=revoker.restore,
            generation=lambda: 0,
            staleness_s=staleness_s,
            monotonic=monotonic,
        ).look()
        yield Stores(redis, record, revoker)
