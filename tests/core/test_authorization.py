"""What of an Authorization header is ours, and what an application receives."""

from __future__ import annotations

import base64
import binascii
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.authorization import MAX_BASIC_CHARACTERS, PREFIX, Authorization, Basic, read

PASSWORD = PREFIX + "x" * 69


def basic(text: str, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], Authorization()),
        (["Bearer abc"], Authorization("abc", None, "Bearer abc")),
        (["token abc"], Authorization(None, None, "token abc")),
        (
            [basic("alice:secret")],
            Authorization(None, None, basic("alice:secret"), Basic("alice", "secret")),
        ),
        (["Basic \udcff"], Authorization(None, None, "", Basic())),
        (["Bearer a", "Bearer b"], Authorization("", None, "")),
        ([basic("bob:p:w")], Authorization(None, None, basic("bob:p:w"), Basic("bob", "p:w"))),
        ([basic("bob", "bAsIc")], Authorization(None, None, basic("bob", "bAsIc"), Basic())),
        (["basic  YTpi"], Authorization(None, None, "basic  YTpi", Basic())),
        (["Basic"], Authorization(None, None, "Basic", Basic())),
        (["Basic YQ=!"], Authorization(None, None, "Basic YQ=!", Basic())),
        (
            ["Basic " + base64.b64encode(b"\xff:a").decode()],
            Authorization(None, None, "Basic " + base64.b64encode(b"\xff:a").decode(), Basic()),
        ),
        ([basic(f"alice:{PASSWORD}")], Authorization(None, PASSWORD, "")),
        ([basic(f":{PASSWORD}", "bAsIc")], Authorization(None, PASSWORD, "")),
        ([basic(f"\u00e9:{PASSWORD}")], Authorization(None, PASSWORD, "")),
        ([basic(f"alice:{PASSWORD}"), "Bearer a"], Authorization("", "", "")),
        ([basic(f"alice:{PASSWORD}y")], Authorization(None, "", "")),
        ([basic(f"alice:x{PASSWORD}")], Authorization(None, "", "")),
        ([basic(PASSWORD)], Authorization(None, "", "")),
        ([basic(f"{PASSWORD}:")], Authorization(None, "", "")),
        ([f"Bearer {PASSWORD}"], Authorization(None, "", "")),
        ([f"Basic {PASSWORD}"], Authorization(None, "", "")),
        (
            ["Basic " + base64.b64encode(b"\xff:" + PASSWORD.encode()).decode()],
            Authorization(None, "", ""),
        ),
        ([basic(f"alice:{PASSWORD}").replace("Basic ", "Basic\t")], Authorization(None, "", "")),
        ([basic(f"alice:{PASSWORD}").replace("Basic ", "Basic  ")], Authorization(None, "", "")),
        ([basic(f"alice:{PASSWORD}") + "="], Authorization(None, "", "")),
        ([basic("a:") + base64.b64encode(PASSWORD.encode()).decode()], Authorization(None, "", "")),
    ],
)
def test_what_a_header_holds(lines: list[str], found: Authorization) -> None:
    assert read(lines) == found
    assert PASSWORD not in repr(read(lines))
    assert "p:w" not in repr(read(lines))


def test_a_strangers_header_is_read_in_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    read_so_often = 0

    def decode(text: bytes, *, strict_mode: bool = False) -> bytes:
        nonlocal read_so_often
        read_so_often += 1
        return binascii_decode(text, strict_mode=strict_mode)

    binascii_decode = binascii.a2b_base64
    monkeypatch.setattr(binascii, "a2b_base64", decode)
    pieces = "=".join(str(number) for number in range(20_000))
    fits = f"Basic {pieces}"[:MAX_BASIC_CHARACTERS]
    assert read([fits]).passed == fits
    assert read_so_often <= 7
    seven = f"Basic {'='.join(str(number) for number in range(1_000_000, 1_010_000))}"
    assert read([seven[:MAX_BASIC_CHARACTERS]]).passed
    assert read_so_often <= 14, "however many pieces there are"
    read_so_often = 0
    assert read([seven]) == Authorization(app_password=""), (
        "longer than what is looked into: it reaches no application"
    )
    assert read_so_often <= 1
    long = "Bearer " + "x" * 30_000
    assert read([long]).passed == long, "other schemes are as long as they like"


@given(
    st.text(max_size=8),
    st.text(max_size=8),
    st.sampled_from(["Basic ", "basic  ", "BASIC\t", " Basic "]),
    st.lists(st.tuples(st.integers(0, 140), st.sampled_from([*"=-_! \t,\"'"]))),
    st.booleans(),
)
def test_no_lenient_reader_finds_an_app_password_in_what_is_left(
    user: str, behind: str, scheme: str, noise: list[tuple[int, str]], url_safe: bool
) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    text = encode(f"{user}:{PASSWORD}{behind}".encode("utf-8", "surrogatepass")).decode()
    for at, character in noise:
        text = text[:at] + character + text[at:]
    passed = read([scheme + text]).passed
    for alphabet in (passed, passed.replace("-", "+").replace("_", "/")):
        with contextlib.suppress(binascii.Error, ValueError):
            assert PREFIX.encode() not in base64.b64decode(alphabet.strip()[5:].strip() + "==")
