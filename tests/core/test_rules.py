"""Which rule speaks about a path."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.paths import canonical
from gateway.core.rule import BearerRule, Rule
from gateway.core.rules import NO_RULE, CompiledRules
from tests.core.test_glob import plainly


def rule(path: str, **more: object) -> Rule:
    return Rule(path=path, **more)  # type: ignore[arg-type]  # a table of arguments


def found(one: Rule, path: str) -> bool:
    return CompiledRules((one,)).at("app.acme.com").find(method="GET", path=path) is not NO_RULE


GIVING: dict[str, dict[str, object]] = {
    "public": {"public": True},
    "override": {"override_tenant_groups": True, "groups": frozenset({"a"})},
    "bearer": {"bearer": BearerRule(frozenset({"c"}), frozenset())},
    "app passwords": {"app_passwords": True},
    "passwords of the pool": {"pool_passwords": True},
}


@pytest.mark.parametrize("more", GIVING.values(), ids=GIVING)
def test_path_06_a_rule_that_gives_does_not_forgive_a_final_slash(more: dict[str, object]) -> None:
    assert found(rule("/**/*.css", **more), "/x/a.css")
    assert not found(rule("/**/*.css", **more), "/admin.css/")
    assert not found(rule("/docs", **more), "/docs/")
    assert found(rule("/docs/", **more), "/docs/")
    assert found(rule("/docs/**", **more), "/docs/")


@pytest.mark.parametrize(
    "more", [{"groups": frozenset({"admins"})}, {"deny": True}], ids=["groups", "deny"]
)
def test_a_rule_that_restricts_speaks_about_both_spellings(more: dict[str, object]) -> None:
    assert found(rule("/admin", **more), "/admin")
    assert found(rule("/admin", **more), "/admin/")


def test_a_rule_for_get_speaks_about_head() -> None:
    only_get = CompiledRules((rule("/x", methods=frozenset({"GET"})),)).at("app.acme.com")
    assert only_get.find(method="HEAD", path="/x") is not NO_RULE
    assert only_get.find(method="POST", path="/x") is NO_RULE


def test_the_first_that_matches_speaks() -> None:
    rules = (rule("/a/*/c"), rule("/a/**"), rule("/**"), rule("/a/b/c"))
    compiled = CompiledRules(rules).at("app.acme.com")
    found = {
        path: compiled.find(method="GET", path=path).rule for path in ("/a/b/c", "/a/b", "/a", "/b")
    }
    assert found == {"/a/b/c": rules[0], "/a/b": rules[1], "/a": rules[1], "/b": rules[2]}
    assert bool(compiled) and not CompiledRules(()).at("app.acme.com")


@pytest.mark.parametrize(
    "more", [{"groups": frozenset({"admins"})}, {"deny": True}], ids=["groups", "deny"]
)
def test_a_rule_that_restricts_a_folder_speaks_about_it_without_its_slash(
    more: dict[str, object],
) -> None:
    assert found(rule("/admin/", **more), "/admin")
    assert not found(rule("/admin/", public=True), "/admin")


def test_a_rule_for_some_hosts_says_nothing_elsewhere() -> None:
    rules = (
        rule("/a", hosts=frozenset({"x.test", "*.y.test"})),
        rule("/**", hosts=frozenset({"z.y.test"})),
        rule("/b", hosts=frozenset({"*.w.y.test"})),
        rule("/c"),
    )
    compiled = CompiledRules(rules)
    for host, indices in {
        "x.test": (0, 3),
        "q.y.test": (0, 3),
        "z.y.test": (0, 1),
        "v.w.y.test": (0, 2, 3),
        "w.y.test": (0, 3),
        "y.test": (3,),
        "q.x.test": (3,),
        "other.test": (3,),
    }.items():
        found = (
            compiled.at(host).find(method="GET", path=path).index
            for path in ("/a", "/x", "/b", "/c")
        )
        assert tuple(dict.fromkeys(index for index in found if index is not None)) == indices, host
    assert compiled.at("q.y.test") is compiled.at("r.y.test")
    only = CompiledRules(rules[:1])
    assert bool(only.at("x.test")) and not only.at("other.test")


SEGMENTS = ["a", "b", "a.b", ".a", "*", "**", "*.b", "a*", "a@b", "é"]
GLOBS = st.builds(
    lambda segments, slash: "/" + "/".join(segments) + slash,
    st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4),
    st.sampled_from(["", "", "/"]),
)
PATHS = st.lists(
    st.sampled_from(["a", "b", "ab", "a.b", ".a", "x.b", "{a,b}", "a@b", "é", "A", "a\nb", ""]),
    min_size=1,
    max_size=5,
).map(lambda segments: "/" + "/".join(segments))
WAYS: list[dict[str, object]] = [
    {},
    {"deny": True},
    *GIVING.values(),
    {"methods": frozenset({"GET"})},
    {"methods": frozenset({"POST"}), "public": True},
]


def one_after_the_other(rules: list[Rule], method: str, path: str) -> int | None:
    """Every glob is asked, in order; nothing is left out beforehand."""
    for index, one in enumerate(rules):
        gives = (
            one.public
            or one.override_tenant_groups
            or one.bearer is not None
            or one.app_passwords
            or one.pool_passwords
        )
        forgiven = (
            not gives or one.path.endswith("**") or one.path.endswith("/") == path.endswith("/")
        )
        spoken_of = (
            one.methods is None
            or method in one.methods
            or (method == "HEAD" and "GET" in one.methods)
        )
        if (
            spoken_of
            and forgiven
            and plainly(one.path, tuple(segment for segment in path.split("/") if segment))
        ):
            return index
    return None


@given(
    st.lists(
        st.builds(lambda path, more: rule(path, **more), GLOBS, st.sampled_from(WAYS)), max_size=6
    ),
    PATHS,
    st.sampled_from(["GET", "HEAD", "POST"]),
)
@example([rule("/a/**/", public=True)], "/a/b", "GET")
@example([rule("/a/**/", public=True)], "/a/", "GET")
@example([rule("/a/**")], "/a/", "GET")
@example([rule("/a/**", public=True)], "/a", "GET")
def test_what_is_left_out_beforehand_would_not_have_matched(
    rules: list[Rule], path: str, method: str
) -> None:
    parsed = canonical(path)
    if parsed is None or parsed.ambiguous:
        return
    assert CompiledRules(tuple(rules)).at("app.acme.com").find(
        method=method, path=parsed.path
    ).index == one_after_the_other(rules, method, parsed.path)
