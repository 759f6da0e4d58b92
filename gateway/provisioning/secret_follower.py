"""Follows the secrets that Secrets Manager keeps and Cognito exchanges by itself.

Rules:
- Each is read every quarter of an hour, and at once when somebody says that Cognito does not take
  what is known, at most every ``AGAIN_S`` seconds.
- A secret that cannot be read keeps no other from being read, and changes nothing: the last one
  that was read stays, with the one before.
- Several admin processes may follow: what two read is written once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError, PeerError, UnavailableError
from gateway.log import fields
from gateway.metrics import CLIENT_SECRET_READS, begin_at_zero

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from gateway.cognito.client_secrets import ReadsClientSecrets
    from gateway.core.model import AppClient, Secret
    from gateway.tenants.snapshot_record import Credentials

EVERY_S: Final = 900.0
RETRY_S: Final = 60.0
"""After a read that failed."""
AGAIN_S: Final = 5.0
LOOK_EVERY_S: Final = 0.5
_AT_ONCE: Final = 4
OUTCOMES: Final = ("same", "exchanged", "refused", "unanswered")
begin_at_zero(CLIENT_SECRET_READS, OUTCOMES)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Followed:
    tenant: str
    client: AppClient
    arn: str


@dataclass(slots=True)
class SecretFollower:
    """``credentials``: of every tenant, another mapping where any has changed. ``pool_ids``: by
    name. ``exchange``: writes what was read, and whether it is another one. ``stale``: client ids
    that were told since it was asked last. ``exchanged``: something was written. ``monotonic``:
    seconds.
    """

    credentials: Callable[[], Mapping[str, Credentials]]
    pool_ids: Mapping[str, str]
    secrets: ReadsClientSecrets
    exchange: Callable[[str, str, str, Secret], Awaitable[bool]]
    stale: Callable[[], Awaitable[Collection[str]]]
    exchanged: Callable[[], None]
    monotonic: Callable[[], float] = time.monotonic
    _from: Mapping[str, Credentials] | None = None
    _followed: Mapping[str, _Followed] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _read_at: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _failing: dict[str, str] = field(default_factory=dict)

    async def follow_forever(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> int:
        """Once; the number of secrets that were read."""
        self._find()
        if not self._followed:
            return 0
        with contextlib.suppress(UnavailableError):  # whoever met one says so again
            self._told |= set(await self.stale()) & self._followed.keys()
        now = self.monotonic()
        due = [
            followed
            for name, followed in self._followed.items()
            if now >= self._due.get(name, 0.0)
            or (name in self._told and now >= self._read_at.get(name, -AGAIN_S) + AGAIN_S)
        ]
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(followed: _Followed) -> None:
            async with limit:
                await self._read(followed)

        await asyncio.gather(*(one(followed) for followed in due))
        return len(due)

    def _find(self) -> None:
        held = self.credentials()
        if held is self._from:
            return
        self._from = held
        self._followed = {
            client.client_id: _Followed(tenant, client, client.rotated.arn)
            for tenant, credentials in held.items()
            for client in credentials.clients
            if client.rotated is not None and client.pool in self.pool_ids
        }
        for known in (self._due, self._read_at, self._failing):
            for name in known.keys() - self._followed.keys():
                known.pop(name)
        self._told &= self._followed.keys()

    async def _read(self, followed: _Followed) -> None:
        client = followed.client
        name = client.client_id
        self._read_at[name] = self.monotonic()
        self._told.discard(name)
        try:
            secret = await self.secrets.read(
                followed.arn, pool_id=self.pool_ids[client.pool], client_id=name
            )
            changed = secret != client.client_secret and await self.exchange(
                followed.tenant, name, followed.arn, secret
            )
        except PeerError as refused:
            self._failed(followed, "refused", refused.code, str(refused))
            return
        except UnavailableError as outage:
            self._failed(followed, "unanswered", "unavailable", str(outage))
            return
        except GatewayError as error:
            # A stored row that does not open, say: of this client alone.
            self._failed(followed, "refused", "not_stored", str(error))
            return
        self._failing.pop(name, None)
        self._due[name] = self.monotonic() + EVERY_S
        CLIENT_SECRET_READS.labels("exchanged" if changed else "same").inc()
        if changed:
            _log.info(
                "client_secret_exchanged", extra=fields(tenant=followed.tenant, client_id=name)
            )
            self.exchanged()

    def _failed(self, followed: _Followed, outcome: str, code: str, cause: str) -> None:
        name = followed.client.client_id
        self._due[name] = self.monotonic() + RETRY_S
        CLIENT_SECRET_READS.labels(outcome).inc()
        if self._failing.get(name) != cause:
            # Once, and again when it is for another reason.
            self._failing[name] = cause
            _log.warning(
                "client_secret_unreadable",
                extra=fields(tenant=followed.tenant, client_id=name, code=code, cause=cause),
            )
