"""Secrets out of what is kept: the second line of defence, after models that serialise them as
``***``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from gateway.core.model import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN = "***"


@dataclass(frozen=True, slots=True)
class SecretFree:
    """A document as the API shows it: its model knows which of its values are secrets, and has left
    them out. By names alone ``secret_expires`` or ``app_passwords`` would be one, and a version
    that is kept so could not be restored.
    """

    document: Mapping[str, object]


_SECRET_NAME = re.compile(
    (
        r"secret|password|passwd|private|credential|authorization|cookie|refresh_token|"
        r"access_token|id_token|api_?key"
    ),
    re.IGNORECASE,
)


def redacted(value: object) -> object:
    """JSON-able copy without secrets: of ``Secret`` values, and of whatever a secret's name stands
    on.
    """
    if isinstance(value, SecretFree):
        return value.document
    if isinstance(value, BaseModel):
        return redacted(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return {
            str(name): _emptied(item) if _SECRET_NAME.search(str(name)) else redacted(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(item) for item in value]
    if isinstance(value, Secret):
        return SHOWN
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def _emptied(value: object) -> object:
    """Keeps that there was something, and how many."""
    if value is None or value == "" or isinstance(value, bool):
        return value
    if isinstance(value, list | tuple):
        return [SHOWN for _ in value]
    return SHOWN
