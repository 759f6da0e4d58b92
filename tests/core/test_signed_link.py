from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import signed_link

KEY, OLD = b"k" * 32, b"o" * 32
NOW = 1_800_000_000


def token(key: bytes = KEY, tenant: str = "acme", expires_at: int = NOW + 60) -> str:
    return signed_link.issue(
        key, tenant, chance=b"c" * signed_link.CHANCE_BYTES, expires_at=expires_at
    )


def test_a_link_of_ours_says_whose_it_is_until_it_expires() -> None:
    found = signed_link.parse([KEY], token(), now=NOW)
    assert found is not None
    assert (found.tenant, found.expires_at) == ("acme", NOW + 60)
    assert signed_link.parse([KEY], token(), now=NOW + 60) is None


def test_a_link_that_was_made_under_any_key_of_the_ring_is_ours() -> None:
    assert signed_link.parse([KEY, OLD], token(OLD), now=NOW) is not None
    assert signed_link.parse([KEY], token(OLD), now=NOW) is None
    assert signed_link.parse([], token(), now=NOW) is None


def test_a_link_with_another_client_says_so_in_its_name_and_is_no_other() -> None:
    made = signed_link.issue(KEY, "acme", chance=b"c" * 16, expires_at=NOW + 60, lent=True)
    found, own = (signed_link.parse([OLD, KEY], text, now=NOW) for text in (made, token()))
    assert found is not None and own is not None
    assert found.name == signed_link.LENT + own.name and made != token()


def test_its_name_is_no_link() -> None:
    found = signed_link.parse([KEY], token(), now=NOW)
    assert found is not None
    assert found.name not in token()
    assert signed_link.parse([KEY], found.name, now=NOW) is None


def test_what_is_no_base64_is_no_link() -> None:
    for text in ("", "!", token()[:-1] + "!", "é" * 40, token() * 100):
        assert signed_link.parse([KEY], text, now=NOW) is None


@given(position=st.integers(min_value=0, max_value=60), bit=st.integers(min_value=0, max_value=7))
def test_no_bit_of_it_may_change(position: int, bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(token() + "=" * (-len(token()) % 4)))
    raw[position % len(raw)] ^= 1 << bit
    assert (
        signed_link.parse(
            [KEY], base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode(), now=NOW
        )
        is None
    )


@given(st.text(max_size=300))
def test_anything_else_is_no_link_and_no_fault(text: str) -> None:
    assert signed_link.parse([KEY], text, now=NOW) is None


@pytest.mark.parametrize("tenant", ["a", "a" * 40, "a-b-1"])
def test_every_tenant_can_have_one(tenant: str) -> None:
    made = token(tenant=tenant)
    assert len(made) <= signed_link.MAX_CHARACTERS
    found = signed_link.parse([KEY], made, now=NOW)
    assert found is not None
    assert found.tenant == tenant
