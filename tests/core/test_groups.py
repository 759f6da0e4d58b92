"""Every form in which Cognito hands on a multi-valued claim (AWS developer guide; forms seen in
public reports).
"""

from __future__ import annotations

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.groups import parse_groups


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ("", ()),
        ("  ", ()),
        ("[]", ()),
        (["a", "b", "a"], ("a", "b")),
        ("[Sales+EMEA, R%26D%2C+Core]", ("Sales EMEA", "R&D, Core")),
        ('["R&D, Core"]', ("R&D, Core",)),
        ("Sales, EMEA", ("Sales, EMEA",)),
        ("[a]", ("a",)),
        (" [a, b] ", ("a", "b")),
        ("[[1]]", ("[1]",)),
        ("[1, 2]", ("1", "2")),
        ('["a","b', None),
        ("[a, b", None),
        ([1], None),
        (7, None),
        ({"a": 1}, None),
        (True, None),
        (
            {"admin": {"2834": "acme.test"}, "viewer": {"2834": "acme.test", "9": "x"}},
            ("admin", "viewer"),
        ),
        ('{"admin":{"2834":"acme.test"}}', ("admin",)),
        ({"admin": {}}, ()),
        ({"admin": {"2834": "acme.test"}, "viewer": True}, None),
        ('{"admin":true}', None),
        ('{"admin":{"2834":"acme.te', ('{"admin":{"2834":"acme.te',)),
        ("{admins}", ("{admins}",)),
        ("[Team] Sales", ("[Team] Sales",)),
        ("[Team", None),
        ('["a]","b', None),
        ("{" * 100_000, ("{" * 100_000,)),
        ("[" * 100_000 + "]" * 100_000, ("[" * 99_999 + "]" * 99_999,)),
    ],
)
def test_form(value: object, expected: tuple[str, ...] | None) -> None:
    assert parse_groups(value, url_decode_groups=True) == expected


def test_without_form_decoding_a_plus_stays_a_plus() -> None:
    assert parse_groups("[C++, a%26b]", url_decode_groups=False) == ("C++", "a%26b")


NAMES = st.lists(
    st.text(min_size=1, max_size=12).filter(lambda s: s.strip() == s and s),
    min_size=1,
    max_size=5,
    unique=True,
)


@given(NAMES)
def test_what_cognito_encodes_comes_back(names: list[str]) -> None:
    flattened = (
        "[" + ", ".join(quote_plus(name, safe=".-*_", errors="replace") for name in names) + "]"
    )
    expected = tuple(dict.fromkeys(n.encode(errors="replace").decode() for n in names))
    assert parse_groups(flattened, url_decode_groups=True) == expected or flattened.count("[") != 1


@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(st.one_of(st.text(), st.integers())),
        st.integers(),
        st.none(),
    )
)
def test_nothing_raises_and_no_name_is_blank(value: object) -> None:
    names = parse_groups(value, url_decode_groups=True)
    assert names is None or all(names)
