"""What import-linter cannot say: pure rooms by an allow-list, and what a process of each role has
loaded.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STANDARD = {
    "__future__",
    "abc",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "collections.abc",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "html",
    "http",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "string",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
}
"""Of the standard library, what has no clock, randomness or I/O (of ``http`` only its names of
statuses and methods).
"""
ROOMS = {
    "core": {"idna", "gateway.core", "gateway.errors"},
    "ingress": {"gateway.core", "gateway.errors", "gateway.ingress"},
    "hooks": {
        "jwt",
        "datetime",
        "copy",
        "gateway.core",
        "gateway.errors",
        "gateway.hooks",
        "gateway.ports",
        "gateway.ports_hooks",
    },
}
"""Pure rooms, and what else each may import. Hooks verify signatures and read timestamps."""
APPLYING = {
    "applier",
    "arrivals",
    "brake",
    "by_hand",
    "commit",
    "deliveries",
    "desk",
    "group_names",
    "inbox",
    "issuer_keys",
    "messages",
    "reconcile",
    "retention",
    "scim_store",
    "standings",
    "webhooks",
}
"""The other half of ``hooks``, which stores and applies. A file that is not named here is the pure
half.
"""
CLOCKS = {"now", "utcnow", "today"}
BANNED_NAMES = {"open", "print", "input", "exec", "eval", "__import__"}


def modules() -> list[tuple[str, Path]]:
    return [
        (room, path)
        for room in ROOMS
        for path in sorted((ROOT / "gateway" / room).rglob("*.py"))
        if room != "hooks" or not {path.stem, path.parent.stem} & APPLYING
    ]


def within(name: str, allowed: set[str]) -> bool:
    return any(name == item or name.startswith(f"{item}.") for item in allowed)


@pytest.mark.parametrize(
    ("room", "path"), modules(), ids=lambda v: v.stem if isinstance(v, Path) else v
)
def test_a_pure_module_imports_from_a_short_list_and_awaits_nothing(room: str, path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                assert all(
                    name.name in STANDARD or within(name.name, ROOMS[room]) for name in names
                ), ast.unparse(node)
            case ast.ImportFrom(module=module, names=names, level=0):
                assert module in STANDARD or within(str(module), ROOMS[room]), ast.unparse(node)
                assert module != "http" or {name.name for name in names} <= {
                    "HTTPStatus",
                    "HTTPMethod",
                }, ast.unparse(node)
            case (
                ast.AsyncFunctionDef()
                | ast.Await()
                | ast.AsyncFor()
                | ast.AsyncWith()
                | ast.Global()
            ):
                pytest.fail(f"{path.name}:{node.lineno}: not pure")
            case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=name) if name in CLOCKS:
                pytest.fail(f"{path.name}:{node.lineno}: reads the clock")
            case ast.Name(id=name) if name in BANNED_NAMES:
                pytest.fail(f"{path.name}:{node.lineno}: {name}")
