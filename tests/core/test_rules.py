"""Which rule speaks about a path."""

from __future__ import annotations

import pytest

from gateway.core.model import BearerRule, Rule
from gateway.core.rules import find_rule
from gateway.registry.document import compile_glob


def rule(path: str, **more: object) -> Rule:
    return Rule(path=path, pattern=compile_glob(path), **more)  # type: ignore[arg-type]  # a table of arguments


def found(one: Rule, path: str) -> bool:
    return find_rule((one,), method="GET", path=path) is not None


GIVING: dict[str, dict[str, object]] = {
    "everyone": {"everyone": True},
    "replace": {"replace": True, "groups": frozenset({"a"})},
    "bearer": {"bearer": BearerRule(frozenset({"c"}), frozenset())},
}


@pytest.mark.parametrize("more", GIVING.values(), ids=GIVING)
def test_path_06_a_rule_that_gives_does_not_forgive_a_final_slash(more: dict[str, object]) -> None:
    assert found(rule("/**/*.css", **more), "/x/a.css")
    assert not found(rule("/**/*.css", **more), "/admin.css/")
    assert not found(rule("/docs", **more), "/docs/")
    assert found(rule("/docs/", **more), "/docs/")
    assert found(rule("/docs/**", **more), "/docs/")


@pytest.mark.parametrize("more", [{"groups": frozenset({"admins"})}, {"deny": True}], ids=["groups", "deny"])
def test_a_rule_that_restricts_speaks_about_both_spellings(more: dict[str, object]) -> None:
    assert found(rule("/admin", **more), "/admin")
    assert found(rule("/admin", **more), "/admin/")


def test_a_rule_for_get_speaks_about_head() -> None:
    assert find_rule((rule("/x", methods=frozenset({"GET"})),), method="HEAD", path="/x") is not None
    assert find_rule((rule("/x", methods=frozenset({"GET"})),), method="POST", path="/x") is None
