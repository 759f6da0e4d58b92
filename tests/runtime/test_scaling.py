"""Nobody makes a process slow with a long text: work at n and at 8n, for every pattern and for what
reads foreign input.

A new pattern is tried by itself, and has to stand in ``docs/developer/untrusted-input.md``. A new
function is one line in ``READERS``.

CPU time of this thread, the best of several runs, so that other work on the machine does not count.
Linear work takes 8 times as long, quadratic 64.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from re import _constants as op  # the parse tree of a pattern has no public module
from re import _parser as parser
from time import thread_time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.admin.parsing import parse_json
from gateway.admin.redaction import redacted
from gateway.check.dialects import RawRequest
from gateway.check.dialects.forwarded import names_html, parse_forwarded
from gateway.check.trusted_peer import Trust
from gateway.cognito.error_diagnosis import MAX_DESCRIPTION, SYMPTOMS, diagnose
from gateway.config.model import Ingress
from gateway.core import authorization
from gateway.core.canonical import address_spellings, canonical_address, canonical_id
from gateway.core.cookies import names_below, own_values, without
from gateway.core.decide import match
from gateway.core.groups import parse_groups
from gateway.core.header_encoding import Encoding, encode_list, encode_value
from gateway.core.hosts import canonical_host, email_domain, parse_host_header
from gateway.core.paths import canonical
from gateway.core.probe import nonce_in, spells_location
from gateway.core.readings import PathReader
from gateway.core.returns import safe_return
from gateway.hooks.event import json_object
from gateway.hooks.scim.filter import parse_filter, parse_path
from gateway.log import redact, shown
from gateway.login.request import MAX_HOPS, client_of
from gateway.pages.language import negotiate
from tests.core.build import request, rule, tenant
from tests.support.source import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
LONG = 16_000
"""Characters: a quarter of the longest header line that is read, and longer than anything that is
bounded.
"""
PATTERN_LONG = 8_000
"""Characters for each of the many things that a pattern is tried with."""
LINEAR = 24
"""Times as long that eight times the input may take."""
UNNOTICED_S = 0.002
"""CPU seconds for ``LONG``; below, a ratio would measure the clock."""
RUNS = 5


def cost_s(work: Callable[[], object]) -> float:
    """CPU seconds, best of several."""
    best = float("inf")
    for _ in range(RUNS):
        began = thread_time()
        with suppress(Exception):  # a refusal is as good as an answer; its cost counts
            work()
        best = min(best, thread_time() - began)
        if best < UNNOTICED_S:
            break
    return best


def assert_linear(
    read: Callable[[str], object], text_of: Callable[[int], str], *, longest: int = LONG
) -> None:
    for length in (
        longest,
        longest * 8,
    ):  # a bound within the pattern may end between the first two
        eightfold = cost_s(partial(read, text_of(length)))
        if eightfold <= UNNOTICED_S:
            return
        if eightfold < LINEAR * cost_s(partial(read, text_of(length // 8))):
            return
    raise AssertionError(f"{eightfold:.3f} s for {length} characters like {text_of(24)!a}")


# --- regular expressions -------------------------------------------------------------------------


class Pattern(NamedTuple):
    """``name`` as the page lists it: of the constant, or of the function that has it inline."""

    module: str
    name: str
    compiled: re.Pattern[str] | None
    methods: frozenset[str]


SEARCHES = {"search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"}


ROOMS = sorted({path.stem for path in (ROOT / "gateway").iterdir()} - {"__pycache__"})


def patterns(room: str = "*") -> Iterator[Pattern]:
    """Every use of ``re`` in the gateway, or in one of its rooms."""
    files = [*ROOT.glob(f"gateway/{room}.py"), *ROOT.glob(f"gateway/{room}/**/*.py")]
    for path in sorted(files):
        if not re.search(
            r"^\s*import .*\bre\b", path.read_text(encoding="utf-8"), re.MULTILINE
        ):  # parsing the whole gateway takes a second
            continue
        tree = parsed(path)
        if not any(
            isinstance(node, ast.Import) and any(name.name == "re" for name in node.names)
            for node in ast.walk(tree)
        ):
            continue
        module = str(path.relative_to(ROOT))
        for scope, call in _calls(tree, "(module)"):
            method: str = call.func.attr  # type: ignore[attr-defined]  # chosen by _calls
            if method != "compile":
                text = call.args[0].value if isinstance(call.args[0], ast.Constant) else None
                yield Pattern(
                    module,
                    scope,
                    re.compile(str(text)) if text is not None else None,
                    frozenset({method}),
                )
                continue
            constant = getattr(
                importlib.import_module(module.removesuffix(".py").replace("/", ".")), scope, None
            )
            assert constant is not None, (
                f"{module}: {scope}: patterns are constants of their module"
            )
            used = {
                node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == scope
            }
            for compiled in constant.values() if isinstance(constant, Mapping) else (constant,):
                yield Pattern(
                    module, scope, compiled, frozenset(used & SEARCHES) or frozenset({"fullmatch"})
                )


def _calls(node: ast.AST, scope: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of ``re``, each with the constant it makes or the function it stands in."""
    for child in ast.iter_child_nodes(node):
        inner = scope
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = child.name
        elif isinstance(child, ast.Assign | ast.AnnAssign) and scope == "(module)":
            target = child.targets[0] if isinstance(child, ast.Assign) else child.target
            inner = target.id if isinstance(target, ast.Name) else scope
        if (
            isinstance(child, ast.Call)
            and isinstance(child.func, ast.Attribute)
            and isinstance(child.func.value, ast.Name)
            and child.func.value.id == "re"
            and child.func.attr in {"compile", *SEARCHES}
        ):
            yield inner, child
        yield from _calls(child, inner)


def samples(tree: Any) -> list[str]:
    """A text for each way through a pattern, as short as it allows; good enough to begin a match
    with.
    """
    texts = [""]
    for what, value in tree:
        texts = [text + more for text in texts for more in _pieces(what, value)][:16]
    return texts


def _pieces(what: Any, value: Any) -> list[str]:
    match what:
        case op.LITERAL:
            return [chr(value)]
        case op.NOT_LITERAL | op.ANY:
            return ["a"]
        case op.IN:
            return _members(value)
        case op.MAX_REPEAT | op.MIN_REPEAT | op.POSSESSIVE_REPEAT:
            least, _, inner = value
            return [text * max(least, 1) for text in samples(inner)]
        case op.SUBPATTERN:
            return samples(value[-1])
        case op.ATOMIC_GROUP:
            return samples(value)
        case op.BRANCH:
            return [text for branch in value[1] for text in samples(branch)]
        case op.ASSERT:
            return samples(value[1])
        case _:
            return [""]


def _members(members: Any) -> list[str]:
    known = {op.CATEGORY_DIGIT: "0", op.CATEGORY_WORD: "a", op.CATEGORY_SPACE: " "}
    if members[0][0] is op.NEGATE:
        return ["a"]
    return [
        chr(value)
        if what is op.LITERAL
        else chr(value[0])
        if what is op.RANGE
        else known.get(value, "a")
        for what, value in members
    ][:4]


def attacks(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """What to begin with, and what to repeat after it: beginnings of what it matches, and each of
    its characters.
    """
    texts = samples(parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))
    beginnings = {
        text[:length] for text in texts for length in (*range(1, min(len(text), 24) + 1), len(text))
    } - {""}
    characters = {character for text in texts for character in text}
    yield from (("", unit) for unit in sorted(beginnings | characters))
    # One beginning and then one character, for what goes back to each place behind it.
    yield from (
        (text, unit) for text in sorted(beginnings, key=len)[:16] for unit in sorted(characters)[:8]
    )


SYMPTOM_PATTERNS = [
    Pattern(
        "gateway/cognito/error_diagnosis.py",
        symptom.text,
        re.compile(symptom.text, re.IGNORECASE),
        frozenset({"search"}),
    )
    for symptom in SYMPTOMS
]


@pytest.mark.parametrize("room", ROOMS)
def test_a_pattern_takes_linear_time_whatever_is_repeated(room: str) -> None:
    for pattern in dict.fromkeys(patterns(room)):
        take_linear_time(pattern)


@pytest.mark.parametrize("pattern", SYMPTOM_PATTERNS, ids=lambda pattern: pattern.name)
def test_a_symptoms_pattern_takes_linear_time(pattern: Pattern) -> None:
    """Of a description, of which no more is read."""
    take_linear_time(pattern, longest=MAX_DESCRIPTION)


def take_linear_time(pattern: Pattern, *, longest: int = PATTERN_LONG) -> None:
    if pattern.compiled is None:
        return
    for method in sorted(pattern.methods):
        search = getattr(pattern.compiled, method)
        read = (
            partial(search, "")
            if method in {"sub", "subn"}
            else (lambda text, search=search: list(search(text)))
            if method == "finditer"
            else search
        )
        for first, unit in attacks(pattern.compiled):
            for last in ("", "\x01"):
                assert_linear(
                    read,
                    lambda n, first=first, unit=unit, last=last: (  # type: ignore[misc]
                        first + unit * (n // len(unit)) + last
                    ),
                    longest=longest,
                )


def test_the_measure_finds_a_quadratic_pattern() -> None:
    quadratic = re.compile(r"a+b")
    with pytest.raises(AssertionError, match="characters like"):
        assert_linear(quadratic.search, lambda n: "a" * n, longest=3_000)
    assert ("", "a") in set(attacks(quadratic))
    assert ("a@", ".") in set(attacks(re.compile(r"a@[a.]+\.[a.]+b")))


# --- what reads foreign input --------------------------------------------------------------------

HEADERS = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "app.acme.com",
    "X-Forwarded-Uri": "/",
}
HOSTILE = tenant(
    rules=tuple(
        rule(glob)
        for glob in (
            "/**/a/**/a/**/a/**/a/**/a/x",
            "/**/api/**/admin",
            "/**/*a*a*a*b/**",
            "/**/a*/*a/a/b/**",
        )
    )
)
LOOSE = PathReader(windows=True, unicode=True, suffixes=True)


SERVICES: Any = SimpleNamespace(trust=Trust(Ingress()))


def client(forwarded_for: str) -> str:
    """Whom the browser's pages take for the client, behind a proxy on this machine."""
    return client_of(
        make_mocked_request("GET", "/", headers={"X-Forwarded-For": forwarded_for}), SERVICES
    )


def checked(header: str) -> Callable[[str], object]:
    """A whole check request with a long header."""
    return lambda text: parse_forwarded(
        RawRequest("GET", "/", CIMultiDict({**HEADERS, header: text}), "127.0.0.1"),
        cookie_name="__Host-gw",
    )


def ruled(text: str) -> object:
    path = canonical(text)
    return path and match(HOSTILE, request(path.path, ambiguous=path.ambiguous))


READERS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "path": (canonical, ("%41", "/a", "%C3%A9", "%", "/..", "%25", "/.")),
    "path with rules": (
        ruled,
        (
            "a",
            "/a",
            "/api",
            "/aa",
            "%C3%A9",
            "%CC%95%CC%80",
            "%E0%BD%B3",
            "%EF%B7%BA",
            "/a.",
            "/%20",
        ),
    ),
    "names of a path": (
        LOOSE.names,
        (
            "a",
            "/A.",
            ".b",
            "\u00df\u0130.b",
            "\u00e9",
            "\u0315\u0300",
            "\u0f73",
            "\ufdfa",
            "\u00df",
            "\uff0f",
            " /",
        ),
    ),
    "rule as written": (LOOSE.spelling, ("/A.", "\u0315\u0300", "\u0f73", "\u00df")),
    "Cookie": (checked("Cookie"), ("a=b;", ";", " ", "a ", "__Host-gw=x;", "=", "\t;")),
    "cookies of ours": (lambda text: own_values((text,), "__Host-gw"), ("__Host-gw=a;", " ", "= ")),
    "cookies below a name": (
        lambda text: names_below((text,), "__Host-gw-at-"),
        ("__Host-gw-at-a=a;", "__Host-gw-at-"),
    ),
    "cookies for the application": (
        lambda text: without((text,), "__Host-gw"),
        ("a=b; ", "__Host-gw=a;", "a" + " " * 100),
    ),
    "X-Forwarded-Uri": (checked("X-Forwarded-Uri"), ("/a", "/%41", "?a=b&", "/\u00e9", "%2e%2e/")),
    "X-Forwarded-Host": (checked("X-Forwarded-Host"), ("a.", "a-", "a", ":", "1")),
    "X-Forwarded-For": (checked("X-Forwarded-For"), ("127.0.0.1,", ",", " ", "::1,")),
    "client of a page": (client, ("127.0.0.1,", ",", "fe80::1%a", "203.0.113.1,")),
    "Accept": (checked("Accept"), ("text/html;q=0;", "text/html,", ";", " ,", ";q=0 ")),
    "Authorization": (checked("Authorization"), ("Bearer ", "=", "a", " ")),
    "media types": (lambda text: names_html((text,)), ("a;", "text/html ;", ",")),
    "Basic credential": (
        lambda text: authorization.read((f"Basic {text}",)),
        ("a", "=", "a=", "Z3dhcF8", "-", " "),
    ),
    "bearer token": (lambda text: authorization.read((f"Bearer {text}",)), ("a", "=", "a=")),
    "Accept-Language": (negotiate, ("en,", "a-", " ", "en;q=", "en-a", ";q=0.1 ")),
    "wire host": (parse_host_header, ("a.", "a-", "0", ":", "xn--")),
    "configured host": (
        canonical_host,
        ("a.", "\u00fc", "\u00fc.", "\u0315\u0300", "\u0660", "xn--a."),
    ),
    "e-mail domain": (email_domain, ("a@", "a.", "@\u00fc", "\u0300")),
    "canonical address": (
        canonical_address,
        ("a@", "\u00e9", "\u0315\u0300", "\u0f73", "@\u00fc.", "\u00df"),
    ),
    "canonical id": (canonical_id, ("a", "\u00e9", "\u0315\u0300", "\u0f73", "0-")),
    "spellings of an address": (address_spellings, ("a@xn--", "\u00e9", "\u0f73")),
    "groups": (
        lambda text: parse_groups(f"[{text}]", url_decode_groups=True),
        ("a,", "[", "%41", '"a",', ", ", "a+"),
    ),
    "value of a header": (encode_value, ("\u00e9", " ", "%", "a")),
    **{
        f"value of a header in {encoding}": (
            partial(encode_value, encoding=encoding),
            ("\u00e9", " ", "=?", "%a"),
        )
        for encoding in Encoding
    },
    "list in a header": (lambda text: encode_list(text.split("a")), ("a", "\u00e9a", ",", " a")),
    "return address": (
        partial(safe_return, origin="https://a.test", allowed=lambda _: "https://a.test"),
        ("/a", "/%25", "https://", "/..", "?", "%25"),
    ),
    "doctor's nonce": (nonce_in, ("?gateway-doctor=", "&gateway-doctor=" + "a" * 42, "?")),
    "doctor's path": (spells_location, ("/", "%2525", "x/../", "/..;")),
    "JSON of the admin API": (
        lambda text: parse_json(text.encode()),
        ("[", '{"a":', "1", '"a",', " ", "\\u0041"),
    ),
    "JSON of hooks": (lambda text: json_object(text.encode()), ("[", '{"a":', "1", " ")),
    "error description": (
        lambda text: diagnose("invalid_request", text),
        ("a", "attribute ", " ", "invalid_", "user"),
    ),
    "text in the log": (redact, ("eyJ", "eyJhbGciOi.", "code=", "://a:", "Bearer ", "a.")),
    "long text in the log": (shown, ("eyJ", "eyJhbGciOi.", "://a:")),
    "filter of SCIM": (
        parse_filter,
        ("urn:", "urn:a:", 'a eq "b" and ', "a ", '"', "\\", "urn:a:b eq "),
    ),
    "path of SCIM": (parse_path, ("urn:", "urn:a:", "a[", "a.", 'a[b eq "', "-")),
    "audit record": (lambda text: redacted({text: [text]}), ("secret", "api", "a")),
}
"""What is read, by which function, and what to repeat."""


@pytest.mark.parametrize(
    ("reader", "unit"),
    [(name, unit) for name, (_, units) in READERS.items() for unit in units],
    ids=ascii,
)
def test_a_reader_of_foreign_text_takes_linear_time(reader: str, unit: str) -> None:
    read = READERS[reader][0]
    first = "/" if "path" in reader or reader == "X-Forwarded-Uri" else ""
    for longest in (LONG, 4000):  # beyond what is bounded, and just within
        assert_linear(read, lambda n: first + unit * (n // len(unit)), longest=longest)


def test_of_forwarded_addresses_the_last_few_are_read_and_none_with_a_zone() -> None:
    ours = ["127.0.0.1"] * (MAX_HOPS - 1)
    assert client(",".join(["203.0.113.1", *ours])) == "203.0.113.1"
    assert client(",".join(["203.0.113.1", *ours, "127.0.0.1"])) == "127.0.0.1"
    assert client("fe80::1%" + "a" * 1000) == "127.0.0.1"
