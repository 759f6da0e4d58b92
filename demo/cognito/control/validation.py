"""Requests checked against the service model as AWS's front end does it, before any operation sees
them.

botocore's client checks types, required members and minimums only; here patterns, maximums and
enumerations count too. Texts follow AWS: ``1 validation error detected: Value 'x' at 'clientName'
failed to satisfy constraint: …``.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

from demo.cognito.control.errors import ApiError, invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
    "timestamp": (int, float),
}


def check(shape: Any, value: Any) -> None:
    """Raise what AWS raises for a request that the model (a botocore shape) does not allow."""
    found = list(violations(shape, value, path=""))
    if found:
        plural = "s" if len(found) > 1 else ""
        raise invalid(f"{len(found)} validation error{plural} detected: {'; '.join(found)}")


def violations(shape: Any, value: Any, *, path: str) -> Iterator[str]:
    """Every constraint that a value breaks, one sentence each."""
    _check_type(shape, value, path)
    match shape.type_name:
        case "structure":
            if not shape.metadata.get("document"):
                yield from _structure(shape, value, path)
        case "list":
            yield from _length(shape, len(value), shown=_shown(shape, value), path=path)
            for number, item in enumerate(value, 1):
                yield from violations(shape.member, item, path=f"{path}.{number}.member")
        case "map":
            for key, item in value.items():
                yield from violations(shape.key, key, path=path)
                yield from violations(shape.value, item, path=f"{path}.{key}.member")
        case "string":
            yield from _string(shape, value, path)
        case "integer" | "long":
            yield from _range(shape, value, path)
        case _:
            return


def _check_type(shape: Any, value: Any, path: str) -> None:
    # Python counts booleans among the integers; JSON does not.
    if not isinstance(value, _PYTHON_TYPES[shape.type_name]) or (
        isinstance(value, bool) and shape.type_name != "boolean"
    ):
        raise ApiError("SerializationException", f"{path or 'request'} has the wrong type")


def _structure(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    for name, member in shape.members.items():
        inner = (f"{path}." if path else "") + name[0].lower() + name[1:]
        if value.get(name) is not None:
            yield from violations(member, value[name], path=inner)
        elif name in shape.required_members:
            yield f"Value null at '{inner}' failed to satisfy constraint: Member must not be null"


def _string(shape: Any, value: str, path: str) -> Iterator[str]:
    shown = _shown(shape, value)
    yield from _length(shape, len(value), shown=shown, path=path)
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield (
            f"{shown} at '{path}' failed to satisfy constraint: Member must satisfy regular "
            f"expression pattern: {pattern}"
        )
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield (
            f"{shown} at '{path}' failed to satisfy constraint: Member must satisfy enum value "
            f"set: [{', '.join(allowed)}]"
        )


def _length(shape: Any, length: int, *, shown: str, path: str) -> Iterator[str]:
    metadata = shape.metadata
    if "min" in metadata and length < metadata["min"]:
        yield (
            f"{shown} at '{path}' failed to satisfy constraint: Member must have length "
            f"greater than or equal to {metadata['min']}"
        )
    if "max" in metadata and length > metadata["max"]:
        yield (
            f"{shown} at '{path}' failed to satisfy constraint: Member must have length less "
            f"than or equal to {metadata['max']}"
        )


def _range(shape: Any, value: int, path: str) -> Iterator[str]:
    metadata = shape.metadata
    if "min" in metadata and value < metadata["min"]:
        yield (
            f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have value "
            f"greater than or equal to {metadata['min']}"
        )
    if "max" in metadata and value > metadata["max"]:
        yield (
            f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have value "
            f"less than or equal to {metadata['max']}"
        )


def _shown(shape: Any, value: Any) -> str:
    """AWS leaves the value of a sensitive member out of its texts."""
    return "Value" if shape.metadata.get("sensitive") else f"Value '{value}'"


# -- patterns: the model's are Java's, where \p{L} is a Unicode category and \w is ASCII


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(
        re.sub(r"\\p\{(\w)\}", lambda found: _category_ranges()[found.group(1)], pattern), re.ASCII
    )


@cache
def _category_ranges() -> dict[str, str]:
    """Major Unicode category → the inside of a character class."""
    ranges: dict[str, list[str]] = {}
    start, current = 0, unicodedata.category(chr(0))[0]
    for point in range(1, sys.maxunicode + 2):
        category = unicodedata.category(chr(point))[0] if point <= sys.maxunicode else ""
        if category != current:
            ranges.setdefault(current, []).append(f"\\U{start:08x}-\\U{point - 1:08x}")
            start, current = point, category
    return {category: "".join(parts) for category, parts in ranges.items()}
