"""Managed headers: all of them, always, and nothing that a proxy could read otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.config.types import IDENTITY_FIELDS
from gateway.core.header_encoding import Encoding
from gateway.core.headers import MAX_HEAD_BYTES, bearer_headers, identity_headers, needs_assertion
from gateway.core.model import HeaderSpec, MachineToken
from tests.core.build import identity, tenant

SOURCES = (*sorted(IDENTITY_FIELDS), "claim:custom:department")
EVERYTHING = tuple(
    HeaderSpec(f"X-{s.replace(':', '-')}", s, "none" if s.startswith("claim:") else "")
    for s in SOURCES
)


def test_every_managed_header_is_there_with_and_without_an_identity() -> None:
    at = tenant(headers=EVERYTHING)
    full, empty = identity_headers(at, identity(), assertion="t"), identity_headers(at, None)
    assert full is not None
    assert empty is not None
    assert [n for n, _ in full] == [n for n, _ in empty] == [s.name for s in EVERYTHING]
    assert {v for _, v in empty} == {""}
    assert dict(full)["X-claim-custom-department"] == "none"


def test_every_source_has_a_value() -> None:
    at = tenant(headers=tuple(HeaderSpec(f"X-{s.replace('_', '-')}", s) for s in IDENTITY_FIELDS))
    everything = identity(roles=("admins",), oid="an object ID")
    headers = identity_headers(at, everything, assertion="t")
    assert headers is not None
    assert [name for name, value in headers if not value] == []


def test_a_claim_fills_its_header() -> None:
    headers = identity_headers(
        tenant(headers=EVERYTHING), identity(claims=(("custom:department", "R&D, Core"),))
    )
    assert headers is not None
    assert dict(headers)["X-claim-custom-department"] == "R&D, Core"


def test_with_the_policy_form_only_names_of_the_policy_leave() -> None:
    headers = identity_headers(
        tenant(group_header_names=frozenset({"a"})), identity(groups=("b", "a"))
    )
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
    assert (
        identity_headers(tenant(headers=(spec,)), identity(name="é" * (MAX_HEAD_BYTES // 2)))
        is None
    )
    assert (
        identity_headers(tenant(headers=(spec,)), identity(name="é" * (MAX_HEAD_BYTES // 2 - 20)))
        is not None
    )


def test_each_header_has_its_encoding() -> None:
    specs = (
        HeaderSpec("X-A", "name", encoding=Encoding.UTF8),
        HeaderSpec("X-B", "name"),
        HeaderSpec("X-G", "groups", encoding=Encoding.QUOTED_PRINTABLE),
    )
    assert identity_headers(tenant(headers=specs), identity(name="é", groups=("é,", "b"))) == (
        ("X-A", "é"),
        ("X-B", "%C3%A9"),
        ("X-G", "=C3=A9=2C,b"),
    )


# --- requests with a bearer token
# -----------------------------------------------------------------------

MACHINE = MachineToken("client-1", frozenset(), "", "", 0)
ALICE = MachineToken(
    "client-1",
    frozenset(),
    "sub-1",
    "acme-okta_1",
    0,
    person=identity(groups=(), claims=(("custom:department", "R&D"),)),
)


def told(
    machine: MachineToken, *said: tuple[str, str], specs: tuple[HeaderSpec, ...] = EVERYTHING
) -> dict[str, str]:
    headers = bearer_headers(tenant(headers=specs), machine, assertion="signed", identity=said)
    assert headers is not None
    assert [name for name, _ in headers] == [spec.name for spec in specs], (
        "every managed header, in order"
    )
    return {name: text for name, text in headers if text}


def test_a_machine_is_its_client_at_its_tenant_and_has_nothing_of_a_person() -> None:
    assert told(MACHINE) == {"X-sub": "client-1", "X-tenant": "acme", "X-assertion": "signed"}


def test_a_persons_token_says_who_it_is_and_neither_groups_nor_claims() -> None:
    assert told(ALICE) == {
        "X-sub": "sub-1",
        "X-email": "alice@acme.com",
        "X-username": "acme-okta_1",
        "X-preferred_username": "alice",
        "X-name": "Alice",
        "X-tenant": "acme",
        "X-provider": "acme-okta",
        "X-assertion": "signed",
    }


@pytest.mark.parametrize(
    "machine",
    [
        replace(ALICE, person=None),
        replace(ALICE, sub="sub-2"),
        replace(ALICE, sub=""),
        replace(MACHINE, username="u"),
        replace(MACHINE, sub="sub-1"),
    ],
    ids=[
        "nobody looked",
        "another's record",
        "without a subject",
        "a user name alone",
        "a subject alone",
    ],
)
def test_a_persons_token_of_whom_nothing_is_known_is_nobodys_and_no_machines(
    machine: MachineToken,
) -> None:
    assert told(machine, ("X-email", "bot")) == {"X-tenant": "acme", "X-assertion": "signed"}


def test_what_a_rule_says_is_a_machines_alone_and_written_as_its_header_is() -> None:
    specs = (
        HeaderSpec("X-User", "email"),
        HeaderSpec("X-Q", "name", encoding=Encoding.QUOTED_PRINTABLE),
        HeaderSpec("X-Groups", "groups"),
        HeaderSpec("X-Tenant", "tenant"),
    )
    said = (
        ("X-User", "100%bot"),
        ("X-Q", "a=b"),
        ("X-Groups", "readers, ci"),
        ("X-Elsewhere", "x"),
    )
    assert told(MACHINE, *said, specs=specs) == {
        "X-User": "100%25bot",
        "X-Q": "a=3Db",
        "X-Groups": "readers,ci",
        "X-Tenant": "acme",
    }
    assert told(ALICE, *said, specs=specs) == {
        "X-User": "alice@acme.com",
        "X-Q": "Alice",
        "X-Tenant": "acme",
    }
    assert told(MACHINE, ("X-sub", "")) == {"X-tenant": "acme", "X-assertion": "signed"}, (
        "an empty text takes the client id away"
    )
    assert (
        bearer_headers(tenant(headers=specs), MACHINE, identity=(("X-User", "x" * MAX_HEAD_BYTES),))
        is None
    )
