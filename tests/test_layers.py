"""What import-linter cannot say: pure rooms by an allow-list, and what a process of each role has
loaded.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.source import parsed

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
PURE = {
    "core": {"idna", "gateway.core", "gateway.errors"},
    "check/dialects": {"gateway.core", "gateway.errors", "gateway.check.dialects"},
    "check/dialects/names": {"multidict"},
    "check/dialects/facts": {"multidict", "gateway.core", "gateway.check.dialects"},
    **{
        f"hooks/{name}": {
            "jwt",
            "datetime",
            "copy",
            "gateway.core",
            "gateway.errors",
            "gateway.hooks",
        }
        for name in (
            "event",
            "effects",
            "ordering",
            "payload",
            "sources",
            "scim/resources",
            "scim/filter",
            "scim/patch",
            "scim/discovery",
        )
    },
}
"""Pure rooms and modules, and what else each may import. Hooks verify signatures and read
timestamps.
"""
CLOCKS = {"now", "utcnow", "today"}
BANNED_NAMES = {"open", "print", "input", "exec", "eval", "__import__"}


def modules() -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for name in PURE:
        path = ROOT / "gateway" / name
        paths = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        for each in paths:
            own = str(each.relative_to(ROOT / "gateway").with_suffix(""))
            if own == name or own not in PURE:
                found.append((name, each))
    return found


def within(name: str, allowed: set[str]) -> bool:
    return any(name == item or name.startswith(f"{item}.") for item in allowed)


@pytest.mark.parametrize(
    ("room", "path"), modules(), ids=lambda v: v.stem if isinstance(v, Path) else v
)
def test_a_pure_module_imports_from_a_short_list_and_awaits_nothing(room: str, path: Path) -> None:
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Import(names=names):
                assert all(
                    name.name in STANDARD or within(name.name, PURE[room]) for name in names
                ), ast.unparse(node)
            case ast.ImportFrom(module=module, names=names, level=0):
                assert module in STANDARD or within(str(module), PURE[room]), ast.unparse(node)
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


SERVERS = {"asyncio", "aiohttp", "demo", "multiprocessing", "playwright", "redis", "shutil"} | {
    "socket",
    "sqlalchemy",
    "subprocess",
    "tests.support",
    "tests.support.world",
}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests" / "core").glob("*.py")), ids=lambda p: p.stem
)
def test_the_core_is_tested_without_servers_and_system_packages(path: Path) -> None:
    """``pytest tests/core`` runs wherever the lock is installed."""
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Import(names=names):
                named = {name.name for name in names}
            case ast.ImportFrom(module=str(module)):
                named = {module}
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                named = set()
                fixtures = {argument.arg for argument in node.args.args}
                assert not fixtures & {"world", "shared_world", "certificate"}, node.name
            case _:
                continue
        assert not any(within(name, SERVERS) for name in named), ast.unparse(node)
