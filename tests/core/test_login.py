"""Claims of a validated token → identity, for the provider that the login was begun with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.core.headers import identity_headers
from gateway.core.login import FRESH_S, MAX_GROUPS, Accepted, Refusal, accept, is_fresh
from gateway.core.model import EmailTrust, HeaderSpec, ProviderKind, SocialAccount
from gateway.core.pool_groups import tenants_of
from gateway.core.reason import Reason
from tests.core.build import NOW, provider, session, tenant

POOL = "eu-north-1_Pool"
CLAIMS: dict[str, Any] = {
    "sub": "s",
    "cognito:username": "acme-okta_1",
    "email": "Alice@acme.com",
    "name": "Alice\r\n A",
    "preferred_username": "alice",
    "custom:groups": "[a, b%2Cc]",
    "custom:roles": "editor",
    "custom:oid": "o",
    "auth_time": 5,
    "custom:idp_iat": "17",
    "identities": [{"userId": "00u1", "providerName": "acme-okta"}],
}


def result(changes: dict[str, Any], **kind: Any) -> Accepted | Refusal:
    claims = {k: v for k, v in {**CLAIMS, **changes}.items() if v is not None}
    wanted = kind.pop("provider", provider())
    return accept(claims, tenant(providers=(wanted,), **kind), wanted, pool_id=POOL)


def accepted(changes: dict[str, Any], **kind: Any) -> Accepted:
    made = result(changes, **kind)
    assert isinstance(made, Accepted), made
    return made


def test_an_identity_is_what_the_claims_say() -> None:
    made = accepted({})
    who = made.identity
    assert (
        who.sub,
        who.email,
        who.email_domain,
        who.idp_subject,
        who.oid,
        who.groups,
        who.roles,
        who.name,
    ) == (
        "s",
        "alice@acme.com",
        "acme.com",
        "00u1",
        "o",
        ("a", "b,c"),
        ("editor",),
        "Alice A",
    )
    assert (made.auth_time, made.idp_iat, made.idp_iat_mapped, made.warnings) == (5, 17, True, ())


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ("ALICE@ACME.COM", "alice@acme.com"),
        ("alice@Acme.Com", "alice@acme.com"),
        ("Stra\u00dfe@acme.com", "Stra\u00dfe@acme.com"),
        ("\u212aate@acme.com", "\u212aate@acme.com"),
    ],
)
def test_an_address_is_handed_out_in_one_spelling_and_nobody_gets_anothers(
    sent: str, known: str
) -> None:
    """The claim as it was sent is a source of its own, ``claim:email``."""
    headers = (HeaderSpec("Remote-User", "email"), HeaderSpec("X-As-Sent", "claim:email"))
    who = accepted({"email": sent}, headers=headers).identity
    assert (who.email, dict(who.claims)["email"]) == (known, sent)


def test_the_object_id_is_a_header_in_one_spelling() -> None:
    """A person of Entra keeps it when the registration changes, and events name people by it."""
    made = tenant(headers=(HeaderSpec("X-Oid", "oid"),))
    guid = "6F1C0A52-8A0E-4A6B-9B4E-2D1F3C5A7B90"
    assert identity_headers(made, accepted({"custom:oid": guid}).identity) == (
        ("X-Oid", guid.lower()),
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sub": None}, Reason.IDP_ERROR),
        ({"sub": 1}, Reason.IDP_ERROR),
        ({"sub": "a\x00"}, Reason.IDP_ERROR),
        ({"sub": "a" * 3000}, Reason.IDP_ERROR),
        ({"cognito:username": "a\n"}, Reason.IDP_ERROR),
        ({"identities": None}, Reason.IDP_ERROR),
        ({"identities": "text"}, Reason.IDP_ERROR),
        ({"identities": ["x", {"providerName": "other", "userId": "1"}]}, Reason.IDP_ERROR),
        ({"identities": [{"providerName": "ACME-OKTA", "userId": "1"}]}, Reason.IDP_ERROR),
        ({"identities": [{"providerName": "acme-okta", "userId": ""}]}, Reason.IDP_ERROR),
        ({"identities": [{"providerName": "acme-okta", "userId": "a\x07"}]}, Reason.IDP_ERROR),
        ({"email": None}, Reason.EMAIL_UNTRUSTED),
        ({"email": "a@b@acme.com"}, Reason.EMAIL_UNTRUSTED),
        ({"email": "a@evil.com"}, Reason.EMAIL_DOMAIN),
        ({"custom:groups": [f"g{n}" for n in range(MAX_GROUPS + 1)]}, Reason.IDENTITY_TOO_LARGE),
    ],
)
def test_refused(changes: dict[str, Any], reason: Reason) -> None:
    made = result(changes)
    assert isinstance(made, Refusal)
    assert made.reason is reason


@pytest.mark.parametrize(
    ("hd", "let_in"),
    [("acme.com", True), ("ACME.com", True), (None, False), ("", False), ("gmail.com", False)],
)
def test_a_google_account_belongs_to_an_organization_of_the_tenant(
    hd: str | None, let_in: bool
) -> None:
    """Anybody may open a Google account with an address of any domain."""
    google = replace(provider(), kind=ProviderKind.GOOGLE)
    made = result({"custom:hd": hd}, provider=google)
    assert isinstance(made, Accepted) is let_in
    if isinstance(made, Refusal):
        assert made.reason is Reason.EMAIL_DOMAIN and "custom:hd" in made.detail


def test_a_domain_that_is_the_tenants_but_another_providers_is_refused() -> None:
    wanted = provider(domains=frozenset({"sub.acme.com"}))
    made = result({}, provider=wanted, email_domains=frozenset({"acme.com", "sub.acme.com"}))
    assert isinstance(made, Refusal)
    assert made.reason is Reason.EMAIL_DOMAIN


@pytest.mark.parametrize(
    ("verified", "ok"),
    [
        (True, True),
        ("true", True),
        (False, False),
        ("false", False),
        (None, False),
        ("True", False),
        (1, True),
    ],
)
def test_where_the_claim_must_be_verified_only_true_is_true(verified: object, ok: bool) -> None:
    """(EML-07) ``1 == True`` in Python; Cognito sends a boolean."""
    made = result(
        {"email_verified": verified}, provider=provider(email_trust=EmailTrust.VERIFIED_CLAIM)
    )
    assert isinstance(made, Accepted) is ok


def test_the_pools_own_users_have_no_identities_and_groups_of_their_own() -> None:
    own = provider("own", ProviderKind.COGNITO, email_trust=EmailTrust.VERIFIED_CLAIM)
    base = {
        "identities": None,
        "email_verified": True,
        "cognito:groups": ["staff", f"{POOL}_acme-okta", 7],
    }
    made = accepted(base, provider=own)
    assert (made.identity.groups, made.identity.idp_subject) == (("staff",), "s")
    assert accepted({**base, "cognito:groups": "staff"}, provider=own).identity.groups == ()
    assert isinstance(result({**base, "identities": CLAIMS["identities"]}, provider=own), Refusal)


MEMBERS = provider(
    "own",
    ProviderKind.COGNITO,
    email_trust=EmailTrust.VERIFIED_CLAIM,
    members_group="tenants/acme",
)


@pytest.mark.parametrize(
    ("listed", "member"),
    [
        (["tenants/acme"], True),
        (["other", "tenants/acme", f"{POOL}_x"], True),
        (None, False),
        ([], False),
        ("tenants/acme", False),
        (["tenants/acme2"], False),
        (["tenants/acme/admins"], False),
        (["tenants/globex", "tenants/globex/tenants/acme"], False),
        (["Tenants/acme", "tenants/ACME", " tenants/acme", "tenants/acme/"], False),
        ([["tenants/acme"]], False),
    ],
)
def test_a_user_of_the_pool_is_the_tenants_only_by_the_group_of_exactly_that_tenant(
    listed: object, member: bool
) -> None:
    claims = {"identities": None, "email_verified": True, "cognito:groups": listed}
    made = result(claims, provider=MEMBERS)
    assert isinstance(made, Accepted) is member
    if isinstance(made, Refusal):
        assert (made.reason, made.denied) == (Reason.EMAIL_DOMAIN, CLAIMS["sub"])
        assert "tenants/acme" in made.detail
    # Being a member opens no other lock.
    others: tuple[dict[str, Any], ...] = (
        {"email": "eve@globex.test"},
        {"email_verified": False},
        {"identities": [{}]},
    )
    for wrong in others:
        assert isinstance(result({**claims, **wrong}, provider=MEMBERS), Refusal)


def test_a_user_of_the_pool_has_the_groups_of_their_tenant_and_no_others() -> None:
    listed = [
        "tenants/acme",
        "tenants/acme/admins",
        "tenants/acme/a/b",
        "tenants/acme2/owners",
        "tenants/globex/admins2",
        "tenants/globex",
        "staff",
        f"{POOL}_acme-okta",
    ]
    claims = {"identities": None, "email_verified": True, "cognito:groups": listed}
    assert accepted(claims, provider=MEMBERS).identity.groups == ("admins", "a/b")
    assert tenants_of(listed) == {"acme", "globex"}
    # A federated person's groups are the provider's, whatever Cognito lists.
    assert accepted({"cognito:groups": listed, "custom:groups": "[x]"}).identity.groups == ("x",)


def test_a_list_that_was_cut_off_is_none_and_told() -> None:
    made = accepted({"custom:groups": "[a, b", "custom:roles": 7})
    assert (made.identity.groups, made.identity.roles, len(made.warnings)) == ((), (), 2)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17),
        (17, 17),
        (17.9, 17),
        ("x", None),
        ("", None),
        (True, None),
        (-1, None),
        ("1" * 12, None),
        (1e99, None),
        ("\u0661", None),
    ],
)
def test_the_idps_own_issue_time_is_a_number_or_nothing(value: object, seconds: int | None) -> None:
    made = accepted({"custom:idp_iat": value})
    assert (made.idp_iat, made.idp_iat_mapped) == (seconds, True)
    assert not accepted({"custom:idp_iat": None}).idp_iat_mapped


def test_claims_that_headers_name_are_kept_as_text() -> None:
    specs = (
        HeaderSpec("X-A", "claim:custom:a"),
        HeaderSpec("X-B", "claim:b"),
        HeaderSpec("X-C", "claim:c"),
        HeaderSpec("X-D", "claim:d"),
        HeaderSpec("X-S", "sub"),
    )
    made = accepted({"custom:a": "x\ny", "b": True, "c": 7, "d": ["no"]}, headers=specs)
    assert made.identity.claims == (("b", "true"), ("c", "7"), ("custom:a", "xy"))


def test_another_persons_address_does_not_make_one_that_person() -> None:
    """(EML-08) People can often change their e-mail claim; who somebody is, is Cognito's ``sub``
    and the identity provider's id.
    """
    victim, changed = (
        accepted({}).identity,
        accepted(
            {"sub": "other", "identities": [{"userId": "00u2", "providerName": "acme-okta"}]}
        ).identity,
    )
    assert victim.email == changed.email
    assert (victim.sub, victim.idp_subject) != (changed.sub, changed.idp_subject)
    head = identity_headers(tenant(), changed)
    assert head is not None and ("X-User", "other") in head


@pytest.mark.parametrize(
    ("groups", "kind", "said"),
    [
        (None, ProviderKind.ENTRA, True),
        ("[a]", ProviderKind.ENTRA, False),
        (None, ProviderKind.OKTA, False),
    ],
)
def test_a_login_of_entra_without_any_groups_is_told_to_the_operator(
    groups: str | None, kind: ProviderKind, *, said: bool
) -> None:
    """Entra leaves the claim out for people in more than 200, and everybody would take them for no
    member.
    """
    assert (
        any(
            "more than 200" in warning
            for warning in accepted(
                {"custom:groups": groups}, provider=provider(kind=kind)
            ).warnings
        )
        is said
    )


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({}, True),
        ({"prompted_for": ""}, False),
        ({"prompted_for": "other.acme.com"}, False),
        ({"prompted_for": "", "host": ""}, False),
        ({"began": (NOW - FRESH_S - 1) * 1_000_000}, False),
        ({"auth_time": NOW - FRESH_S - 1}, False),
    ],
    ids=["fresh", "silent", "for another host", "for no host", "begun long ago", "asked long ago"],
)
def test_a_login_is_fresh_where_the_person_was_asked_for_this_host_and_both_clocks_say_lately(
    changes: dict[str, Any], fresh: bool
) -> None:
    asked = {
        "host": "app.acme.com",
        "prompted_for": "app.acme.com",
        "began": (NOW - FRESH_S) * 1_000_000,
        "auth_time": NOW - FRESH_S,
    }
    assert is_fresh(session(**{**asked, **changes}), now=NOW) is fresh


def social(**changes: Any) -> Any:
    """A provider that lists one account."""
    alice = SocialAccount("1", "alice@acme.com", frozenset({"users"}), frozenset({"editor"}))
    return provider(
        "acme-facebook",
        ProviderKind.FACEBOOK,
        **{"accounts": {"1": alice}, "email_trust": EmailTrust.VERIFIED_CLAIM, **changes},
    )


SOCIAL_CLAIMS: dict[str, Any] = {
    "cognito:username": "Facebook_1",
    "email": "ceo@acme.com",
    "email_verified": "true",
    "preferred_username": "ceo",
    "custom:groups": "[admins]",
    "custom:roles": "owner",
    "custom:hd": "acme.com",
    "identities": [{"userId": "1", "providerName": "Facebook", "providerType": "Facebook"}],
}


def test_somebody_with_a_social_account_is_whom_the_document_lists() -> None:
    """Whatever the provider says, and whatever another tenant's logins wrote into the profile."""
    made = accepted(SOCIAL_CLAIMS, provider=social())
    who = made.identity
    assert (
        who.email,
        who.email_domain,
        who.groups,
        who.roles,
        who.oid,
        who.preferred_username,
    ) == (
        "alice@acme.com",
        "acme.com",
        ("users",),
        ("editor",),
        "",
        "",
    )
    assert (who.idp_subject, who.provider, who.name, who.claims) == (
        "1",
        "acme-facebook",
        "Alice A",
        (),
    )
    assert (made.idp_iat, made.idp_iat_mapped, made.auth_time) == (None, False, 5)


@pytest.mark.parametrize(
    ("claims", "changes", "reason"),
    [
        ({"identities": [{"userId": "2", "providerName": "Facebook"}]}, {}, Reason.EMAIL_DOMAIN),
        ({}, {"accounts": {}}, Reason.EMAIL_DOMAIN),
        ({}, {"domains": frozenset({"other.com"})}, Reason.EMAIL_DOMAIN),
        (
            {"identities": [{"userId": "1", "providerName": "LoginWithAmazon"}]},
            {},
            Reason.IDP_ERROR,
        ),
        ({"identities": [{"userId": "1", "providerName": "acme-facebook"}]}, {}, Reason.IDP_ERROR),
        ({"identities": None}, {}, Reason.IDP_ERROR),
    ],
)
def test_a_social_account_that_is_not_listed_signs_nobody_in(
    claims: dict[str, Any], changes: dict[str, Any], reason: Reason
) -> None:
    made = result(
        {**SOCIAL_CLAIMS, "email": "alice@acme.com", **claims}, provider=social(**changes)
    )
    assert isinstance(made, Refusal) and made.reason is reason
    assert made.denied == ("s" if reason is Reason.EMAIL_DOMAIN else "")


def test_personal_microsoft_accounts_are_found_by_the_tenants_own_name() -> None:
    microsoft = replace(social(), name="acme-live", kind=ProviderKind.MICROSOFT_SOCIAL)
    claims = {"identities": [{"userId": "1", "providerName": "acme-live"}]}
    assert accepted({**SOCIAL_CLAIMS, **claims}, provider=microsoft).identity.email_domain
