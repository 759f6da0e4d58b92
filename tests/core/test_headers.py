"""Managed headers: all of them, always, and nothing that a proxy could read otherwise."""

from __future__ import annotations

from gateway.core.header_encoding import Encoding
from gateway.core.headers import MAX_HEAD_BYTES, identity_headers, needs_assertion
from gateway.core.model import HeaderSpec
from tests.core.build import identity, tenant

SOURCES = ("sub", "email", "username", "preferred_username", "name", "groups", "roles", "tenant", "provider", "assertion", "claim:custom:department")
EVERYTHING = tuple(HeaderSpec(f"X-{s.replace(':', '-')}", s, "none" if s.startswith("claim:") else "") for s in SOURCES)


def test_every_managed_header_is_there_with_and_without_an_identity() -> None:
    at = tenant(headers=EVERYTHING)
    full, empty = identity_headers(at, identity(), assertion="t"), identity_headers(at, None)
    assert full is not None
    assert empty is not None
    assert [n for n, _ in full] == [n for n, _ in empty] == [s.name for s in EVERYTHING]
    assert {v for _, v in empty} == {""}
    assert dict(full)["X-claim-custom-department"] == "none"


def test_a_claim_fills_its_header() -> None:
    headers = identity_headers(tenant(headers=EVERYTHING), identity(claims=(("custom:department", "R&D, Core"),)))
    assert headers is not None
    assert dict(headers)["X-claim-custom-department"] == "R&D, Core"


def test_with_the_policy_form_only_names_of_the_policy_leave() -> None:
    headers = identity_headers(tenant(group_header_names=frozenset({"a"})), identity(groups=("b", "a")))
    assert headers is not None
    assert dict(headers)["X-Groups"] == "a"


def test_what_does_not_fit_is_refused_whole() -> None:
    assert identity_headers(tenant(), identity(groups=("g" * MAX_HEAD_BYTES,))) is None
    assert identity_headers(tenant(), identity(groups=("g" * (MAX_HEAD_BYTES - 200),))) is not None


def test_the_assertion_is_made_only_where_a_header_carries_it() -> None:
    assert needs_assertion(tenant())
    assert not needs_assertion(tenant(headers=(HeaderSpec("X-User", "sub"),)))


def test_bytes_count_for_the_size_of_the_head() -> None:
    spec = HeaderSpec("X-Name", "name", encoding=Encoding.UTF8)
    assert identity_headers(tenant(headers=(spec,)), identity(name="é" * (MAX_HEAD_BYTES // 2))) is None
    assert identity_headers(tenant(headers=(spec,)), identity(name="é" * (MAX_HEAD_BYTES // 2 - 20))) is not None


def test_each_header_has_its_encoding() -> None:
    specs = (HeaderSpec("X-A", "name", encoding=Encoding.UTF8), HeaderSpec("X-B", "name"), HeaderSpec("X-G", "groups", encoding=Encoding.QUOTED_PRINTABLE))
    assert identity_headers(tenant(headers=specs), identity(name="é", groups=("é,", "b"))) == (("X-A", "é"), ("X-B", "%C3%A9"), ("X-G", "=C3=A9=2C,b"))
