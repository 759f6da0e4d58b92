"""Tokens, sealing and aliases: one spelling, and nothing opens that was not sealed for exactly
this.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Identity, PendingLogin, Session
from gateway.keys import ring as keys
from gateway.sessions import codec, seal
from gateway.sessions.aliases import MAX_GROUPS_KEPT, AliasIndex
from gateway.sessions.keyspace import BUCKETS, bucket_of, prefix
from tests.sessions.conftest import identity

if TYPE_CHECKING:
    from collections.abc import Callable

RING = keys.generate().sealing
OTHER = keys.generate().sealing
TEXT = st.text(max_size=40)
NAME = st.text(max_size=60).filter(lambda text: len(text.encode("utf-8", "surrogatepass")) < 250)
NAMES = NAME.filter(lambda text: text.isprintable())


@given(st.integers(0, BUCKETS - 1), st.binary(min_size=32, max_size=32))
def test_a_token_has_one_spelling(bucket: int, random: bytes) -> None:
    token = seal.Token(bucket, random)
    assert seal.parse_token(token.text) == token
    assert len(token.text) == 46
    for changed in (
        token.text + "=",
        token.text.upper() if token.text != token.text.upper() else "",
        " " + token.text,
        token.text + "\n",
        token.text[:-1],
    ):
        parsed = seal.parse_token(changed)
        assert parsed is None or parsed.random != token.random


@given(st.text(max_size=60))
def test_whatever_parses_is_spelled_that_way(text: str) -> None:
    token = seal.parse_token(text)
    assert token is None or token.text == text


@given(st.from_regex(r"[0-3][0-9a-f]{2}[A-Za-z0-9_-]{43}", fullmatch=True))
def test_what_nearly_is_a_token_is_one_or_none(text: str) -> None:
    token = seal.parse_token(text)
    assert token is None or (token.text == text and 0 <= token.bucket < BUCKETS)


def test_what_is_shown_of_a_token_names_no_key_of_the_store() -> None:
    token = seal.Token(1, b"r" * 32)
    assert token.digest not in repr(token) and token.text not in repr(token)


def test_the_derivation_is_the_librarys_hkdf() -> None:
    secret, salt, info = secrets.token_bytes(32), secrets.token_bytes(32), b"info"
    assert seal.derive(secret, salt=salt, info=info) == HKDF(SHA256(), 32, salt, info).derive(
        secret
    )
    assert seal.derive(secret, salt=b"", info=info) == HKDF(SHA256(), 32, None, info).derive(secret)


@given(st.binary(max_size=300), NAMES, NAMES)
def test_sealed_values_open_and_say_where_they_belong(
    plaintext: bytes, tenant: str, host: str
) -> None:
    token = seal.new_token(5, secrets.token_bytes)
    value = seal.seal(
        "session",
        token,
        plaintext,
        tenant=tenant,
        host=host,
        key=RING[0],
        entropy=secrets.token_bytes,
    )
    assert seal.unseal("session", token, value, keys=(*OTHER, *RING)) == seal.Opened(
        RING[0].kid, tenant, host, plaintext
    )


def sealed() -> tuple[seal.Token, bytes]:
    token = seal.new_token(5, secrets.token_bytes)
    return token, seal.seal(
        "session",
        token,
        b"plaintext",
        tenant="acme",
        host="acme.example.com",
        key=RING[0],
        entropy=secrets.token_bytes,
    )


CHANGES: dict[str, Callable[[seal.Token, bytes], seal.Opened | None]] = {
    "another_purpose": lambda token, value: seal.unseal("ticket", token, value, keys=RING),
    "another_token": lambda _, value: seal.unseal(
        "session", seal.new_token(5, secrets.token_bytes), value, keys=RING
    ),
    "another_ring": lambda token, value: seal.unseal("session", token, value, keys=OTHER),
    "another_key_of_the_same_name": lambda token, value: seal.unseal(
        "session", token, value, keys=(replace(OTHER[0], kid=RING[0].kid),)
    ),
    "another_tenant": lambda token, value: seal.unseal(
        "session", token, value.replace(b"\x04acme\x10", b"\x04evil\x10"), keys=RING
    ),
    "another_host": lambda token, value: seal.unseal(
        "session", token, value.replace(b"acme.example.com", b"evil.example.com"), keys=RING
    ),
    "another_version": lambda token, value: seal.unseal(
        "session", token, b"\x02" + value[1:], keys=RING
    ),
    "nothing": lambda token, _: seal.unseal("session", token, b"", keys=RING),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_changed_does_not_open(
    change: Callable[[seal.Token, bytes], seal.Opened | None],
) -> None:
    token, value = sealed()
    assert change(token, value) is None


@given(st.data())
def test_no_bit_may_change_and_no_byte_be_missing(data: st.DataObject) -> None:
    token, value = sealed()
    position = data.draw(st.integers(0, len(value) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    assert (
        seal.unseal(
            "session",
            token,
            value[:position] + bytes([value[position] ^ bit]) + value[position + 1 :],
            keys=RING,
        )
        is None
    )
    assert seal.unseal("session", token, value[:position], keys=RING) is None


@given(st.binary(max_size=120))
def test_arbitrary_bytes_open_nothing_and_raise_nothing(value: bytes) -> None:
    token = seal.new_token(1, secrets.token_bytes)
    assert seal.unseal("session", token, value, keys=RING) is None
    assert seal.unseal_under(RING, "display", "name", value) is None


def test_display_records_open_for_their_family_only() -> None:
    value = seal.seal_under(RING[0], "display", "acme f1", b"who", entropy=secrets.token_bytes)
    assert seal.unseal_under((*OTHER, *RING), "display", "acme f1", value) == b"who"
    for purpose, name, ring in (
        ("display", "acme f2", RING),
        ("refresh", "acme f1", RING),
        ("display", "acme f1", OTHER),
    ):
        assert seal.unseal_under(ring, purpose, name, value) is None


@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, min_size=1, max_size=4))
def test_aliases_never_run_together(first: list[str], second: list[str]) -> None:
    aliases = seal.Aliases(RING[0])
    assert (aliases.of("acme", *first) == aliases.of("acme", *second)) == (first == second)
    assert aliases.of("acme", *first) != aliases.of("globex", *first)
    assert aliases.of("acme", *first) != seal.Aliases(OTHER[0]).of("acme", *first)
    assert len(aliases.of("acme", *first)) == 22


def test_the_alias_of_a_name_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[bytes] = []
    aliases = seal.Aliases(RING[0])

    def digest(key: bytes, message: bytes, name: str) -> bytes:
        counted.append(bytes(message))
        return hmac.digest(key, message, name)

    monkeypatch.setattr("gateway.sessions.seal.hmac", SimpleNamespace(digest=digest))
    named = [aliases.of("acme", "group", name) for name in ("a", "b", "a", "b")]
    assert len(counted) == len(set(counted)) == 2
    assert named == [aliases._of("acme", "group", name) for name in ("a", "b")] * 2


IDENTITIES = st.builds(
    Identity,
    sub=TEXT,
    email=TEXT,
    email_domain=TEXT,
    username=TEXT,
    preferred_username=TEXT,
    name=TEXT,
    groups=st.lists(TEXT, max_size=4).map(tuple),
    roles=st.lists(TEXT, max_size=3).map(tuple),
    provider=TEXT,
    idp_subject=TEXT,
    oid=TEXT,
    claims=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
)
NUMBERS = st.integers(0, 2**53)
RECORDS = st.builds(
    codec.Record,
    session=st.builds(
        Session,
        digest=st.just("d"),
        tenant=st.just("t"),
        host=st.just("h"),
        family=TEXT,
        identity=IDENTITIES,
        began=NUMBERS,
        auth_time=NUMBERS,
        created_at=NUMBERS,
        expires_at=NUMBERS,
        client_id=TEXT,
    ),
    parent=TEXT,
    family_key=st.binary(min_size=32, max_size=32),
    idle_s=NUMBERS,
)


@given(RECORDS)
def test_records_come_back_as_they_were(record: codec.Record) -> None:
    assert codec.load_record(codec.dump_record(record), digest="d", tenant="t", host="h") == record
    assert codec.load_ticket(
        codec.dump_ticket(codec.Ticket(record, "https://h/")), tenant="t"
    ) == codec.Ticket(record, "https://h/")


@given(st.builds(PendingLogin, *[TEXT] * 8, NUMBERS, st.booleans(), TEXT, pool=TEXT))
def test_pending_logins_come_back_as_they_were(pending: PendingLogin) -> None:
    assert codec.load_pending(codec.dump_pending(pending)) == pending


@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | TEXT,
            lambda inner: st.lists(inner, max_size=12),
        ).map(lambda v: repr(v).encode("utf-8", "replace")),
    )
)
def test_an_unknown_version_or_shape_is_nothing(raw: bytes) -> None:
    assert codec.load_record(raw, digest="d", tenant="t", host="h") is None
    assert codec.load_pending(raw) is None
    assert codec.load_display(raw) is None
    assert codec.load_ticket(raw, tenant="t") is None
    assert (
        codec.load_display(
            codec.dump_display(codec.Display("u", "e", "n", "p", 1, "a")).replace(b"[1,", b"[2,", 1)
        )
        is None
    )


def test_tenants_spread_over_the_buckets() -> None:
    counts = [0] * BUCKETS
    for number in range(20 * BUCKETS):
        counts[bucket_of(f"tenant-{number}")] += 1
    assert min(counts) > 0
    assert max(counts) < 60
    assert prefix(0x2A7) == "gw:{2a7}:"


def test_nothing_secret_is_shown_by_accident() -> None:
    token = seal.new_token(5, secrets.token_bytes)
    record = codec.Record(
        Session("d", "t", "h", "f", identity(), 1, 1, 1, 1, "c"), "", b"familykey" * 3, 1
    )
    shown = repr((token, seal.Opened("k", "t", "h", b"plaintext"), record, RING))
    assert token.text[3:] not in shown
    for secret in (token.random, b"plaintext", b"familykey", RING[0].material):
        assert repr(secret)[2:-1] not in shown


def test_every_field_of_an_identity_comes_back_from_the_store() -> None:
    values: dict[str, object] = {field.name: f"its {field.name}" for field in fields(Identity)}
    values |= {"groups": ("a", "b"), "roles": ("c",), "claims": (("department", "R&D"),)}
    whole = Identity(**values)  # type: ignore[arg-type]  # each by its name
    assert codec._parse_identity(codec._identity(whole)) == whole


def test_names_that_are_remembered_are_those_of_one_tenant_identity_and_ring() -> None:
    first, second = keys.generate().sealing, keys.generate().sealing
    many = tuple(f"group-{number}" for number in range(MAX_GROUPS_KEPT + 1))
    answers = {}
    for who in (identity(), identity("bob"), identity(groups=("admins",)), identity(groups=many)):
        for tenant in ("acme", "globex"):
            for ring in (first, second, first + second):
                people = AliasIndex(tenant, ring)
                places = (*people.index(who), *people.marks(who, family="f"))
                assert places == (
                    *AliasIndex(tenant, ring).index(who),
                    *AliasIndex(tenant, ring).marks(who, family="f"),
                )
                # By hand, one name after another.
                names = [
                    *(("user", who.sub), ("idp_subject", who.idp_subject), ("oid", who.oid)),
                    *(("email", who.email), *(("group", group) for group in who.groups)),
                ]
                assert people.index(who) == [
                    *(people.named(kind, value)[0] for kind, value in names),
                    people.everybody()[0],
                ]
                assert people.marks(who, family="f") == [
                    *(people.everybody() + people.mark("tenant", "", who.provider)),
                    *(
                        place
                        for kind, value in names
                        for provider in (None, who.provider)
                        for place in people.mark(kind, value, provider)
                    ),
                    *people.mark("session", "f", None),
                ]
                people.index(who).clear()  # the caller's own list
                answers[places] = who
    assert len(answers) == 4 * 2 * 3
