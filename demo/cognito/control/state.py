"""What all operations share: the pool, its clock, quotas, and how long a new thing stays unseen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from demo.cognito.control.errors import invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demo.cognito.minting import Mint
    from demo.cognito.pool import AppClient, IdentityProvider, Pool

T = TypeVar("T")
MAX_PAGE = 60
ACCOUNT_ID = "123456789012"


@dataclass(slots=True)
class Quotas:
    """Hard limits per pool, at AWS's defaults."""

    clients: int = 1000
    providers: int = 300
    styles: int = 20
    custom_attributes: int = 50
    groups: int = 10_000


@dataclass(slots=True)
class ControlState:
    """A pool as the operations see it. ``development`` lets issuers and callbacks be http on
    loopback.
    """

    pool: Pool
    mint: Mint
    pool_name: str = "demo"
    domain_prefix: str = "demo"
    development: bool = True
    quotas: Quotas = field(default_factory=Quotas)

    def pool_of(self, request: dict[str, Any]) -> Pool:
        """The pool that a request names; there is one."""
        if request["UserPoolId"] != self.pool.pool_id:
            raise not_found(f"User pool {request['UserPoolId']} does not exist.")
        return self.pool

    def provider_to_read(self, pool: Pool, name: str) -> IdentityProvider:
        """A provider that can already be seen."""
        return _existing_provider(name, pool.visible_provider(name))

    def provider_to_write(self, pool: Pool, name: str) -> IdentityProvider:
        """A provider, seen or not yet: changes and deletions do not wait."""
        return _existing_provider(name, pool.providers.get(name))

    def client_to_read(self, pool: Pool, client_id: str) -> AppClient:
        """A client that can already be seen."""
        return _existing_client(client_id, pool.visible_client(client_id))

    def client_to_write(self, pool: Pool, client_id: str) -> AppClient:
        """A client, seen or not yet: changes and deletions do not wait."""
        return _existing_client(client_id, pool.clients.get(client_id))


def _existing_provider(name: str, found: IdentityProvider | None) -> IdentityProvider:
    if found is None:
        raise not_found(f"Identity provider {name} does not exist.")
    return found


def _existing_client(client_id: str, found: AppClient | None) -> AppClient:
    if found is None:
        raise not_found(f"User pool client {client_id} does not exist.")
    return found


def page(
    pool: Pool, items: Sequence[T], *, size: int | None, token: str | None, asked: str = ""
) -> tuple[Sequence[T], str | None]:
    """One page and the token of the next. A token that nobody gave out is refused, and one of
    another question: it is for "the same parameters" only.
    """
    mark = hashlib.sha256(asked.encode()).hexdigest()[:16]
    start, empty = 0, pool.behaviour.lists_begin_empty and bool(items)
    if token is not None:
        word, _, of = token.partition(".")
        if not word.startswith("page-") or not word[5:].isdecimal() or of != mark:
            raise invalid("Invalid pagination token given.")
        start, empty = int(word[5:]), False
    end = start if empty else start + (size or MAX_PAGE)
    return items[start:end], f"page-{end}.{mark}" if end < len(items) else None
