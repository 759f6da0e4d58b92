"""Applications that read paths more loosely than byte for byte: nobody gets under one spelling what
another would not give.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.canonical import MAX_MARKS
from gateway.core.decide import decide, match, match_next, takes_app_passwords
from gateway.core.decision import Allow, Deny
from gateway.core.explain import Hypothesis, explain
from gateway.core.hosts import includes
from gateway.core.model import AppPassword, MachineToken
from gateway.core.paths import canonical
from gateway.core.readings import (
    MAX_NAME_SEGMENTS,
    MAX_NAMES,
    MAX_PATH_CHARACTERS,
    MAX_PATH_SEGMENTS,
    PathReader,
    Unreadable,
    fold_case,
)
from gateway.core.reason import Reason
from gateway.core.rule import BearerRule, Rule
from gateway.core.rules import NO_RULE, Match
from gateway.core.tenants import TenantTable
from tests.core.build import NOW, identity, request, rule, session, tenant
from tests.core.test_rules import one_after_the_other

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.model import AuthRequest, Session, Tenant

    Held = tuple[Session | None, MachineToken | None, AppPassword | None]

STRICT = PathReader()
IIS = PathReader(windows=True)
MIXED = PathReader(ignore_case=True)
FOLDED = PathReader(unicode=True)
RAILS = PathReader(suffixes=True)
ADMIN = rule("/admin/**", groups=frozenset({"admins"}))
PUBLIC = rule("/public/**", public=True)
SITE = (PUBLIC, rule("/**/*.css", public=True), ADMIN)


def reason(
    path: str,
    reader: PathReader,
    rules: tuple[Rule, ...] = SITE,
    groups: tuple[str, ...] = ("users",),
) -> Reason:
    """For bob, who is signed in and no administrator, or for somebody with other groups; the path
    as on the wire.
    """
    found = canonical(quote(path, safe="/%:;="))
    assert found is not None
    at, asked = tenant(rules=rules, paths=reader), request(found.path, ambiguous=found.ambiguous)
    return decide(
        at,
        asked,
        match(at, asked),
        session=session(identity=identity(groups=groups)),
        machine=None,
        now=NOW,
    ).reason


CASES = [
    (STRICT, "/admin./x", Reason.GROUP_MISSING),
    (STRICT, "/admin%20/x", Reason.GROUP_MISSING),
    (STRICT, "/admin.%20.", Reason.GROUP_MISSING),
    (STRICT, "/public/‥/admin", Reason.GROUP_MISSING),
    (STRICT, "/public／..％2fadmin", Reason.GROUP_MISSING),
    (STRICT, "/public/％2e％2e/admin", Reason.GROUP_MISSING),
    (STRICT, "/public/；/admin", Reason.GROUP_MISSING),
    (STRICT, "/public/．．＼admin", Reason.GROUP_MISSING),
    (STRICT, "/ａdmin/x", Reason.GROUP_MISSING),
    (STRICT, "/admin／x", Reason.GROUP_MISSING),
    (STRICT, "/admin？/public", Reason.GROUP_MISSING),
    (STRICT, "/admin\u00a0/x", Reason.GROUP_MISSING),
    (STRICT, "/public/...", Reason.GROUP_MISSING),
    (STRICT, "/public/何？／５０％", Reason.PUBLIC),
    (STRICT, "/public/Inc.", Reason.PUBLIC),
    (STRICT, "/wiki/Inc.", Reason.OK),
    (STRICT, "/public./x", Reason.OK),
    (STRICT, "/ADMIN/x", Reason.OK),
    (STRICT, "/admin.css", Reason.PUBLIC),
    (MIXED, "/ADMIN/x", Reason.GROUP_MISSING),
    (MIXED, "/adm\u0131n/x", Reason.GROUP_MISSING),
    (MIXED, "/adm\u0130n/x", Reason.GROUP_MISSING),
    (MIXED, "/PUBLIC/x", Reason.PUBLIC),
    (MIXED, "/ADMIN./x", Reason.GROUP_MISSING),
    (IIS, "/ADMIN /x", Reason.GROUP_MISSING),
    (IIS, "/admin::$DATA", Reason.GROUP_MISSING),
    (IIS, "/ADMINI~1/x", Reason.GROUP_MISSING),
    (IIS, "/adm<<", Reason.GROUP_MISSING),
    (IIS, "/(S(x))/admin/x", Reason.GROUP_MISSING),
    (IIS, "/Public/Site.CSS", Reason.PUBLIC),
    (FOLDED, "/ａdmin/x", Reason.GROUP_MISSING),
    (FOLDED, "/public/a\u200db", Reason.GROUP_MISSING),
    (RAILS, "/admin.json", Reason.GROUP_MISSING),
    (RAILS, "/admin.css", Reason.GROUP_MISSING),
    (RAILS, "/admin.json.css", Reason.GROUP_MISSING),
    (RAILS, "/public/site.css", Reason.PUBLIC),
    (RAILS, "/site.css", Reason.OK),
    (PathReader(windows=True, suffixes=True), "/Admin.CSS.", Reason.GROUP_MISSING),
    (PathReader(ignore_case=True, unicode=True), "/ＡＤＭＩＮ/x", Reason.GROUP_MISSING),
]


@pytest.mark.parametrize(
    "path",
    [
        "/api/contents/C%23%20notes.ipynb",
        "/app/;jsessionid=0A",
        "//icon.svg",
        "/dav/%23x",
        "/dav/a%3bb",
        "/dav/a%3Fb",
        "/dav/caf%E9",
        "/dav/a%5Cb",
        "/a%2Fb",
        "/a/../b",
        "/50%2541",
        "/" + "x" * MAX_PATH_CHARACTERS,
        "/‥/x",
    ],
)
def test_an_ambiguous_path_is_for_those_who_hold_what_every_rule_of_the_host_asks_for(
    path: str,
) -> None:
    editors = rule("/edit/**", methods={"PUT"}, groups=frozenset({"editors"}))
    guests = rule("/guests/**", groups=frozenset({"guests"}), override_tenant_groups=True)
    elsewhere = rule("/**", deny=True, hosts=frozenset({"other.acme.com"}))
    everywhere = rule("/**", groups=frozenset({"guests"}), override_tenant_groups=True)
    machines = rule("/api/**", bearer=BearerRule(frozenset({"c"}), frozenset()))
    for rules, groups, expected in [
        ((*SITE, editors), ("users", "admins"), Reason.OK),
        ((*SITE, editors), ("users", "editors"), Reason.GROUP_MISSING),
        ((*SITE, guests), ("users", "admins", "guests"), Reason.OK),
        ((*SITE, guests), ("admins", "guests"), Reason.GROUP_MISSING),
        ((*SITE, everywhere), ("admins", "guests"), Reason.GROUP_MISSING),
        ((everywhere, rule("/x", deny=True)), ("guests",), Reason.OK),
        (
            (ADMIN, replace(ADMIN, path="/**"), rule("/x", deny=True)),
            ("users", "admins"),
            Reason.OK,
        ),
        ((PUBLIC, elsewhere), ("users",), Reason.OK),
        ((PUBLIC, machines), ("users",), Reason.OK),
        ((PUBLIC, replace(machines, browser_sessions=False)), ("users",), Reason.BAD_REQUEST),
        ((*SITE, rule("/metrics", deny=True)), ("users", "admins"), Reason.BAD_REQUEST),
    ]:
        assert reason(path, STRICT, rules, groups) is expected, (rules, groups)


@pytest.mark.parametrize(
    ("reader", "path", "expected"), CASES, ids=[f"{path!a} {reader}" for reader, path, _ in CASES]
)
def test_what_another_spelling_of_a_path_gets(
    reader: PathReader, path: str, expected: Reason
) -> None:
    assert reason(path, reader) is expected


def test_the_kelvin_sign_and_the_long_s_are_letters_of_their_own_only_to_who_reads_them_so() -> (
    None
):
    rules = (rule("/keys/**", groups=frozenset({"admins"})),)
    assert reason("/\u212aey\u017f/x", MIXED, rules) is Reason.GROUP_MISSING
    assert reason("/KEYS/x", MIXED, rules) is Reason.GROUP_MISSING


@pytest.mark.parametrize("order", [1, -1])
def test_a_path_that_two_rules_call_a_machine_differently_is_no_machines(order: int) -> None:
    """Which name the application would have to know depends on how it reads the path."""
    api = rule(
        "/a", bearer=BearerRule(frozenset({"c"}), frozenset()), identity=(("X-User", "reader"),)
    )
    other = replace(api, path="/a.json", identity=(("X-User", "admin-bot"),))
    asked = request("/a.json", bearer="t")
    for one, allowed in (
        (replace(other, identity=api.identity), True),
        (other, False),
        (replace(other, identity=()), False),
    ):
        at = tenant(paths=RAILS, rules=(api, one)[::order])
        decision = decide(at, asked, match(at, asked), session=None, machine=MACHINE, now=NOW)
        assert isinstance(decision, Allow) is allowed, decision


def test_the_strictest_name_counts_and_where_none_is_strictest_all_of_them() -> None:
    guests, api = (
        rule("/a/**", groups=frozenset({"guests"}), override_tenant_groups=True),
        rule("/a", bearer=BearerRule(frozenset({"c"}), frozenset())),
    )
    assert reason("/a.json", RAILS, (rule("/a", deny=True),)) is Reason.RULE_DENIED
    assert (
        reason("/a.json", RAILS, (rule("/a.json", deny=True), rule("/a", public=True)))
        is Reason.RULE_DENIED
    )
    assert reason("/a.json", RAILS, (guests,)) is Reason.GROUP_MISSING
    assert (
        reason("/a/x.json", RAILS, (replace(guests, path="/a/x"),), ("guests",))
        is Reason.GROUP_MISSING
    )
    assert (
        reason("/a/x.json", RAILS, (replace(guests, path="/a/x"),), ("guests", "users"))
        is Reason.OK
    )
    assert reason("/a.json", RAILS, (api, guests)) is Reason.OK
    assert (
        reason("/a.json", RAILS, (replace(api, browser_sessions=False), guests))
        is Reason.BAD_REQUEST
    )
    assert reason("/a/x.json", RAILS, (guests, api)) is Reason.GROUP_MISSING
    assert (
        reason(
            "/a.json",
            RAILS,
            (
                rule("/a.json", groups=frozenset({"users", "admins"})),
                rule("/a", groups=frozenset({"admins"})),
            ),
        )
        is Reason.GROUP_MISSING
    )
    assert (
        reason(
            "/a.json",
            RAILS,
            (
                rule("/a.json", groups=frozenset({"users"})),
                rule("/a", groups=frozenset({"admins"})),
            ),
        )
        is Reason.GROUP_MISSING
    )
    assert (
        reason(
            "/a.json",
            RAILS,
            (
                rule("/a.json", groups=frozenset({"users"})),
                rule("/a", groups=frozenset({"admins"})),
            ),
            ("users", "admins"),
        )
        is Reason.OK
    )
    assert (
        reason(
            "/a.json",
            RAILS,
            (rule("/a.json", groups=frozenset({"users"})), rule("/a", roles=frozenset({"r"}))),
        )
        is Reason.ROLE_MISSING
    )


def test_a_path_longer_than_rules_are_asked_about_needs_what_all_of_them_ask_for() -> None:
    assert reason("/public/" + "x" * (MAX_PATH_CHARACTERS - 8), STRICT) is Reason.PUBLIC
    assert reason("/public/" + "x" * (MAX_PATH_CHARACTERS - 7), STRICT) is Reason.GROUP_MISSING
    assert reason("/public" + "/x" * (MAX_PATH_SEGMENTS - 1), STRICT) is Reason.PUBLIC
    assert reason("/public" + "/x" * MAX_PATH_SEGMENTS, STRICT) is Reason.GROUP_MISSING
    assert reason("/public/x" + ".x" * MAX_NAMES, RAILS) is Reason.GROUP_MISSING
    deep = "/public" + "/x" * (MAX_NAME_SEGMENTS // 4 - 1)
    assert reason(deep + ".a.b.c", RAILS) is Reason.PUBLIC
    assert reason(deep + ".a.b.c.d", RAILS) is Reason.GROUP_MISSING
    assert reason("/public" + "/x" * MAX_PATH_SEGMENTS, STRICT, ()) is Reason.OK
    assert reason("/public/" + "x／" * MAX_PATH_SEGMENTS, STRICT) is Reason.GROUP_MISSING
    assert reason("/public/" + "\ufdfa" * (MAX_PATH_CHARACTERS // 18), STRICT) is Reason.PUBLIC
    assert (
        reason("/public/" + "\ufdfa" * (MAX_PATH_CHARACTERS // 17), STRICT) is Reason.GROUP_MISSING
    )
    assert (
        reason("/public/" + "\u0f73" * (MAX_PATH_CHARACTERS // 2), STRICT) is Reason.GROUP_MISSING
    )


def test_case_is_folded_as_coarsely_as_any_reader_does() -> None:
    """Every character: lower, upper, title and folded case, simple or full, come to one text, and
    folding again changes nothing.
    """
    changes = (as_it_is, str.lower, str.upper, str.title, str.casefold, str.swapcase, fold_case)
    # Most characters have no case: what nothing changes is one text already.
    texts = (
        {change(chr(point)) for change in changes}
        for point in range(0x110000)
        if not 0xD800 <= point < 0xE000
    )
    apart = [made for made in texts if len(made) > 1 and len(set(map(fold_case, made))) > 1]
    assert apart == []


@pytest.mark.parametrize(
    ("reader", "written", "spelling"),
    [
        (STRICT, "/Admin/**", "/Admin/**"),
        (STRICT, "/cafe\u0301/**", "/caf\u00e9/**"),
        (STRICT, "/①/**", "/①/**"),
        (FOLDED, "/①/**", "/1/**"),
        (MIXED, "/Größe/*.PDF", "/grösse/*.pdf"),
        (IIS, "/Admin./x", "/admin/x"),
        (RAILS, "/Admin.php", "/Admin.php"),
    ],
)
def test_how_a_rule_is_written(reader: PathReader, written: str, spelling: str) -> None:
    assert reader.spelling(written) == spelling
    assert reader.spelling(spelling) == spelling


def test_a_rule_for_more_marks_than_any_path_may_have_is_refused() -> None:
    for reader in (STRICT, FOLDED):
        with pytest.raises(ValueError, match="combining marks"):
            reader.spelling("/a" + "\u0301" * (MAX_MARKS + 1))


def test_rules_to_come_and_explanations_read_paths_alike() -> None:
    at = tenant(rules=(PUBLIC, ADMIN), shadow_rules=(ADMIN,), paths=IIS)
    assert match_next(at, request("/ADMIN./x")).rule is ADMIN
    told = explain(
        TenantTable.of([at]),
        Hypothesis("app.acme.com", "/ADMIN%20/x", "GET", "bob@acme.com", ("users",)),
        now=NOW,
    )
    assert told is not None
    assert told.next is not None
    assert isinstance(told.decision, Deny)
    assert (told.decision.reason, told.next.reason, told.decision.groups) == (
        Reason.GROUP_MISSING,
        Reason.GROUP_MISSING,
        ["admins"],
    )
    for path, why in {
        "/admin:x": "Windows",
        "/a" * (MAX_PATH_SEGMENTS + 1): "128 segments",
        "/public/‥/x": "two readers",
    }.items():
        judged = explain(
            TenantTable.of([at]),
            Hypothesis("app.acme.com", path, "GET", "bob@acme.com", ("users",)),
            now=NOW,
        )
        assert judged is not None
        assert isinstance(judged.decision, Deny)
        assert judged.decision.groups == ["admins"]
        assert [
            detail
            for step, passed, detail in judged.steps
            if step == "path"
            and passed
            and why in detail
            and "each of the following rules" in detail
        ]
        assert ("rule", True, "path /admin/**") in judged.steps
    refused = explain(
        TenantTable.of([replace(at, rules=(*at.rules, rule("/metrics", deny=True)))]),
        Hypothesis("app.acme.com", "/public//x", "GET"),
        now=NOW,
    )
    assert refused is not None
    assert refused.decision.reason is Reason.BAD_REQUEST
    assert [
        detail
        for step, passed, detail in refused.steps
        if step == "path" and not passed and "/metrics" in detail
    ]


def test_a_rule_for_what_windows_never_reads_is_refused() -> None:
    with pytest.raises(ValueError, match=r"paths\.windows"):
        IIS.spelling("/admin:x")


# --- never more generous than any reader of the kind ---------------------------------------------


def trimmed(path: str) -> str:
    return "/".join(segment.rstrip(". ") for segment in path.split("/"))


def last_trimmed(path: str) -> str:
    """As Windows documents it: all dots and spaces at the very end, one dot at the end of a
    folder's name.
    """
    *folders, last = path.split("/")
    return "/".join([*(folder.removesuffix(".") for folder in folders), last.rstrip(". ")])


def nfkc(path: str) -> str:
    return unicodedata.normalize("NFKC", path)


def nfc(path: str) -> str:
    return unicodedata.normalize("NFC", path)


def one_suffix_less(path: str) -> str:
    head, slash, last = path.rpartition("/")
    return head + slash + (last.rpartition(".")[0] or last)


def all_suffixes_less(path: str) -> str:
    head, slash, last = path.rpartition("/")
    return head + slash + (last.partition(".")[0] or last)


def as_it_is(path: str) -> str:
    return path


ALWAYS: list[Callable[[str], str]] = [
    as_it_is,
    trimmed,
    nfc,
    nfkc,
    lambda path: trimmed(nfkc(path)),
    lambda path: nfkc(path).partition("?")[0],
]
CASELESS: list[Callable[[str], str]] = [
    str.lower,
    str.casefold,
    lambda path: path.upper().lower(),
    lambda path: path.replace("\u0130", "i").lower(),
]


def after(last: Callable[[str], str], first: Callable[[str], str]) -> Callable[[str], str]:
    return lambda path: last(first(path))


KINDS: dict[str, tuple[PathReader, list[Callable[[str], str]]]] = {
    "strict": (STRICT, ALWAYS),
    "ignore_case": (MIXED, [after(a, b) for a, b in product(CASELESS, ALWAYS)]),
    "windows": (IIS, [after(a, b) for a, b in product(CASELESS, [as_it_is, trimmed])]),
    "unicode": (FOLDED, [nfc, nfkc, lambda path: trimmed(nfkc(path))]),
    "suffixes": (
        RAILS,
        [
            *ALWAYS,
            one_suffix_less,
            all_suffixes_less,
            lambda path: one_suffix_less(one_suffix_less(path)),
        ],
    ),
    "all": (
        PathReader(windows=True, unicode=True, suffixes=True),
        [
            after(a, after(nfkc, after(b, nfkc)))
            for a, b in product([one_suffix_less, all_suffixes_less, trimmed], CASELESS)
        ],
    ),
}
TEXTS = ["a", "b", "ab", "a.b", "1", "i", "s", "ss", "k", "é"]
VARIED: list[Callable[[str], str]] = [
    as_it_is,
    str.upper,
    str.title,
    lambda text: f"{text}.",
    lambda text: f"{text} ",
    lambda text: f"{text}. .",
    lambda text: f"{text}.b",
    lambda text: f"{text}.a.B",
    lambda text: "".join(
        chr(ord(character) + 0xFEE0) if character in "ab.1isk" else character for character in text
    ),
    lambda text: (
        text.replace("1", "①")
        .replace("i", "ı")
        .replace("ss", "ß")
        .replace("s", "ſ")
        .replace("k", "\u212a")
        .replace("é", "e\u0301")
    ),
    lambda text: text.replace("i", "İ").replace("ss", "ẞ"),
    lambda text: f"{text}／a",
    lambda text: f"{text}？b",
    lambda text: f"{text}\u00a0",
    lambda _: "‥",
    lambda _: "．",
]
PATHS = st.lists(
    st.builds(lambda text, vary: vary(text), st.sampled_from(TEXTS), st.sampled_from(VARIED)),
    min_size=1,
    max_size=2,
).map(lambda texts: "/" + "/".join(texts))
PATTERNS = st.lists(
    st.sampled_from([*TEXTS, "*", "**", "*.b", "a*", "A", "①", "ß", "ſ"]), min_size=1, max_size=2
).map(lambda parts: "/" + "/".join(parts))
WAYS: list[dict[str, object]] = [
    {},
    {"deny": True},
    {"public": True},
    {"groups": frozenset({"admins"})},
    {"groups": frozenset({"admins", "x"})},
    {"roles": frozenset({"r"})},
    {"groups": frozenset({"guests"}), "override_tenant_groups": True},
    {"bearer": BearerRule(frozenset({"c"}), frozenset())},
    {"methods": frozenset({"POST"}), "public": True},
    {"app_passwords": True},
    {"app_passwords": True, "groups": frozenset({"admins"})},
]
PEOPLE = [
    None,
    *(
        session(identity=identity(groups=groups, roles=roles))
        for groups in [(), ("users",), ("users", "admins"), ("guests",), ("users", "guests", "x")]
        for roles in [(), ("r",)]
    ),
]
MACHINE = MachineToken("c", frozenset(), "", "", 0)
CREDENTIALS: list[dict[str, Any]] = [{}, {"bearer": "t"}, {"app_password": "p"}]


@st.composite
def rules_about(draw: st.DrawFn) -> tuple[list[tuple[str, dict[str, object]]], str]:
    """Rules, and a path that is another spelling of what one of them is about."""
    made = draw(st.lists(st.tuples(PATTERNS, st.sampled_from(WAYS)), min_size=1, max_size=3))
    if draw(st.booleans()):
        return made, draw(PATHS)
    about = draw(st.sampled_from(made))[0].replace("**", "*").split("/")[1:]
    return made, "/" + "/".join(
        draw(st.sampled_from(VARIED))(segment.replace("*", draw(st.sampled_from(TEXTS))))
        for segment in about
    )


@settings(max_examples=300)
@given(rules_about(), st.sampled_from(sorted(KINDS)))
@example(([("/a/**", {"public": True}), ("/a/b", {"deny": True})], "/a/B"), "ignore_case")
@example(([("/**/*.b", {"public": True}), ("/a", {"deny": True})], "/a.b"), "suffixes")
@example(([("/a", {"deny": True}), ("/**", {"public": True})], "/a.a.b"), "suffixes")
@example(([("/s", {"public": True}), ("/*", {"deny": True})], "/ſ"), "ignore_case")
@example(([("/1", {"public": True}), ("/*", {"deny": True})], "/①"), "unicode")
@example(([("/a/**", {"public": True})], "/a/‥/b"), "strict")
def test_no_reader_serves_under_a_spelling_what_its_name_would_not_give(
    about: tuple[list[tuple[str, dict[str, object]]], str], kind: str
) -> None:
    made, path = about
    reader, reads = KINDS[kind]
    rules = tuple(rule(reader.spelling(pattern), **more) for pattern, more in made)
    parsed = canonical(quote(path))
    if parsed is None or not rules:
        return
    at = tenant(rules=rules, paths=reader)
    for credential in CREDENTIALS:
        asked = request(parsed.path, ambiguous=parsed.ambiguous, **credential)
        hold_for_readers(
            at,
            asked,
            [name for read in reads for name in (read(parsed.path), resolved(read(parsed.path)))],
        )


def hold_for_readers(at: Tenant, asked: AuthRequest, names: list[str]) -> None:
    """Whoever is let in would be let in under each of the names."""
    judged = match(at, asked)
    held: list[Held] = [(person, machine, None) for person in PEOPLE for machine in (MACHINE, None)]
    if asked.app_password is not None:
        held = [(person, None, password_of(whose)) for person in PEOPLE for whose in PEOPLE]
    let_in = [each for each in held if allows(at, asked, judged, *each)]
    if not let_in:
        return
    here = [
        one
        if one.hosts is None or includes(one.hosts, asked.host)
        else replace(one, path="/-no-path-")
        for one in at.rules
    ]
    unambiguous = replace(asked, ambiguous=False)
    # Names with the same rule are one question.
    found = {one_after_the_other(here, asked.method, name): name for name in names}
    for index, name in found.items():
        plain = (
            NO_RULE
            if index is None
            else Match(index, here[index], Reason.RULE_DENIED if here[index].deny else None)
        )
        for each in let_in:
            assert allows(at, unambiguous, plain, *each), (name, judged, plain)


def password_of(person: Session | None) -> AppPassword | None:
    return None if person is None else AppPassword(person, frozenset(), ("/",), NOW)


def allows(
    at: Tenant,
    asked: AuthRequest,
    matched: Match,
    person: Session | None,
    machine: MachineToken | None,
    password: AppPassword | None,
) -> bool:
    return isinstance(
        decide(at, asked, matched, session=person, machine=machine, password=password, now=NOW),
        Allow,
    )


# --- ambiguous paths: whatever a reader makes of one
# ------------------------------------------------


def resolved(path: str) -> str:
    """Without empty and dot segments."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts) + ("/" if parts and path.endswith(("/", "/.", "/..")) else "")


def decoded(path: str) -> str:
    return unquote(path, errors="replace")


def in_latin_1(path: str) -> str:
    return unquote(path, encoding="latin-1")


def without_parameters(path: str) -> str:
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))


def cut_off(path: str) -> str:
    return re.split("[?#;\\x00-\\x1f]", path, maxsplit=1)[0] or "/"


def with_slashes(path: str) -> str:
    return path.replace("\\", "/")


def last_named(path: str) -> str:
    """What some make of a path that begins with two slashes: a host, and the path after it."""
    return "/" + path[2:].partition("/")[2] if path.startswith("//") else path


STEPS = [
    as_it_is,
    decoded,
    in_latin_1,
    without_parameters,
    cut_off,
    with_slashes,
    last_named,
    resolved,
]
PIECES = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "a.b",
            "A",
            "/",
            "/",
            "//",
            "..",
            ".",
            "%2f",
            "%2F",
            "%2e",
            "%5c",
            "%252f",
            "%25",
            ";",
            ";x=1",
            "%3b",
            "%23",
            "#",
            "%3f",
            "%E9",
            "%C3",
            "%c0%ae",
            "%0a",
            "%20",
        ]
    ),
    min_size=1,
    max_size=6,
).map(lambda pieces: "/" + "".join(pieces))
HOSTS = st.sampled_from(
    [
        None,
        None,
        frozenset({"app.acme.com"}),
        frozenset({"*.acme.com"}),
        frozenset({"other.acme.com"}),
    ]
)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(PATTERNS | st.sampled_from(["/**", "/a/**"]), st.sampled_from(WAYS), HOSTS),
        min_size=1,
        max_size=4,
    ),
    PIECES,
    st.lists(st.sampled_from(STEPS), max_size=4),
    PATHS,
    st.sampled_from(["GET", "POST"]),
)
@example(
    [("/a/**", {"public": True}, None), ("/b", {"groups": frozenset({"admins"})}, None)],
    "/a/..%2fb",
    [decoded, resolved],
    "/",
    "GET",
)
@example([("/**", {"public": True}, None), ("/b", {"deny": True}, None)], "/a;x", [], "/", "GET")
@example(
    [("/**", {"groups": frozenset({"guests"}), "override_tenant_groups": True}, None)],
    "/a%E9",
    [],
    "/",
    "GET",
)
@example(
    [
        ("/a", {"methods": frozenset({"POST"}), "public": True}, None),
        ("/a", {"deny": True}, None),
    ],
    "/a%5c",
    [cut_off],
    "/a",
    "GET",
)
@example(
    [
        ("/a", {"methods": frozenset({"POST"}), "groups": frozenset({"admins"})}, None),
        ("/b", {"groups": frozenset({"admins"})}, None),
    ],
    "//b",
    [],
    "/b",
    "GET",
)
@example(
    [
        (
            "/a",
            {"bearer": BearerRule(frozenset({"c"}), frozenset()), "browser_sessions": False},
            None,
        )
    ],
    "//a",
    [],
    "/a",
    "GET",
)
def test_whatever_path_a_reader_makes_of_an_ambiguous_one_it_would_let_in_whom_the_gateway_does(
    made: list[tuple[str, dict[str, object], frozenset[str] | None]],
    raw: str,
    steps: list[Callable[[str], str]],
    other: str,
    method: str,
) -> None:
    parsed = canonical(raw)
    if parsed is None:
        return
    rules = tuple(rule(pattern, hosts=hosts, **more) for pattern, more, hosts in made)
    name = raw
    for step in steps:
        name = step(name)
    at, nobody = tenant(rules=rules), request(parsed.path, ambiguous=True, method=method)
    assert takes_app_passwords(match(at, nobody)) == takes_app_passwords(
        match(at, replace(nobody, app_password="x"))
    ), "a challenge where one is taken, and nowhere else"
    for credential in CREDENTIALS:
        asked = request(parsed.path, ambiguous=True, method=method, **credential)
        hold_for_readers(
            at,
            asked,
            [name, resolved(name), other, *(one.path.replace("*", "a") for one in rules)],
        )


@given(PATHS, st.sampled_from(sorted(KINDS)))
def test_all_names_are_paths_that_rules_may_be_asked_about(path: str, kind: str) -> None:
    parsed = canonical(quote(path))
    names = KINDS[kind][0].names(parsed.path) if parsed is not None and not parsed.ambiguous else ()
    assert isinstance(names, Unreadable) or (
        len(names) <= MAX_NAMES and sum(name.count("/") for name in names) <= MAX_NAME_SEGMENTS
    )
    if not isinstance(names, Unreadable):
        assert not any({".", ".."} & set(name.split("/")) or "//" in name for name in names)
