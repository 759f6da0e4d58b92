"""One YAML file, read strictly: a mapping, no key twice, every mistake told with its place.

The library parses, resolves and checks. Building the values from its nodes is done here: text,
lists and mappings are nearly all there is, and the library's own way of building them takes longer
than parsing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, get_args

import yaml
from pydantic import BaseModel
from yaml.constructor import ConstructorError
from yaml.events import CollectionEndEvent, CollectionStartEvent

from gateway.config.renamed import new_key, new_value
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pydantic import ValidationError

_TEXT: Final = "tag:yaml.org,2002:str"
_LIST: Final = "tag:yaml.org,2002:seq"
_MAPPING: Final = "tag:yaml.org,2002:map"
_MERGE: Final = "tag:yaml.org,2002:merge"
_UNFINISHED: Final = object()
_SURELY_SHALLOW: Final = 2000
"""Brackets, and characters of the longest line: a document is not much deeper than that."""
_DEEPEST: Final = 100


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C parser where libyaml is built in: ten times as fast
    """A key written twice is an error (YAML 1.2 §3.2.1.3), not the last one's victory."""

    def descend_resolver(self, *_: Any) -> None:
        """Tags by place: there are none."""

    def ascend_resolver(self) -> None:
        """As above."""

    def resolve(self, kind: Any, value: str, implicit: tuple[bool, bool]) -> str:
        """As the library does, without its tags by place."""
        if kind is not yaml.ScalarNode:
            return _LIST if kind is yaml.SequenceNode else _MAPPING
        if implicit[0]:
            for tag, form in self.yaml_implicit_resolvers.get(value[:1], ()):
                if form.match(value):
                    return str(tag)
        return _TEXT

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        self._built: dict[int, Any] = {}
        return None if node is None else self._value(node)

    def _value(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.tag == _TEXT else self.construct_object(node)
        value = self._built.get(id(node))
        if value is _UNFINISHED:
            raise ConstructorError(None, None, "an alias refers to itself", node.start_mark)
        if value is None:
            # What an alias names is built once, however often it is used: a few lines could else
            # become gigabytes.
            self._built[id(node)] = _UNFINISHED
            value = self._built[id(node)] = self._collection(node)
        return value

    def _collection(self, node: yaml.Node) -> Any:
        if node.tag == _LIST and isinstance(node, yaml.SequenceNode):
            return [self._value(item) for item in node.value]
        if node.tag != _MAPPING or not isinstance(node, yaml.MappingNode):
            return self.construct_object(node, deep=True)
        # Before merging: what is written beside ``<<`` may take the place of what that brings.
        keys = {
            (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
            for key, _ in node.value
        }
        if len(keys) != len(node.value):
            raise self._twice(node)
        if (_MERGE, "<<") in keys:
            self.flatten_mapping(node)
        try:
            return {self._value(key): self._value(value) for key, value in node.value}
        except TypeError as error:
            raise ConstructorError(
                None, None, "a key is a list or a mapping", node.start_mark
            ) from error

    def _twice(self, node: yaml.MappingNode) -> ConstructorError:
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in keys:
                break
            keys.add((key.tag, str(key.value)))
        return ConstructorError(None, None, f"key {key.value!r} is written twice", key.start_mark)


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML mapping, or ``ConfigError`` with file, line and column."""
    return parse_yaml(text_of(path, read_raw(path)), source=str(path))


def read_raw(path: Path) -> bytes:
    """All bytes of a file, or ``ConfigError``."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'no such name'}"
        raise ConfigError(msg) from error


def text_of(path: Path, raw: bytes) -> str:
    """Of what was read of ``path``; or ``ConfigError``."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"{path}: cannot be read: not UTF-8"
        raise ConfigError(msg) from error


def parse_yaml(text: str, *, source: str) -> dict[str, Any]:
    """The same for a text; ``source`` names it."""
    try:
        _check_depth(text)
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, made stricter
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        msg = f"{source}{where}: not valid YAML: {_problem(error)}"
        raise ConfigError(msg) from error
    if not isinstance(document, dict):
        msg = f"{source}: must hold a mapping of keys to values"
        raise ConfigError(msg)
    return document


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return (
        getattr(error, "problem", None)
        or getattr(error, "reason", None)
        or "what looks like a date or a number is none; write it in quotes"
    )


def _check_depth(text: str) -> None:
    """Building nodes takes the C stack, and the process with it where there are ten thousands in
    one another. Raises ``RecursionError``. Documents that cannot be so deep are not looked at.
    """
    longest = max(map(len, text.splitlines()), default=0)
    if text.count("[") + text.count("{") + longest <= _SURELY_SHALLOW:
        return
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecursionError


_WHOLE_SECTIONS = frozenset({"model_type", "model_attributes_type", "dict_type"})
"""What stands where keys with values should: it may be the secret of one of them."""
_SECRET_KEYS = re.compile(r"secret|key|password|token|url|credential", re.IGNORECASE)


_ALLOWED = {
    "missing": "is needed",
    "string_type": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "too_short": "at least one",
}
"""What the library says in the words of a Python programmer, in those of the file."""


def explain_validation(
    source: str,
    error: ValidationError,
    model: type[BaseModel] | None = None,
    *,
    origin: Callable[[Sequence[str | int]], str | None] = lambda _: None,
) -> str:
    """Each mistake on its own line: where, what, what is allowed; values of secret-looking keys are
    left out.

    ``model`` is what was validated: it names the keys that are allowed where an unknown one stands.
    ``origin``: the environment variable that a value came from, None where it came from ``source``.
    """
    lines = []
    errors = error.errors(include_url=False)
    for item in errors:
        inside = any(
            other["loc"][: len(item["loc"])] == item["loc"] and len(other["loc"]) > len(item["loc"])
            for other in errors
        )
        if item["type"] == "too_short" and inside:
            continue  # the list is empty only because what stands in it is wrong
        where = ".".join(str(part) for part in item["loc"]) or "(whole file)"
        context = item.get("ctx", {})
        problem = _ALLOWED.get(
            item["type"], item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        )
        if item["type"] == "string_pattern_mismatch":
            example = _example(model, item["loc"])
            problem = f"{example}a text of the form {context['pattern']}"
        elif item["type"] == "extra_forbidden":
            keys = keys_at(model, item["loc"][:-1]) if model is not None else ()
            problem = "unknown key" + (f" (allowed: {', '.join(keys)})" if keys else "")
            if (renamed := new_key(item["loc"])) is not None:
                problem = f"unknown key: renamed to {renamed}"
        elif (renamed := new_value(item["loc"], item["input"])) is not None:
            problem = f"renamed to {renamed}"
        value = ""
        if (
            item["type"] not in {"missing", "extra_forbidden"}
            and item["loc"]
            and not (item["type"] in _WHOLE_SECTIONS and _holds_secrets(model, item["loc"]))
            and not _SECRET_KEYS.search(where)
            and isinstance(item["input"], str | int | float | bool)
        ):
            value = f" (is {str(item['input'])[:80]!r})"
        from_variable = origin(item["loc"])
        place = f"environment: {from_variable}" if from_variable else f"{source}: {where}"
        lines.append(f"{place}{value}: {problem}")
    return "\n".join(lines)


def _holds_secrets(model: type[BaseModel] | None, path: Sequence[str | int]) -> bool:
    return model is None or any(_SECRET_KEYS.search(name) for name in keys_at(model, path))


def _example(model: type[BaseModel] | None, path: Sequence[str | int]) -> str:
    """``such as X; `` where the key has one."""
    for part in path:
        field = model.model_fields.get(str(part)) if model is not None else None
        if field is None:
            return ""
        if part == path[-1]:
            return f"such as {field.examples[0]}; " if field.examples else ""
        model = next(_models(field.annotation), None)
    return ""


def keys_at(model: type[BaseModel], path: Sequence[str | int]) -> tuple[str, ...]:
    """Names of the keys that may stand at a place of a document; none where that is no mapping of
    known keys.
    """
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        below = next(_models(field.annotation), None) if field is not None else None
        if below is None:
            return ()
        model = below
    return tuple(sorted(model.model_fields))


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


__all__ = ["explain_validation", "parse_yaml", "read_raw", "read_yaml", "text_of"]
