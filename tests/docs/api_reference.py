"""Writes docs/operator/api-reference.md: every operation and type of openapi.json beside it.

``python -m tests.docs.api_reference`` writes; ``test_drift`` fails while the committed file
differs.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "docs" / "operator" / "openapi.json"
TARGET: Final = ROOT / "docs" / "operator" / "api-reference.md"
PREFIX: Final = "/admin/v1"
MOST_LITERALS: Final = 160
"""Characters of a list of literal values in a cell."""
HEAD: Final = """\
# Admin API reference

Every operation and type, written by `scripts/reference` from [openapi.json](openapi.json).
[Admin API](admin-api.md) says how to authenticate, what a key of one tenant may do, and how lists,
versions and repeated requests work. Paths are below `/admin/v1`.

Each operation can answer with these codes in a [Problem](#problem), which are left out below:
{common}.
"""


def render() -> str:
    document = json.loads(SOURCE.read_text("utf-8"))
    operations = [
        (method.upper(), path.removeprefix(PREFIX), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    common = set.intersection(
        *(set().union(*_errors(operation).values()) for _, _, operation in operations)
    )
    by_tag: dict[str, list[tuple[str, str, Any]]] = defaultdict(list)
    for method, path, operation in operations:
        by_tag[operation["tags"][0]].append((method, path, operation))
    parts = [HEAD.format(common=_codes(sorted(common)))]
    for tag in sorted(by_tag):
        parts.append(f"## {tag[0].upper()}{tag[1:].replace('-', ' ')}\n")
        for method, path, operation in by_tag[tag]:
            parts += _operation(method, path, operation, common)
    parts.append("## Types\n")
    schemas = document["components"]["schemas"]
    for name in sorted(_reached(document)):
        parts += _type(name, schemas[name])
    return _wrapped("\n".join(parts).rstrip() + "\n")


def _operation(
    method: str, path: str, operation: Mapping[str, Any], common: set[str]
) -> Iterator[str]:
    yield f"### {method} {path}\n"
    yield f"{_sentence(operation['summary'])} {operation['description']}\n"
    if operation["parameters"]:
        yield "| parameter | in | type | |\n|---|---|---|---|"
        for one in operation["parameters"]:
            need = "required" if one["required"] else _default(one["schema"])
            yield f"| `{one['name']}` | {one['in']} | {_shape(one['schema'])} | {need} |"
        yield ""
    if "requestBody" in operation:
        schema = _content(operation["requestBody"])
        yield f"Body: {_shape(schema)}.\n" if schema else "Body.\n"
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            schema = _content(answer)
            yield f"Answer {status}: {_shape(schema)}.\n" if schema else f"Answer {status}.\n"
    rest = {
        status: sorted(codes - common)
        for status, codes in _errors(operation).items()
        if codes - common
    }
    if rest:
        said = "; ".join(f"{status} {_codes(codes)}" for status, codes in rest.items())
        yield f"Errors: {said}.\n"


def _type(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if description := schema.get("description"):
        text = " ".join(description.split()).replace("``", "`")
        yield f"{_sentence(text)}\n"
    if "properties" not in schema:
        yield f"{_shape(schema)}\n"
        return
    yield "| field | type | |\n|---|---|---|"
    for field, one in schema["properties"].items():
        need = "required" if field in schema.get("required", ()) else _default(one)
        yield f"| `{field}` | {_shape(one)} | {need} |"
    yield ""


def _content(of: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((kind.get("schema", {}) for kind in of.get("content", {}).values()), {})


def _errors(operation: Mapping[str, Any]) -> dict[str, set[str]]:
    return {
        status: set(re.findall(r"`([^`]+)`", answer["description"]))
        for status, answer in operation["responses"].items()
        if not status.startswith("2")
    }


def _shape(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(map(_shape, schema[key])))
    if "const" in schema:
        return _literal([schema["const"]])
    if "enum" in schema:
        return _literal(schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_shape(schema.get('items', {}))}{_bounds(schema, 'Items')}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object of {_shape(values)}" if isinstance(values, dict) and values else "object"
    if kind == "string":
        return f"string{_bounds(schema, 'Length')}"
    if kind in {"integer", "number"}:
        return f"{kind}{_bounds(schema, 'imum')}"
    return str(kind or "any")


def _bounds(schema: Mapping[str, Any], of: str) -> str:
    low, high = schema.get(f"min{of}"), schema.get(f"max{of}")
    if low is None and high is None:
        return ""
    return f" ({low} or more)" if high is None else f" ({low or 0} to {high})"


def _literal(values: Sequence[object]) -> str:
    text = ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in values)
    return text if len(text) <= MOST_LITERALS else f"one of {len(values)} words, see openapi.json"


def _default(schema: Mapping[str, Any]) -> str:
    if schema.get("default") is None:
        return ""
    text = json.dumps(schema["default"], ensure_ascii=False)
    return f"default `{text}`" if len(text) < MOST_LITERALS else "has a default"


def _codes(codes: Sequence[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def _sentence(text: str) -> str:
    return text if text.endswith((".", ":")) else f"{text}."


def _reached(document: Mapping[str, Any]) -> set[str]:
    """Types that an operation's body or answer has, at any depth."""
    schemas = document["components"]["schemas"]
    found: set[str] = set()
    waiting = [document["paths"]]
    while waiting:
        text = json.dumps(waiting.pop())
        for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
            if name not in found:
                found.add(name)
                waiting.append(schemas[name])
    return found


def _wrapped(text: str) -> str:
    """Paragraphs in lines of 120 columns at most; rows of tables and headings stay."""
    lines: list[str] = []
    for line in text.splitlines():
        while len(line) > 120 and not line.startswith(("|", "#")):
            cut = line.rfind(" ", 0, 121)
            lines.append(line[:cut])
            line = line[cut + 1 :]  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
