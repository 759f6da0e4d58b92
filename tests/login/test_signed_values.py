"""Values that go through a browser and come back."""

from __future__ import annotations

import pytest

from gateway.login.signed_values import keyed_hash, sign, stands_for, verify

OLD, NEW = b"o" * 32, b"n" * 32


def test_what_was_signed_opens_in_its_context_under_every_key_of_the_ring() -> None:
    signed = sign(lambda: (OLD, NEW), "acme", "login", "app.localhost")
    assert verify(lambda: (NEW, OLD), signed, "login", "app.localhost") == "acme"
    assert verify(lambda: (OLD,), signed, "login", "app.localhost") == "acme"
    assert verify(lambda: (NEW,), signed, "login", "app.localhost") is None, "a key that is gone"


@pytest.mark.parametrize(
    ("value", "context"),
    [
        ("acme", ("leave", "app.localhost")),
        ("acme", ("login", "other.localhost")),
        ("globex", ("login", "app.localhost")),
        ("me", ("login", "app.localhostac")),
        ("", ("login", "app.localhostacme")),
    ],
)
def test_it_opens_as_nothing_else_and_nowhere_else(value: str, context: tuple[str, ...]) -> None:
    signature = sign(lambda: (OLD,), "acme", "login", "app.localhost").rpartition(".")[2]
    assert verify(lambda: (OLD,), f"{value}.{signature}", *context) is None


@pytest.mark.parametrize(
    "given", ["", ".", "acme", "acme.", "\udcff.\udcfe", "acme." + "é" * 64, "acme." + "0" * 64]
)
def test_what_was_not_signed_is_nothing(given: str) -> None:
    assert verify(lambda: (OLD,), given, "login", "app.localhost") is None


def test_a_keyed_hash_stands_for_one_value_in_one_context_under_every_key_of_the_ring() -> None:
    keyed = keyed_hash(lambda: (OLD, NEW), "acme alice", "person", "app.localhost")
    assert len(keyed) == 32
    assert stands_for(lambda: (NEW, OLD), keyed, "acme alice", "person", "app.localhost")
    assert not stands_for(lambda: (NEW,), keyed, "acme alice", "person", "app.localhost")
    assert not stands_for(lambda: (OLD,), keyed, "acme bob", "person", "app.localhost")
    assert not stands_for(lambda: (OLD,), keyed, "acme alice", "person", "calendar.localhost")
    assert not any(
        stands_for(lambda: (OLD,), other, "acme alice", "person", "app.localhost")
        for other in ("", "\udcff", keyed[:-1], keyed + "0")
    )
