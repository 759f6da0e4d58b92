"""Writes docs/operator/configuration.md: names, types and defaults from the pydantic models, words
from configuration.yaml beside it.

``python -m tests.docs.reference`` writes; ``test_drift`` fails while the committed file differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from gateway.config.environment import ENV_PREFIX
from gateway.config.model import Config
from gateway.config.types import format_duration
from gateway.core.model import Secret
from gateway.tenants.document import TenantDocument

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
WORDS = DOCS / "operator" / "configuration.yaml"
TARGET = DOCS / "operator" / "configuration.md"
_NONE = object()


@dataclass(frozen=True, slots=True)
class Key:
    """One row: ``path`` such as ``session.idle_timeout`` or ``providers[].name``."""

    path: str
    type: str
    default: object


MOST_WORDS = 10
"""Of a cell; more are where the key's description links to."""
SAME_AS: dict[str, str] = {"shadow_rules": "list of rules"}
"""Keys whose own keys are documented elsewhere."""


def keys(model: type[BaseModel], prefix: str = "", *, optional: str = "") -> Iterator[Key]:
    """Every leaf, depth first, in the order of the models."""
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        if name in SAME_AS:
            yield Key(prefix + name, SAME_AS[name], ())
            continue
        nested = next(_models(field.annotation), None)
        # A header's value may be a word or a mapping; that is one key with a type of its own.
        if nested is not None and get_origin(field.annotation) is not dict:
            repeated = "[]" if get_origin(field.annotation) in {tuple, list} else ""
            absent = (
                not field.is_required()
                and field.get_default(call_default_factory=True, validated_data={}) is None
            )
            yield from keys(
                nested, f"{prefix}{name}{repeated}.", optional=name if absent or repeated else ""
            )
        else:
            default = (
                _NONE
                if field.is_required()
                else field.get_default(call_default_factory=True, validated_data={})
            )
            kind = _type(schema["properties"][name], schema)
            if default is None and "`" in kind:
                default = next(
                    (
                        word
                        for word in ("any", "off")
                        if f"`{word}`" in kind and not prefix.startswith("rules")
                    ),
                    None,
                )
            yield Key(
                prefix + name,
                kind,
                f"required in {optional}" if optional and default is _NONE else default,
            )


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _type(schema: dict[str, Any], root: dict[str, Any]) -> str:
    match schema:
        case {"anyOf": several}:
            return " or ".join(
                dict.fromkeys(
                    _type(one, root)
                    for one in several
                    if one != {"type": "null"} and one.get("const") != "unset"
                )
            )
        case {"$ref": ref}:
            return _type(root["$defs"][ref.rpartition("/")[2]], root)
        case {"enum": allowed}:
            words = [value for value in allowed if value != "unset"]
            if len(words) > MOST_WORDS:
                return f"names, {len(words)} of them"
            return (
                f"the word `{words[0]}`"
                if len(words) == 1
                else ", ".join(f"`{value}`" for value in words)
            )
        case {"const": value}:
            return f"the word `{value}`"
        case {"description": str(description)} if "env:NAME" in description:
            return "secret"
        case {"description": "off or a duration"}:
            return "`off` or duration"
        case {"pattern": r"^\d+(ms|s|m|h|d)$"}:
            return "duration"
        case {"format": "path"}:
            return "path"
        case {"type": "array", "items": items}:
            return f"list of {_type(items, root)}"
        case {"type": "object", "additionalProperties": dict()}:
            return "map"
        case {"type": "integer"}:
            low, high = schema.get("minimum"), schema.get("maximum")
            return (
                f"integer, {low} to {high}" if low is not None and high is not None else "integer"
            )
        case {"type": kind}:
            return str(kind)
    return "map"


def shown(value: object) -> str:
    match value:
        case str() if value.startswith("required in "):
            return value
        case _ if value is _NONE:
            return "required"
        case None | "" | "unset":
            return "–"
        case bool():
            return f"`{str(value).lower()}`"
        case timedelta():
            return f"`{format_duration(value)}`"
        case Secret():
            return f"`{value.reveal()}`"
        case dict() | tuple() | list() | frozenset() if not value:
            return "empty"
        case dict():
            return "see below"
        case tuple() | list() | frozenset():
            return f"`[{', '.join(str(item) for item in value)}]`"
        case _:
            return f"`{value}`"


def variable(path: str) -> str:
    """The environment variable that sets a key of ``gateway.yaml``."""
    return ENV_PREFIX + path.upper().replace(".", "__")


def render() -> str:
    words: dict[str, Any] = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    lines = [
        f"<!-- Written by `scripts/reference` from the models and {WORDS.name}; edit those. -->",
        "# Configuration",
        "",
        words["introduction"].strip(),
        "",
        "## `gateway.yaml`",
        "",
    ]
    lines += ["| key | type | default | environment | what it does |", "|---|---|---|---|---|"]
    lines += [
        (
            f"| `{key.path}` | {key.type} | {shown(key.default)} | `{variable(key.path)}` | "
            f"{_cell(words['gateway'][key.path])} |"
        )
        for key in keys(Config)
    ]
    lines += [
        "",
        words["gateway_notes"].strip(),
        "",
        "### Identity headers",
        "",
        "The default of `headers`:",
        "",
        "| header | from |",
        "|---|---|",
    ]
    lines += [
        f"| `{name}` | `{source}` |"
        for name, source in Config.model_fields["headers"]
        .get_default(call_default_factory=True)
        .items()
    ]
    lines += [
        "",
        words["headers"].strip(),
        "",
        "## `tenants/ID.yaml`",
        "",
        words["tenant_introduction"].strip(),
        "",
    ]
    lines += ["| key | type | default | what it does |", "|---|---|---|---|"]
    lines += [
        f"| `{key.path}` | {key.type} | {shown(key.default)} | {_cell(words['tenant'][key.path])} |"
        for key in keys(TenantDocument)
    ]
    lines += ["", words["tenant_notes"].strip()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
