"""Files of people's own, with the secrets they name, ready to be sent to the admin API: that takes
no ``env:`` and no ``file:``, which would be of its machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from gateway.admin.parsing import secret_fields
from gateway.config.model import REDACTED, resolve_secret
from gateway.config.yaml import explain_validation, parse_yaml, read_yaml
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.cli.client import Json


def read_document(path: Path, model: type[BaseModel]) -> Json:
    """One file that fits ``model``. Raises ``ConfigError`` with every mistake, the file named."""
    return _complete(str(path), read_yaml(path), model)


def read_input(path: str, model: type[BaseModel]) -> Json:
    """The same; ``-`` is standard input."""
    if path != "-":
        return read_document(Path(path), model)
    name = "standard input"
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError as error:
        msg = f"{name}: cannot be read: not UTF-8"
        raise ConfigError(msg) from error
    document = parse_yaml(text, source=name)
    return _complete(name, document, model)


def _complete(name: str, document: Json, model: type[BaseModel]) -> Json:
    try:
        model.model_validate(document)
    except ValidationError as error:
        raise ConfigError(explain_validation(name, error, model)) from error
    result: Json = _resolved(document, secret_fields(model), secret=False)
    return result


def _resolved(node: Any, names: frozenset[str], *, secret: bool) -> Any:
    """``model`` has looked every secret up already: none is missing."""
    if isinstance(node, dict):
        return {name: _resolved(value, names, secret=name in names) for name, value in node.items()}
    if isinstance(node, list):
        return [_resolved(item, names, secret=secret) for item in node]
    if secret and isinstance(node, str) and node != REDACTED:
        return resolve_secret(node).reveal()
    return node
