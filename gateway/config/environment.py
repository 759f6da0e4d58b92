"""The environment as the second source of ``Config``, and what of it is an operator's mistake.

Rules:
- An empty variable is not set.
- Variables that Kubernetes makes for a Service named ``gateway…`` (``GATEWAY_PUBLIC_PORT=tcp://…``)
  are nobody's setting.
- A list is written as JSON or with commas: ``GATEWAY_INGRESS__TRUSTED_PROXIES=10.0.0.0/8,::1``.
- A variable that begins like ours, in whatever case, and names no key is an error, unless a
  configuration file or a tenant's takes a secret from it (``env:NAME``). Names are in capitals: two
  spellings of one name would be two values.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from pydantic import BaseModel
from pydantic_settings import EnvSettingsSource

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pydantic.fields import FieldInfo

ENV_PREFIX: Final = "GATEWAY_"
OF_COMMANDS: Final = frozenset({"GATEWAY_CONFIG", "GATEWAY_SERVER", "GATEWAY_ADMIN_KEY"})
"""Options of the command line."""
_SERVICE_LINK = re.compile(r"_PORT_\d{1,5}_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?\Z", re.ASCII)
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+", re.ASCII)
_REFERENCE = re.compile(r"env:(\w+)", re.ASCII)


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes made this variable for a Service (``enableServiceLinks``). ``…_PORT`` is
    one by its value, since a key may be named so; the others by their names.
    """
    if not name.startswith(ENV_PREFIX):
        return False
    if name.endswith("_PORT") and not name.endswith("_SERVICE_PORT") and "_PORT_" not in name:
        return _SERVICE_ADDRESS.fullmatch(value) is not None
    return (
        name.endswith(("_SERVICE_HOST", "_SERVICE_PORT"))
        or "_SERVICE_PORT_" in name
        or _SERVICE_LINK.search(name) is not None
    )


def variable(key: str) -> str:
    """The environment's name of a key: ``session.idle_timeout`` → GATEWAY_SESSION__IDLE_TIMEOUT."""
    return ENV_PREFIX + key.upper().replace(".", "__")


class Environment(EnvSettingsSource):
    """Raises ``ConfigError`` that names the variable, never its value."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # The library compares in lower case; a name that is not in capitals is an error before.
        return {
            name.lower(): value
            for name, value in os.environ.items()
            if name.startswith(ENV_PREFIX) and value and not is_service_link(name, value)
        }

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:
        """JSON, or a list with commas."""
        text = str(value).strip()
        is_list = field is None or not any(
            issubclass(one, BaseModel) for one in _models(field.annotation)
        )
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            if is_list and text[:1] not in ("[", "{", '"'):
                return [part.strip() for part in text.split(",") if part.strip()]
        name = self._name_of(field_name, value)
        msg = f"environment: {name}: not valid JSON (a list may also be written with commas)"
        raise ConfigError(msg)

    def _name_of(self, field_name: str, value: object) -> str:
        """The library hands over the last part of a name only."""
        names = [
            name.upper()
            for name, field_value in self.env_vars.items()
            if field_value == value and name.endswith(field_name.lower())
        ]
        return names[0] if names else ENV_PREFIX + field_name.upper()


def origin(location: Sequence[str | int]) -> str | None:
    """The variable that a value came from, or None where the environment does not set it.
    ``location`` is the validation library's.
    """
    names = [str(part) for part in location if isinstance(part, str)]
    while names:
        name = variable(".".join(names))
        value = os.environ.get(name)
        if value and not is_service_link(name, value):
            return name
        names.pop()
    return None


def check_names(model: type[BaseModel], document: Mapping[str, Any], folder: Path) -> None:
    """Raises ``ConfigError`` for a variable that names no key of ``model`` and no secret of
    ``document`` or of a tenant file in ``folder``.
    """
    names = {variable(".".join(path)) for path in _keys(model, ())}
    leaves = names - {one.rpartition("__")[0] for one in names} - _mappings(model)
    sections = {
        variable(name)
        for name, field in model.model_fields.items()
        if any(_models(field.annotation)) or get_origin(field.annotation) is not None
    }
    unknown = [
        name
        for name, value in sorted(os.environ.items())
        if name.upper().startswith(ENV_PREFIX)
        and value
        and name not in names
        and name not in OF_COMMANDS
        and not is_service_link(name, value)
        # A key below a known section is judged, and told, by the section's model.
        and not ("__" in name and name.split("__", 1)[0] in sections and not _below(name, leaves))
    ]
    if not unknown:
        return
    referenced = set(_REFERENCE.findall(repr(document)))
    for value in os.environ.values():
        referenced |= set(_REFERENCE.findall(value))
    if not set(unknown) <= referenced:
        referenced |= _references(folder)
    for name in unknown:
        if name not in referenced:
            msg = f"environment: {name}: unknown key{_suggestion(name, names)}"
            raise ConfigError(msg)


def _suggestion(name: str, known: set[str]) -> str:
    """``GATEWAY_REDIS_URL`` is a wish for ``GATEWAY_REDIS__URL``."""
    known = known | OF_COMMANDS
    if name != name.upper():
        name = name.upper()
        if name in known:
            return f" (did you mean {name}? names are in capitals)"
    flat = {one.replace("__", "_"): one for one in known}
    near = difflib.get_close_matches(name.replace("__", "_"), flat, n=1, cutoff=0.8)
    if near:
        return f" (did you mean {flat[near[0]]}?)"
    return (
        "; sections and keys are joined by two underscores, as in GATEWAY_REDIS__URL; a secret "
        "that is taken by env:NAME needs that reference in gateway.yaml or in a tenant file"
    )


def _below(name: str, leaves: set[str]) -> bool:
    """``GATEWAY_REDIS__URL__X``: a part too many."""
    parts = name.split("__")
    return any("__".join(parts[:count]) in leaves for count in range(1, len(parts)))


def _mappings(model: type[BaseModel]) -> set[str]:
    """Keys below which names are an operator's own, such as ``headers``."""
    return {variable(name) for name, field in model.model_fields.items() if "dict[" in str(field)}


def _keys(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*above, name)
        for below in _models(field.annotation):
            yield from _keys(below, (*above, name))


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _references(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in folder.glob("*.y*ml"):
        try:
            names |= set(_REFERENCE.findall(path.read_text(encoding="utf-8", errors="replace")))
        except OSError:
            continue
    return names


__all__ = ["ENV_PREFIX", "Environment", "check_names", "is_service_link", "origin", "variable"]
