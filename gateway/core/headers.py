"""Identity → the managed headers.

Rules:
- Every managed header is emitted on every allow, empty where there is nothing to say, so that the ingress overwrites
  what a client sent (invariant 9).
- One injective encoding for all: ``%``, controls, non-ASCII (as UTF-8) and a space at either end become ``%XX``;
  inside list items also ``,``. Decode with any percent-decoder, after splitting lists on ``,``.
- What does not fit is refused whole, never cut.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.model import Identity, Tenant

MAX_HEAD_BYTES = 12 * 1024
"""Names, values and separators of all managed headers. Rendered ingress configurations give the answer's head 16 kB;
a larger one would be a 500 at nginx instead of a reason a person can read."""

_UNSAFE = re.compile(r"[^\x20-\x24\x26-\x7e]|^ | $")
_UNSAFE_ITEM = re.compile(r"[^\x20-\x24\x26-\x2b\x2d-\x7e]|^ | $")


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def encode_value(text: str) -> str:
    """One value, percent-encoded where a header could not carry it or a proxy would change it."""
    return _UNSAFE.sub(_escape, text)


def encode_list(items: Iterable[str]) -> str:
    """List items joined with ``,``; a comma inside an item is ``%2C``."""
    return ",".join(_UNSAFE_ITEM.sub(_escape, item) for item in items)


def identity_headers(tenant: Tenant, identity: Identity | None, *, assertion: str = "") -> tuple[tuple[str, str], ...] | None:
    """Every managed header of ``tenant`` in order; all empty without an identity. None if they exceed ``MAX_HEAD_BYTES``."""
    if identity is None:
        return tuple((spec.name, "") for spec in tenant.headers)
    claims = dict(identity.claims)
    groups = identity.groups
    if tenant.group_header_names is not None:
        groups = tuple(g for g in groups if g in tenant.group_header_names)
    values = {
        "sub": encode_value(identity.sub),
        "email": encode_value(identity.email),
        "username": encode_value(identity.username),
        "preferred_username": encode_value(identity.preferred_username),
        "name": encode_value(identity.name),
        "groups": encode_list(groups),
        "roles": encode_list(identity.roles),
        "oid": encode_value(identity.oid),
        "tenant": tenant.id,
        "provider": encode_value(identity.provider),
        "assertion": assertion,
    }
    headers = tuple(
        (spec.name, values[spec.source] if spec.source in values else encode_value(claims.get(spec.source.removeprefix("claim:")) or spec.default)) for spec in tenant.headers
    )
    size = sum(len(name) + len(value) + 4 for name, value in headers)
    return headers if size <= MAX_HEAD_BYTES else None


def needs_assertion(tenant: Tenant) -> bool:
    """Whether any managed header carries the signed assertion."""
    return any(spec.source == "assertion" for spec in tenant.headers)
