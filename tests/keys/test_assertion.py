from __future__ import annotations

import dataclasses
import json
from typing import Any

import jwt
import pytest

from gateway.core.model import Identity, MachineToken, Session
from gateway.keys.assertion import (
    JWKS_MAX_AGE_S,
    LIFETIME_S,
    PUBLISHED_BEFORE_S,
    RENEW_BEFORE_S,
    Assertions,
)
from gateway.keys.file import promote, stage
from gateway.keys.ring import KeyRing, generate

RING = generate()
ORIGIN = "https://acme.example.com"
ISSUER = "https://login.example.com"
NOW = 1_800_000_000
SESSION = Session(
    digest="a" * 64,
    tenant="acme",
    host="acme.example.com",
    family="f",
    began=1,
    auth_time=NOW - 10,
    created_at=NOW,
    expires_at=NOW + 3600,
    client_id="c",
    identity=Identity(
        sub="u-1",
        email="alice@acme.test",
        email_domain="acme.test",
        username="acme-okta_1",
        preferred_username="alice",
        name="Alice Ek",
        groups=("app-users", "R&D, Core"),
        roles=("owner",),
        provider="acme-okta",
        idp_subject="1",
        oid="o-1",
    ),
)


def read(token: str, signer: Assertions) -> dict[str, Any]:
    keys = jwt.PyJWKSet.from_dict(signer.jwks())
    claims: dict[str, Any] = jwt.decode(
        token,
        keys[jwt.get_unverified_header(token)["kid"]],
        algorithms=["ES256"],
        audience=ORIGIN,
        options={"verify_exp": False, "verify_iat": False},
    )
    return claims


def test_it_says_who_for_whom_by_whom_and_for_five_minutes() -> None:
    signer = Assertions(RING, issuer=ISSUER)
    claims = read(signer.sign(SESSION, origin=ORIGIN, now=NOW), signer)
    assert (claims["iss"], claims["aud"], claims["sub"], claims["tenant"]) == (
        ISSUER,
        ORIGIN,
        "u-1",
        "acme",
    )
    assert (claims["email"], claims["oid"]) == ("alice@acme.test", "o-1")
    assert claims["groups"] == ["app-users", "R&D, Core"]
    assert claims["exp"] - claims["iat"] == LIFETIME_S <= 300


def test_groups_that_no_policy_names_can_be_left_out_and_a_change_of_policy_is_signed_anew() -> (
    None
):
    signer = Assertions(RING, issuer=ISSUER)
    for names, groups in (
        (None, ["app-users", "R&D, Core"]),
        (frozenset({"app-users"}), ["app-users"]),
        (frozenset[str](), []),
    ):
        assert (
            read(signer.sign(SESSION, origin=ORIGIN, now=NOW, groups=names), signer)["groups"]
            == groups
        )


def test_without_an_issuer_it_is_the_applications_own_origin() -> None:
    signer = Assertions(RING, issuer=None)
    assert read(signer.sign(SESSION, origin=ORIGIN, now=NOW), signer)["iss"] == ORIGIN


def test_it_never_outlives_the_session() -> None:
    signer = Assertions(RING, issuer=ISSUER)
    short = dataclasses.replace(SESSION, expires_at=NOW + 30)
    assert read(signer.sign(short, origin=ORIGIN, now=NOW), signer)["exp"] == NOW + 30


def test_one_signature_serves_a_session_at_an_origin_until_a_minute_before_its_end() -> None:
    signer = Assertions(RING, issuer=ISSUER)
    first = signer.sign(SESSION, origin=ORIGIN, now=NOW)
    assert signer.sign(SESSION, origin=ORIGIN, now=NOW + LIFETIME_S - RENEW_BEFORE_S - 1) == first
    assert signer.sign(SESSION, origin=ORIGIN, now=NOW + LIFETIME_S - RENEW_BEFORE_S) != first
    other = signer.sign(SESSION, origin="https://calendar.acme.example.com", now=NOW)
    told = jwt.decode(other, options={"verify_signature": False})
    assert told["aud"] == "https://calendar.acme.example.com", "none that was signed for another"


def test_a_session_that_changed_is_signed_anew() -> None:
    signer = Assertions(RING, issuer=ISSUER)
    first = signer.sign(SESSION, origin=ORIGIN, now=NOW)
    fewer = dataclasses.replace(SESSION, identity=dataclasses.replace(SESSION.identity, groups=()))
    assert read(signer.sign(fewer, origin=ORIGIN, now=NOW), signer)["groups"] == []
    assert signer.sign(SESSION, origin=ORIGIN, now=NOW) != first


def test_published_keys_are_the_public_halves_of_all() -> None:
    ring = KeyRing(RING.sealing, (generate().assertion[0], *RING.assertion), RING.database)
    published = Assertions(ring, issuer=ISSUER).jwks()["keys"]
    assert [key["kid"] for key in published] == [key.kid for key in ring.assertion]
    assert all({"kty", "crv", "x", "y", "kid", "use", "alg"} == set(key) for key in published)
    json.dumps(published)


def test_after_a_rotation_the_new_key_signs_and_the_old_one_still_verifies() -> None:
    signer = Assertions(RING, issuer=ISSUER)
    old = signer.sign(SESSION, origin=ORIGIN, now=NOW)
    rotated = KeyRing(RING.sealing, (generate().assertion[0], *RING.assertion), RING.database)
    signer.replace_keys(rotated)
    new = signer.sign(SESSION, origin=ORIGIN, now=NOW)
    assert (
        jwt.get_unverified_header(new)["kid"]
        == rotated.assertion[0].kid
        != jwt.get_unverified_header(old)["kid"]
    )
    assert read(old, signer)["sub"] == read(new, signer)["sub"] == "u-1"


def test_another_ring_verifies_nothing() -> None:
    token = Assertions(RING, issuer=ISSUER).sign(SESSION, origin=ORIGIN, now=NOW)
    with pytest.raises(KeyError):
        read(token, Assertions(generate(), issuer=ISSUER))


def test_a_key_is_published_for_longer_than_anybody_caches_it_before_it_signs() -> None:
    """An application that looked just before the rotation must know the key of the first assertion
    that it signs.
    """
    old = RING.assertion[0]
    rotated = promote(stage(RING, "assertion"), "assertion", now=NOW)
    signer = Assertions(RING, issuer=ISSUER)
    signer.sign(SESSION, origin=ORIGIN, now=NOW)
    signer.replace_keys(rotated)
    fresh = rotated.assertion[0]
    assert {key["kid"] for key in signer.jwks()["keys"]} == {old.kid, fresh.kid}
    seen = {
        at: jwt.get_unverified_header(
            Assertions(rotated, issuer=ISSUER).sign(SESSION, origin=ORIGIN, now=NOW + at)
        )["kid"]
        for at in (0, JWKS_MAX_AGE_S + 1, PUBLISHED_BEFORE_S - 1, PUBLISHED_BEFORE_S)
    }
    assert seen == {
        0: old.kid,
        JWKS_MAX_AGE_S + 1: old.kid,
        PUBLISHED_BEFORE_S - 1: old.kid,
        PUBLISHED_BEFORE_S: fresh.kid,
    }
    twice = promote(stage(rotated, "assertion"), "assertion", now=NOW + 10)
    assert (
        jwt.get_unverified_header(
            Assertions(twice, issuer=ISSUER).sign(SESSION, origin=ORIGIN, now=NOW + 11)
        )["kid"]
        == old.kid
    )


MACHINE = MachineToken("client-1", frozenset({"api/read"}), "", "", 0, expires_at=NOW + 3600)
ALICES = MachineToken(
    "client-1",
    frozenset(),
    "u-1",
    "acme-okta_1",
    NOW - 10,
    NOW + 3600,
    dataclasses.replace(SESSION.identity, groups=(), roles=()),
)


def test_a_machines_names_its_client_and_a_persons_the_person_without_groups() -> None:
    """A claim that is not known is not there: an application that finds its accounts by e-mail
    finds nobody's by an empty one.
    """
    signer = Assertions(RING, issuer=ISSUER)
    dated = {
        "iss": ISSUER,
        "aud": ORIGIN,
        "iat": NOW,
        "exp": NOW + LIFETIME_S,
        "tenant": "acme",
        "groups": [],
        "roles": [],
        "client_id": "client-1",
    }
    assert read(signer.sign_bearer(MACHINE, tenant="acme", origin=ORIGIN, now=NOW), signer) == {
        **dated,
        "sub": "client-1",
    }
    assert read(signer.sign_bearer(ALICES, tenant="acme", origin=ORIGIN, now=NOW), signer) == {
        **dated,
        "sub": "u-1",
        "email": "alice@acme.test",
        "name": "Alice Ek",
        "preferred_username": "alice",
        "oid": "o-1",
        "provider": "acme-okta",
        "auth_time": NOW - 10,
    }
    assert (
        signer.sign_bearer(
            dataclasses.replace(ALICES, person=None), tenant="acme", origin=ORIGIN, now=NOW
        )
        == ""
    )


def test_a_token_is_signed_for_once_per_client_person_and_origin_and_never_beyond_its_own_end() -> (
    None
):
    signer = Assertions(RING, issuer=ISSUER)

    def signed(
        machine: MachineToken = MACHINE,
        *,
        tenant: str = "acme",
        origin: str = ORIGIN,
        now: int = NOW,
    ) -> str:
        return signer.sign_bearer(machine, tenant=tenant, origin=origin, now=now)

    first = signed()
    assert signed(dataclasses.replace(MACHINE, expires_at=NOW + 7200), now=NOW + 1) == first, (
        "the machine's next token"
    )
    assert (
        read(signed(dataclasses.replace(MACHINE, expires_at=NOW + 100)), signer)["exp"] == NOW + 100
    ), "not the one of a longer token"
    assert read(signed(tenant="globex"), signer)["tenant"] == "globex"
    assert (
        jwt.decode(signed(origin="https://b.example"), options={"verify_signature": False})["aud"]
        == "https://b.example"
    )
    assert read(signed(dataclasses.replace(MACHINE, client_id="other")), signer)["sub"] == "other"
    assert read(signed(ALICES), signer)["email"] == "alice@acme.test"
    renamed = dataclasses.replace(
        ALICES, person=dataclasses.replace(SESSION.identity, email="al@acme.test")
    )
    assert read(signed(renamed), signer)["email"] == "al@acme.test"
