"""A tenant document in two halves: what may be shown, and its secrets by path.

Both SQL and the snapshot keep the halves apart, so that a list, a diff or an audit record cannot
leak what it never held. A document that is sent back with ``***`` in a secret's place keeps the
secret that is stored there.

A path is the keys down to the secret; a provider is named by its name, not its position, so that
reordering providers does not exchange their secrets: ``providers.acme-okta.hooks.secrets.0``.

What is sent to an identity provider is kept only while its address stays: else ``***`` under
another address would have the stored secret sent to whoever may change the document and never see
it.
"""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel

from gateway.config.model import REDACTED
from gateway.core.model import Secret
from gateway.tenants.document import TenantDocument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.tenants.document import ProviderDocument

Shown = dict[str, Any]
"""JSON values only, ``***`` for each secret, sets sorted: equal documents are equal bytes."""


def show(document: TenantDocument, *, defaults: bool = True) -> Shown:
    """The half without secrets. Without ``defaults``: only what somebody wrote, as for a file."""
    dump = document.model_dump(mode="python", exclude_defaults=not defaults)
    # A third of the time of a walk in Python.
    content: Shown = json.loads(json.dumps(dump, default=plainly))
    return content


def secrets_of(document: TenantDocument) -> dict[str, Secret]:
    """The other half."""
    return dict(_secrets(document, ""))


def join(shown: Mapping[str, Any], secrets: Mapping[str, Secret]) -> TenantDocument:
    """The document again. Raises ``ValueError`` (``pydantic.ValidationError`` is one), also for a
    ``***`` that stands for no secret.
    """
    return complete(TenantDocument.model_validate(_filled(shown, secrets, "")))


def complete(document: TenantDocument) -> TenantDocument:
    """The document itself. Raises ``ValueError`` if one of its secrets is still ``***``."""
    paths = [path for path, secret in secrets_of(document).items() if secret.reveal() == REDACTED]
    if paths:
        msg = "\n".join(
            (
                f"{path}: {REDACTED} is how a secret is shown, not one: nothing is stored here "
                "that could be kept"
            )
            for path in paths
        )
        raise ValueError(msg)
    return document


def keepable(stored: TenantDocument | None, wanted: TenantDocument) -> dict[str, Secret]:
    """The stored secrets that a ``***`` in ``wanted`` may stand for."""
    if stored is None:
        return {}
    before, moved_paths = {p.name: _addresses(p) for p in stored.providers}, set()
    for provider in wanted.providers:
        if before.get(provider.name, _addresses(provider)) != _addresses(provider):
            moved_paths |= {
                f"providers.{provider.name}.hooks.{name}"
                for name in ("client_secret", "api_token", "service_account")
            }
    return {path: secret for path, secret in secrets_of(stored).items() if path not in moved_paths}


def _addresses(provider: ProviderDocument) -> list[tuple[str, str]]:
    """Whom its credentials are sent to."""
    return [urlsplit(url or "")[:2] for url in (provider.issuer, provider.hooks.api_url)]


def keep(document: TenantDocument, stored: Mapping[str, Secret]) -> TenantDocument:
    """With each ``***`` replaced by the secret stored at its path. Raises ``ValueError`` where
    there is none.
    """
    secret_by_path = {
        path: stored.get(path, secret) if secret.reveal() == REDACTED else secret
        for path, secret in secrets_of(document).items()
    }
    return join(show(document), secret_by_path)


def reveal(document: TenantDocument) -> Shown:
    """With the secrets in their places: for moving tenants between gateways, on an operator's
    explicit word.
    """
    revealed: Shown = _plain(_filled(show(document, defaults=False), secrets_of(document), ""))
    return revealed


@cache
def _bearing(model: type[BaseModel]) -> tuple[str, ...]:
    """Fields below which a secret can be; the rest of a document, its rules above all, need not be
    walked.
    """
    return tuple(
        name for name, field in model.model_fields.items() if _may_hold_a_secret(field.annotation)
    )


def _may_hold_a_secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return bool(_bearing(annotation))
    return annotation is Secret or any(_may_hold_a_secret(part) for part in get_args(annotation))


def _secrets(value: object, path: str) -> Iterator[tuple[str, Secret]]:
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in _bearing(type(value)):
            yield from _secrets(getattr(value, name), _below(path, name))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _secrets(item, _below(path, getattr(item, "name", index)))


def _filled(value: Any, secrets: Mapping[str, Secret], path: str) -> Any:
    if value == REDACTED:
        return secrets.get(path, value)
    if isinstance(value, dict):
        return {key: _filled(item, secrets, _below(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [
            _filled(
                item,
                secrets,
                _below(path, item.get("name", index) if isinstance(item, dict) else index),
            )
            for index, item in enumerate(value)
        ]
    return value


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def plainly(value: object) -> object:
    """``default`` of ``json.dumps``: a dump of a document as the text of ``show``, without a walk
    in between.
    """
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | date):
        return plainly(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
