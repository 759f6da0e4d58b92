"""Every way in which a signed message can be wrong, and the three messages themselves."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
import pytest

from gateway.hooks.event import DeliveryRejectedError, Effect, RejectionReason, SkipReason, Subject
from gateway.hooks.sources import backchannel_logout, ssf, universal_logout
from gateway.hooks.sources.signed_token import Expected, UnknownKeyError, verify
from tests.hooks.samples import NOW, keys, load, other_rsa_key, raw, rsa_key, sign

if TYPE_CHECKING:
    from collections.abc import Callable

ISSUER = "https://acme.okta.com"
EXPECTED = Expected(
    typ=frozenset({"logout+jwt"}),
    issuers=frozenset({ISSUER}),
    audiences=frozenset({"client-1"}),
    max_age_s=300,
)
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "client-1",
    "iat": int(NOW),
    "exp": int(NOW) + 60,
    "jti": "j-1",
}


def test_valid_message_with_rsa_and_with_ec() -> None:
    for kid in ("r1", "e1"):
        assert (
            verify(sign(CLAIMS, typ="logout+jwt", kid=kid), keys(), EXPECTED, now=NOW)["jti"]
            == "j-1"
        )


def hmac_with_public_key() -> str:
    header = (
        urlsafe_b64encode(b'{"alg":"HS256","typ":"logout+jwt","kid":"r1"}').rstrip(b"=").decode()
    )
    return f"{header}.{sign(CLAIMS, typ='logout+jwt').split('.')[1]}.c2lnbmF0dXJl"


def unsigned() -> str:
    return jwt.encode(CLAIMS, "", algorithm="none", headers={"typ": "logout+jwt", "kid": "r1"})


def other_key() -> str:
    return jwt.encode(
        CLAIMS, other_rsa_key(), algorithm="RS256", headers={"typ": "logout+jwt", "kid": "r1"}
    )


def wrong_algorithm_for_key() -> str:
    return jwt.encode(
        CLAIMS, rsa_key(), algorithm="RS512", headers={"typ": "logout+jwt", "kid": "r1"}
    )


def claims_changed(**changes: Any) -> Callable[[], str]:
    merged = {k: v for k, v in {**CLAIMS, **changes}.items() if v is not ...}
    return lambda: sign(merged, typ="logout+jwt")


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        pytest.param(hmac_with_public_key, RejectionReason.KEY, id="hmac"),
        pytest.param(unsigned, RejectionReason.KEY, id="none"),
        pytest.param(other_key, RejectionReason.KEY, id="another-key-same-kid"),
        pytest.param(wrong_algorithm_for_key, RejectionReason.KEY, id="algorithm-not-the-keys"),
        pytest.param(
            lambda: sign(CLAIMS, typ="logout+jwt", headers={"kid": "gone"}),
            RejectionReason.KEY,
            id="unknown-kid",
        ),
        pytest.param(
            lambda: sign(CLAIMS, typ="logout+jwt", headers={"crit": ["x"]}),
            RejectionReason.MALFORMED,
            id="crit",
        ),
        pytest.param(
            lambda: sign(CLAIMS, typ="JWT"), RejectionReason.MALFORMED, id="typ-of-an-id-token"
        ),
        pytest.param(lambda: sign(CLAIMS, typ=None), RejectionReason.MALFORMED, id="no-typ"),
        pytest.param(
            claims_changed(iss="https://globex.okta.com"),
            RejectionReason.ISSUER,
            id="another-issuer",
        ),
        pytest.param(claims_changed(iss=[ISSUER]), RejectionReason.ISSUER, id="issuer-is-a-list"),
        pytest.param(
            claims_changed(aud="client-2"), RejectionReason.AUDIENCE, id="another-audience"
        ),
        pytest.param(
            claims_changed(aud=[{"client-1": 1}]),
            RejectionReason.AUDIENCE,
            id="audience-of-objects",
        ),
        pytest.param(claims_changed(exp=int(NOW) - 61), RejectionReason.EXPIRED, id="expired"),
        pytest.param(claims_changed(iat=int(NOW) - 301), RejectionReason.EXPIRED, id="too-old"),
        pytest.param(
            claims_changed(iat=int(NOW) + 61), RejectionReason.EXPIRED, id="from-the-future"
        ),
        pytest.param(claims_changed(nbf=int(NOW) + 61), RejectionReason.EXPIRED, id="not-yet"),
        pytest.param(claims_changed(iat="now"), RejectionReason.MALFORMED, id="iat-is-text"),
        pytest.param(claims_changed(iat=...), RejectionReason.MALFORMED, id="no-iat"),
        pytest.param(lambda: "a.b", RejectionReason.MALFORMED, id="two-parts"),
        pytest.param(lambda: "", RejectionReason.MALFORMED, id="empty"),
        pytest.param(lambda: "é.é.é", RejectionReason.MALFORMED, id="not-ascii"),
        pytest.param(
            lambda: sign({**CLAIMS, "pad": "x" * 17_000}, typ="logout+jwt"),
            RejectionReason.MALFORMED,
            id="huge",
        ),
    ],
)
def test_refused(message: Callable[[], str], refusal: RejectionReason) -> None:
    with pytest.raises(DeliveryRejectedError) as refused:
        verify(message(), keys(), EXPECTED, now=NOW)
    assert refused.value.reason is refusal


def test_unknown_kid_is_told_apart_so_that_keys_can_be_fetched_again() -> None:
    with pytest.raises(UnknownKeyError):
        verify(sign(CLAIMS, typ="logout+jwt", headers={"kid": "new"}), keys(), EXPECTED, now=NOW)


# --- back-channel logout ------------------------------------------------------------------------


def logout(**changes: Any) -> Any:
    claims = {k: v for k, v in {**load("logout_token.json"), **changes}.items() if v is not ...}
    body = urlencode({"logout_token": sign(claims, typ="logout+jwt")}).encode()
    return backchannel_logout.parse_delivery(
        body,
        keys=keys(),
        issuers=frozenset({"https://server.example.com"}),
        audiences=frozenset({"s6BhdRkqt3"}),
        now=1_471_566_160.0,
    )


def test_logout_token_of_the_specification_ends_the_sessions_of_its_sub() -> None:
    [event] = logout().events
    assert (event.effect, event.subject, event.event_time, event.id) == (
        Effect.END_SESSIONS,
        Subject(idp_subject="248289761001"),
        1_471_566_154.0,
        "bWJq",
    )


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"nonce": "n"}, RejectionReason.MALFORMED),
        ({"events": {}}, RejectionReason.MALFORMED),
        ({"events": {backchannel_logout.EVENT: "yes"}}, RejectionReason.MALFORMED),
        ({"events": [backchannel_logout.EVENT]}, RejectionReason.MALFORMED),
        ({"sub": ...}, RejectionReason.UNKNOWN_SUBJECT),
        ({"jti": ...}, RejectionReason.MALFORMED),
        ({"aud": "other"}, RejectionReason.AUDIENCE),
    ],
)
def test_logout_token_is_refused(changes: dict[str, Any], refusal: RejectionReason) -> None:
    with pytest.raises(DeliveryRejectedError) as refused:
        logout(**changes)
    assert refused.value.reason is refusal


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"logout_token=",
        b"logout_token=a&logout_token=b",
        b"x=1",
        b"\xff",
        b"&".join([b"a=1"] * 50),
    ],
)
def test_what_is_no_logout_form_is_refused(body: bytes) -> None:
    with pytest.raises(DeliveryRejectedError):
        backchannel_logout.parse_delivery(
            body, keys=keys(), issuers=frozenset({ISSUER}), audiences=frozenset({"x"}), now=NOW
        )


# --- security event tokens ----------------------------------------------------------------------


def push(
    claims: dict[str, Any],
    *,
    issuer: str,
    audience: str,
    typ: str = "secevent+jwt",
    entra: bool = False,
) -> Any:
    return ssf.parse_delivery(
        sign(claims, typ=typ).encode(),
        keys=keys(),
        issuers=frozenset({issuer}),
        audiences=frozenset({audience}),
        now=NOW,
        entra=entra,
    )


def test_okta_session_revoked_with_milliseconds_and_nested_subject() -> None:
    claims = load("okta_caep_session_revoked.json")
    [event] = push(claims, issuer=ISSUER, audience=claims["aud"]).events
    assert (event.effect, event.subject, event.event_time) == (
        Effect.END_SESSIONS,
        Subject(idp_subject="00ufh433fil4JtjEw4x7"),
        1_767_225_600.0,
    )


def test_risc_account_disabled_with_the_older_subject_type() -> None:
    claims = load("rfc8417_risc.json")
    [event] = push(claims, issuer="https://idp.example.com/", audience=claims["aud"]).events
    assert (event.effect, event.subject, event.event_time) == (
        Effect.BLOCK,
        Subject(idp_subject="7375626A656374"),
        1_508_184_845.0,
    )


@pytest.mark.parametrize(
    ("example", "subject"),
    [  # the specification's credential change is a security key that was enrolled: see below
        (
            "session revoked, simple subject",
            "dMTlD|1600802906337.16|16008.16",
        ),  # a session of the provider's own: nobody here is known by it
        ("session revoked, user and session", "99beb27c-c1c2-4955-882a-e0dc4996fcbc"),
        ("session revoked, user and device", "jane.smith@example.com"),
    ],
)
def test_examples_of_caep_1_0(example: str, subject: str) -> None:
    claims = load("caep_1_0.json")[example]
    [event] = push(claims, issuer=claims["iss"], audience=claims["aud"]).events
    assert (event.effect, event.subject, event.event_time) == (
        Effect.END_SESSIONS,
        Subject(idp_subject=subject),
        1_615_304_991.0,
    )


def test_the_security_key_that_the_specification_enrolls_ends_nothing() -> None:
    claims = load("caep_1_0.json")["credential change"]
    [event] = push(claims, issuer=claims["iss"], audience=claims["aud"]).events
    assert (event.effect, event.type) == (Effect.NOTICE, "caep/event-type/credential-change")


def test_claims_of_a_token_that_names_nobody_are_taken_and_skipped() -> None:
    claims = load("caep_1_0.json")["token claims change"]
    delivery = push(claims, issuer=claims["iss"], audience=claims["aud"])
    assert (delivery.events, [s.reason for s in delivery.skipped]) == ((), [SkipReason.MALFORMED])


ENDS, NOTHING = Effect.END_SESSIONS, Effect.NOTICE
PASSKEY = {"change_type": "create", "credential_type": "fido2-platform"}


@pytest.mark.parametrize(
    ("kind", "payload", "effect"),
    [
        ("credential-change", PASSKEY, NOTHING),
        (
            "credential-change",
            PASSKEY | {"credential_type": "fido2-roaming", "friendly_name": "key"},
            NOTHING,
        ),
        ("credential-change", PASSKEY | {"credential_type": "app"}, NOTHING),
        ("credential-change", PASSKEY | {"credential_type": "password"}, ENDS),
        ("credential-change", PASSKEY | {"credential_type": "pin"}, ENDS),
        ("credential-change", PASSKEY | {"credential_type": "telepathy"}, ENDS),
        ("credential-change", {"change_type": "create"}, ENDS),
        ("credential-change", {"credential_type": "fido2-platform"}, ENDS),
        ("credential-change", PASSKEY | {"change_type": "revoke"}, ENDS),
        ("credential-change", PASSKEY | {"change_type": "update"}, ENDS),
        ("credential-change", PASSKEY | {"change_type": "delete"}, ENDS),
        ("credential-change", PASSKEY | {"change_type": "other"}, ENDS),
        ("credential-change", PASSKEY | {"change_type": ["create"]}, ENDS),
        ("credential-change", {}, ENDS),
        ("assurance-level-change", {"change_direction": "increase"}, NOTHING),
        ("assurance-level-change", {"change_direction": "decrease"}, ENDS),
        ("assurance-level-change", {"current_level": "nist-aal1"}, ENDS),
        (
            "device-compliance-change",
            {"previous_status": "not-compliant", "current_status": "compliant"},
            NOTHING,
        ),
        (
            "device-compliance-change",
            {"previous_status": "compliant", "current_status": "not-compliant"},
            ENDS,
        ),
        ("device-compliance-change", {}, ENDS),
        ("risk-level-change", {"current_level": "LOW", "principal": "USER"}, NOTHING),
        ("risk-level-change", {"current_level": "MEDIUM", "principal": "USER"}, ENDS),
        ("risk-level-change", {"principal": "USER"}, ENDS),
        ("token-claims-change", {"claims": {"role": "reader"}}, ENDS),
        ("session-established", {}, NOTHING),
        ("session-presented", {}, NOTHING),
        ("session-revoked", {"initiating_entity": "policy"}, ENDS),
    ],
)
def test_what_a_caep_event_ends_is_read_from_type_and_payload(
    kind: str, payload: dict[str, Any], effect: Effect
) -> None:
    [event] = push(
        set_with(
            {"format": "opaque", "id": "00u1"},
            events={f"{ssf._BASE}caep/event-type/{kind}": payload},
        ),
        issuer=ISSUER,
        audience="a",
    ).events
    assert event.effect is effect


def test_of_every_type_an_unknown_payload_has_the_types_effect() -> None:
    for kind, effect in ssf.EFFECTS.items():
        [event] = push(
            set_with(
                {"format": "opaque", "id": "00u1"},
                events={kind: {"change_type": "x", "current_status": "x"}},
            ),
            issuer=ISSUER,
            audience="a",
        ).events
        assert event.effect is effect, kind
    assert set(ssf.HARMLESS) <= {kind for kind, effect in ssf.EFFECTS.items() if effect is ENDS}


def set_with(subject: Any, *, events: Any = None) -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "aud": "a",
        "iat": int(NOW),
        "jti": "s",
        "sub_id": subject,
        "events": events or {f"{ssf._BASE}caep/event-type/session-revoked": {}},
    }


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ({"format": "email", "email": "Luca@ACME.com"}, Subject(email="luca@acme.com")),
        ({"format": "opaque", "id": "00u1"}, Subject(idp_subject="00u1")),
        (
            {
                "format": "aliases",
                "identifiers": [
                    {"format": "email", "email": "l@acme.com"},
                    {"format": "opaque", "id": "00u1"},
                ],
            },
            Subject(idp_subject="00u1", email="l@acme.com"),
        ),
    ],
)
def test_subject_forms(subject: Any, expected: Subject) -> None:
    [event] = push(set_with(subject), issuer=ISSUER, audience="a").events
    assert event.subject == expected


@pytest.mark.parametrize(
    "subject",
    [
        None,
        {},
        "00u1",
        {"format": "phone_number", "phone_number": "+1"},
        {"format": "iss_sub", "iss": "https://globex.okta.com", "sub": "x"},
        {"format": "iss_sub", "iss": [ISSUER], "sub": "x"},
        {"format": "email", "email": "nobody"},
        {"format": ["email"], "email": "a@b.com"},
        {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": []}]},
    ],
)
def test_a_subject_that_names_nobody_here_is_refused(subject: Any) -> None:
    with pytest.raises(DeliveryRejectedError):
        push(set_with(subject), issuer=ISSUER, audience="a")


def test_verification_is_a_notice_and_unknown_types_are_skipped() -> None:
    delivery = push(
        set_with(
            {"format": "opaque", "id": "stream"},
            events={ssf.VERIFICATION: {"state": "s"}, "https://example.com/other": {}},
        ),
        issuer=ISSUER,
        audience="a",
    )
    assert [e.effect for e in delivery.events] == [Effect.NOTICE]
    assert [s.reason for s in delivery.skipped] == [SkipReason.UNKNOWN_TYPE]


def test_for_entra_an_id_is_an_object_id() -> None:
    [event] = push(
        set_with({"format": "opaque", "id": "oid-1"}), issuer=ISSUER, audience="a", entra=True
    ).events
    assert event.subject == Subject(oid="oid-1")


def test_an_id_token_is_no_security_event() -> None:
    with pytest.raises(DeliveryRejectedError):
        push(set_with({"format": "opaque", "id": "x"}), issuer=ISSUER, audience="a", typ="JWT")


# --- universal logout ---------------------------------------------------------------------------

ENDPOINT = "https://hooks.example.com/hooks/universal-logout/acme/acme-okta"


def revoke(
    body: Any,
    *,
    client_id: str | None = "0oa1",
    typ: str = "global-token-revocation+jwt",
    **changes: Any,
) -> Any:
    claims = {
        "iss": ISSUER,
        "sub": "0oa1",
        "aud": ENDPOINT,
        "iat": int(NOW),
        "exp": int(NOW) + 300,
        "jti": "t",
        **changes,
    }
    return universal_logout.parse_delivery(
        raw(body),
        token=sign(claims, typ=typ),
        keys=keys(),
        issuers=frozenset({ISSUER}),
        endpoint=ENDPOINT,
        client_id=client_id,
        now=NOW,
    )


@pytest.mark.parametrize(
    ("sub_id", "subject"),
    [
        ({"format": "iss_sub", "iss": ISSUER, "sub": "00u1"}, Subject(idp_subject="00u1")),
        ({"format": "email", "email": "luca@acme.com"}, Subject(email="luca@acme.com")),
    ],
)
def test_universal_logout_ends_sessions(sub_id: Any, subject: Subject) -> None:
    [event] = revoke({"sub_id": sub_id}).events
    assert (event.effect, event.subject) == (Effect.END_SESSIONS, subject)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://elsewhere/"},
        {"iss": "https://globex.okta.com"},
        {"exp": int(NOW) - 61},
        {"iat": int(NOW) - 301},
        {"sub": "0oaOTHER"},
        {"typ": "JWT"},
    ],
)
def test_universal_logout_with_a_wrong_credential_is_unauthenticated(changes: Any) -> None:
    with pytest.raises(DeliveryRejectedError) as refused:
        revoke({"sub_id": {"format": "email", "email": "luca@acme.com"}}, **changes)
    assert refused.value.reason is RejectionReason.UNAUTHENTICATED


def test_universal_logout_with_a_wrong_body_is_malformed() -> None:
    with pytest.raises(DeliveryRejectedError) as refused:
        revoke({"subject": "x"})
    assert refused.value.reason is RejectionReason.MALFORMED
