"""A rotation of one kind of keys, step by step: see ``gateway/keys/file.py``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.cli.local import configured_database
from gateway.cli.local_stores import configured_stores
from gateway.cognito.kms import key_wrapping
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.database.reencrypt import kids_in_use, reencrypt
from gateway.keys import file
from gateway.keys import ring as keys
from gateway.sessions.key_adoption import KeyAdoption, written_with
from gateway.sessions.watermarks import WATERMARK_LIFE_S
from gateway.tenants.snapshot import Sealer, read_manifest, snapshot_key_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.config.model import Config
    from gateway.keys.ring import KeyRing

ASSERTION_LIFE_S = 86400
"""After the last one was signed. An assertion lives for five minutes; a day leaves room for apps
that keep our key set for long.
"""
DATABASE_LIFE_S = 3600
"""A retired database key that no cell needs goes with the first rotation after this: whoever still
wrote with it has read the new ring long since.
"""
_LIFE_S = {"sealing": WATERMARK_LIFE_S, "assertion": ASSERTION_LIFE_S}
_POLL_S = 0.2
_COMPROMISED = "the key ring is compromised"


async def rotate_kind(
    config: Config, config_path: str, kind: str, *, patience_s: float, compromised: bool
) -> dict[str, object]:
    path = config.key_file
    with file.editing(path, key_wrapping(config)) as save:
        ring = keys.load(path, create=False, wrapping=key_wrapping(config))
        is_begun = getattr(ring, kind)[0].compromised
        if compromised and file.has_compromised(ring, kind) and not is_begun:
            # A run before could not end: the first key is the new one.
            return await _dropped(config_path, kind, ring, ring, save, patience_s=patience_s)
        compromised = compromised or is_begun
        ring = file.stage_apart(ring, kind) if compromised else file.stage(ring, kind)
        fresh = file.staged(ring, kind)
        if fresh is None:
            msg = "staging leaves a staged key"
            raise RuntimeError(msg)
        save(ring)
        async with configured_stores(config_path) as stores:
            adoption = KeyAdoption(stores.redis, lambda: ring)
            deadline = time.monotonic() + patience_s
            while True:
                _count, processes = await adoption.lagging(fresh.kid)
                if not processes or time.monotonic() > deadline:
                    break
                await asyncio.sleep(_POLL_S)
            if processes:
                return {
                    "kind": kind,
                    "kid": fresh.kid,
                    "promoted": False,
                    "waiting_for": processes,
                    "dropped": [],
                }
            if kind == "sealing":
                # Under the new key too, before any session is refused or overlaid by it alone.
                for tenant in await stores.record.tenants():
                    await stores.revoker.reapply_standing(tenant)
            snapshot_kid = await snapshot_key_id(stores.redis)
        now = int(time.time())
        promoted = file.promote(ring, kind, now=now, compromised=compromised)
        save(promoted)
        if compromised:
            return await _dropped(config_path, kind, ring, promoted, save, patience_s=patience_s)
        pruned = (
            await _pruned_database(config_path, promoted, now=now)
            if kind == "database"
            else file.prune(promoted, kind, before=now - _LIFE_S[kind], needed={snapshot_kid})
        )
        save(pruned)
        return _result(kind, ring, pruned, now=now)


def _result(
    kind: str,
    before: KeyRing,
    after: KeyRing,
    *,
    now: int,
    waiting_for: Sequence[str] = (),
) -> dict[str, object]:
    first, after_kids = getattr(after, kind)[0], {key.kid for key in getattr(after, kind)}
    return {
        "kind": kind,
        "kid": first.kid,
        "promoted": True,
        "writes_from": getattr(first, "writes_from", 0) or now,
        "waiting_for": list(waiting_for),
        "dropped": [key.kid for key in getattr(before, kind) if key.kid not in after_kids],
    }


async def _dropped(
    config_path: str,
    kind: str,
    before: KeyRing,
    ring: KeyRing,
    save: Callable[[KeyRing], None],
    *,
    patience_s: float,
) -> dict[str, object]:
    """Without the compromised keys, unless somebody still needs them."""
    waiting_for = await _succeeded(config_path, kind, ring, patience_s=patience_s)
    after = ring if waiting_for else file.drop_compromised(ring, kind)
    if not waiting_for:
        save(after)
    return _result(kind, before, after, now=int(time.time()), waiting_for=waiting_for)


async def _succeeded(config_path: str, kind: str, ring: KeyRing, *, patience_s: float) -> list[str]:
    """Who still needs the keys before the first one; nobody does when everybody's sessions have
    ended under that one: what the others wrote of who was signed out goes with them.
    """
    kid = getattr(ring, kind)[0].kid
    async with configured_stores(config_path) as stores:
        adoption = KeyAdoption(stores.redis, lambda: ring)
        deadline = time.monotonic() + patience_s
        while True:
            _count, waiting_for = await adoption.lagging(written_with(kid))
            if kind == "sealing" and await snapshot_key_id(stores.redis) not in {"", kid}:
                waiting_for.append("an admin role that publishes the tenants")
            if not waiting_for or time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL_S)
        if kind == "sealing" and not waiting_for:
            manifest = await read_manifest(stores.redis, Sealer(lambda: ring))
            served = () if manifest is None else manifest.digests
            for tenant in sorted({*served, *await stores.record.tenants()}):
                await stores.revoker.revoke(
                    RevocationRequest(
                        tenant, Who(), RevocationKind.END_SESSIONS, _COMPROMISED, "cli"
                    )
                )
    return waiting_for


async def _pruned_database(config_path: str, ring: KeyRing, *, now: int) -> KeyRing:
    """Every cell under the new key, then the ring without the old keys that no cell needs."""
    async with configured_database(config_path) as (_config, database):
        await reencrypt(database)
        kids = await kids_in_use(database)
    return replace(
        ring,
        database=tuple(
            key
            for key in ring.database
            if key.kid in kids or not 0 < key.retired_at < now - DATABASE_LIFE_S
        ),
    )
