"""Identity → the managed headers.

Rules:
- Every managed header is emitted on every allow, empty where there is nothing to say, so that the
  ingress overwrites what a client sent (invariant 9).
- Each header has an encoding (``gateway.core.header_encoding``), percent-encoding unless the
  operator says otherwise.
- What does not fit is refused whole, never cut.
- A request with a bearer token says what is known for certain: tenant and client, or the person of
  the token. Claims and their defaults are of a login, and are empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.header_encoding import encode_list, encode_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.model import HeaderSpec, Identity, MachineToken, Tenant

MAX_HEAD_BYTES: Final = 12 * 1024
"""Names, values and separators of all managed headers. Rendered ingress configurations give the
answer's head 16 kB; a larger one would be a 500 at nginx instead of a reason a person can read.
"""


def identity_headers(
    tenant: Tenant, identity: Identity | None, *, assertion: str = ""
) -> tuple[tuple[str, str], ...] | None:
    """Every managed header of ``tenant`` in order; all empty without an identity. None if they
    exceed ``MAX_HEAD_BYTES``.
    """
    if identity is None:
        return tuple((spec.name, "") for spec in tenant.headers)
    claims = dict(identity.claims)
    return _headers(
        tenant,
        identity,
        assertion,
        lambda spec: claims.get(spec.source.removeprefix("claim:")) or spec.default,
    )


def bearer_headers(
    tenant: Tenant,
    machine: MachineToken,
    *,
    assertion: str = "",
    identity: Iterable[tuple[str, str]] = (),
) -> tuple[tuple[str, str], ...] | None:
    """As above, for a request with a token. ``identity``: the text of headers that the matched rule
    says itself, lists with commas; never another tenant or assertion.
    """
    headers = _headers(tenant, machine.identity, assertion, lambda _: "")
    texts = {} if machine.is_persons else dict(identity)
    if headers is None or not texts:
        return headers
    return _fitting(
        tuple(
            (spec.name, _said(spec, texts[spec.name]) if spec.name in texts else text)
            for spec, (_, text) in zip(tenant.headers, headers, strict=True)
        )
    )


def _said(spec: HeaderSpec, text: str) -> str:
    return (
        encode_list(filter(None, map(str.strip, text.split(","))), spec.encoding)
        if spec.source in {"groups", "roles"}
        else encode_value(text, spec.encoding)
    )


def _headers(
    tenant: Tenant, identity: Identity, assertion: str, claimed: Callable[[HeaderSpec], str]
) -> tuple[tuple[str, str], ...] | None:
    groups = identity.groups
    if tenant.group_header_names is not None:
        groups = tuple(g for g in groups if g in tenant.group_header_names)
    lists = {"groups": groups, "roles": identity.roles}
    texts = {
        "sub": identity.sub,
        "email": identity.email,
        "username": identity.username,
        "preferred_username": identity.preferred_username,
        "name": identity.name,
        "oid": identity.oid,
        "tenant": tenant.id,
        "provider": identity.provider,
        "assertion": assertion,
    }

    def value(spec: HeaderSpec) -> str:
        if spec.source in lists:
            return encode_list(lists[spec.source], spec.encoding)
        return encode_value(
            texts[spec.source] if spec.source in texts else claimed(spec), spec.encoding
        )

    return _fitting(tuple((spec.name, value(spec)) for spec in tenant.headers))


def _fitting(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...] | None:
    size = sum(
        len(name) + len(text if text.isascii() else text.encode()) + 4 for name, text in headers
    )
    return headers if size <= MAX_HEAD_BYTES else None


def needs_assertion(tenant: Tenant) -> bool:
    """Whether any managed header carries the signed assertion."""
    return any(spec.source == "assertion" for spec in tenant.headers)
