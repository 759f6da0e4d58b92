"""Link records: what a person's last login leaves in the tenant's slot, so that blocks and
watermarks reach their bearer tokens too.

Rules:
- A record is written by ``finish``, in the step that makes the session. It holds the names (HMACs)
  under which something may stand against this person, and, sealed, who it is. E-mail domain and
  provider are what the tenant's present policy is asked about.
- A name that somebody else has signed in with since is that person's: then an application hears
  nothing of the names in the record.
- No record, no entry. A mark at or after the token's ``auth_time`` (Cognito's clock, whole seconds:
  with five seconds of margin) refuses it; ``iat`` means nothing, since refreshing renews it.
- Record and tokens count for as long as a mark is kept, never longer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gateway.sessions import codec, seal
from gateway.sessions.api import BearerLink
from gateway.sessions.connection import Script
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.watermarks import WATERMARK_LIFE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.model import Identity
    from gateway.keys.ring import Key
    from gateway.sessions.aliases import AliasIndex
    from gateway.sessions.codec import Display

BEARER_LINK = Script.load("bearer_link")
MARGIN_S: Final = 5
"""How far Cognito's clock may be ahead of the store's. Too small, and a token of just before a
revocation passes.
"""
LIFE_S: Final = WATERMARK_LIFE_S - 3600
"""Longest time since a person authenticated that a token of theirs may have. A mark outlives it by
an hour.
"""


def write_args(
    aliases: AliasIndex, identity: Identity, *, key: Key, entropy: Callable[[int], bytes]
) -> tuple[str, bytes]:
    """For ``finish_login.lua``: the names, and the sealed record."""
    ciphertext = seal.seal_under(
        key,
        "link",
        f"{aliases.tenant} {aliases.user(identity)}",
        codec.dump_link(identity),
        entropy=entropy,
    )
    return " ".join(aliases.standing(identity)), ciphertext


def last_login_args(
    aliases: AliasIndex,
    identity: Identity,
    display: Display,
    *,
    key: Key,
    entropy: Callable[[int], bytes],
) -> tuple[str, bytes]:
    """For ``finish_login.lua``, too: the names that lead to this login when no
    session is left of it, and as whom it was, sealed.

    Under every key of the ring: one under an older key would go on to name whoever had it before.
    """
    identifiers = [
        ("idp_subject", identity.idp_subject),
        ("oid", identity.oid),
        ("email", identity.email),
    ]
    ciphertext = seal.seal_under(
        key,
        "last",
        f"{aliases.tenant} {aliases.user(identity)}",
        # Kept for a month after the session: without where it came from.
        codec.dump_display(replace(display, client="", place="")),
        entropy=entropy,
    )
    names = (alias for kind, value in identifiers if value for alias in aliases.named(kind, value))
    return " ".join(names), ciphertext


def parse_last_login(
    raw: bytes | None, *, tenant: str, user: str, keys: tuple[Key, ...]
) -> Display | None:
    """``user``: the alias."""
    plain = None if raw is None else seal.unseal_under(keys, "last", f"{tenant} {user}", raw)
    return None if plain is None else codec.load_display(plain)


def read_args(
    aliases: AliasIndex, *, user: str, auth_time: int
) -> tuple[list[str], list[str | bytes | int]]:
    """Keys and arguments of ``bearer_link.lua``."""
    at = prefix(bucket_of(aliases.tenant))
    return [f"{at}k:{alias}" for alias in aliases.named("user", user)], [
        at,
        auth_time,
        MARGIN_S,
        LIFE_S,
    ]


def parse(
    answer: list[Any], aliases: AliasIndex, *, user: str, keys: tuple[Key, ...]
) -> BearerLink | None:
    """What ``bearer_link.lua`` found, if it was sealed by us for this person of this tenant."""
    if len(answer) < 4:
        return None
    alias = aliases.named("user", user)[int(answer[1]) - 1]
    raw = seal.unseal_under(keys, "link", f"{aliases.tenant} {alias}", answer[2])
    link = None if raw is None else codec.load_link(raw)
    if link is None or int(answer[3]) == 0:
        return link
    return BearerLink(
        replace(link.identity, email="", preferred_username="", name="", idp_subject="", oid="")
    )
