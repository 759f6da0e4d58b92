"""``gateway doctor cognito``: what a real user pool answers where AWS documents nothing, or both.

Rules:
- Without ``--provision`` every call reads. With it one app client is made, whose name begins with
  ``TRIAL_PREFIX``, and is deleted at the end, whatever happened; one that an interrupted run left
  is deleted by the next.
- A finding is verified, not as expected (with what to do), or could not be checked (and why). The
  gateway is safe with either answer: what each one means is in docs/developer/unverified.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from gateway.cognito.desired import (
    ATTRIBUTE_CHARACTERS,
    CUSTOM_ATTRIBUTES,
    IDP_IAT,
    same_issuer,
)
from gateway.cognito.feature_plan import LITE, features_sentence, plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.cognito.desired import ActualProvider, Attribute

TRIAL_PREFIX: Final = "temporary-gateway-doctor-"
"""Not ``gateway-``, with which the name of every tenant's client begins."""
GATEWAY_PREFIX: Final = "gateway-"
"""App clients that provisioning made."""


class Verdict(StrEnum):
    """What is known of one point."""

    VERIFIED = "verified"
    UNEXPECTED = "not as expected"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class PoolFinding:
    """One line. ``detail`` says what was seen, and what to do or why it was not looked at."""

    verdict: Verdict
    name: str
    detail: str


def verified(name: str, detail: str) -> PoolFinding:
    return PoolFinding(Verdict.VERIFIED, name, detail)


def unexpected(name: str, detail: str) -> PoolFinding:
    return PoolFinding(Verdict.UNEXPECTED, name, detail)


def unchecked(name: str, detail: str) -> PoolFinding:
    return PoolFinding(Verdict.UNCHECKED, name, detail)


# --- the pool -------------------------------------------------------------------------------------


def plan(described: Mapping[str, Any]) -> PoolFinding:
    """``UserPool`` of DescribeUserPool."""
    tier = plan_of(described)
    if not tier:
        return unchecked("feature plan", "DescribeUserPool names none that is known")
    if tier == LITE:
        text = f"{features_sentence(tier)}. Move the pool to Essentials"
        return unexpected("feature plan", text)
    return verified("feature plan", features_sentence(tier))


def user_names(described: Mapping[str, Any]) -> PoolFinding:
    """Whether subjects that differ by case are two users, as they are at the providers."""
    configuration = described.get("UsernameConfiguration") or {}
    if configuration.get("CaseSensitive"):
        return verified("usernames", "regard case, as subjects of identity providers do")
    return unexpected(
        "usernames",
        "ignore case: subjects that differ by case only are one user. It cannot be changed; create "
        "the pool with CaseSensitive=true if a provider has such subjects",
    )


def schema(attributes: Mapping[str, Attribute]) -> Iterator[PoolFinding]:
    """The attributes that the gateway maps, and email."""
    for name in (*CUSTOM_ATTRIBUTES, "email"):
        attribute = attributes.get(name)
        where = f"attribute {name}"
        if attribute is None:
            yield unexpected(where, "is missing: gateway provision adds it")
        elif not attribute.mutable:
            yield unexpected(
                where,
                "is not mutable: every second login fails. It cannot be changed; create the pool "
                "again",
            )
        elif name != "email" and (
            attribute.data_type != "String"
            or (attribute.max_length is not None and attribute.max_length < ATTRIBUTE_CHARACTERS)
        ):
            yield unexpected(
                where,
                f"is a {attribute.data_type} of at most {attribute.max_length} characters, and has "
                f"to be a String of {ATTRIBUTE_CHARACTERS}",
            )
        else:
            yield verified(where, "there, and mutable")


def required(
    attributes: Mapping[str, Attribute], providers: Sequence[ActualProvider]
) -> PoolFinding:
    """Whether each provider maps what the pool requires."""
    names = sorted(n for n, a in attributes.items() if a.required and n != "sub")
    gaps = [
        f"{provider.name} ({', '.join(gap)})"
        for provider in providers
        if (gap := [name for name in names if name not in provider.mapping])
    ]
    if gaps:
        return unexpected(
            "required attributes",
            f"not mapped by {'; '.join(gaps)}: first logins through them fail. Map them",
        )
    text = ", ".join(names) or "none"
    return verified("required attributes", f"{text}; mapped by {len(providers)} providers")


def quota(name: str, count: int, limit: int, key: str) -> PoolFinding:
    """``limit``: as ``cognito.quotas`` says; a tenth is to be left."""
    if count * 10 >= limit * 9:
        return unexpected(
            name,
            f"{count} of {limit}: delete some, or have the quota raised (Service Quotas) and set "
            f"cognito.quotas.{key}",
        )
    return verified(name, f"{count} of {limit}")


# --- its issuer and those of its providers --------------------------------------------------------


def issuer(name: str, ours: str, document: Mapping[str, object], *, who: str) -> PoolFinding:
    """``ours``: as configured; ``document``: of its discovery."""
    theirs = str(document.get("issuer", ""))[:200]
    if theirs == ours:
        return verified(name, f"{ours}, letter by letter")
    if same_issuer(theirs, ours):
        return unexpected(
            name,
            f"{who} has {ours!r}, and discovery says {theirs!r}: only a slash differs. AWS's "
            "guides leave the slash out; if logins fail with 'Bad id_token issuer', set Cognito's "
            "issuer to the other spelling in the console (the gateway keeps what it finds there)",
        )
    return unexpected(name, f"{who} has {ours!r}, and discovery says {theirs!r}: correct it")


# --- providers ------------------------------------------------------------------------


def freshness(provider: ActualProvider) -> PoolFinding:
    """Whether the provider's ``iat`` is mapped."""
    name = f"{provider.name}: iat"
    if provider.type == "SAML":
        return unchecked(name, "a SAML provider has none: the limits of the threat model apply")
    if provider.mapping.get(IDP_IAT) == "iat":
        return verified(name, f"is mapped to {IDP_IAT}")
    return unexpected(
        name,
        f"is not mapped to {IDP_IAT}: a stolen device may resume Cognito's session after "
        "end_sessions. Map it (gateway provision apply)",
    )


def stored(provider: str, profiles: Sequence[Mapping[str, str]], attribute: str) -> PoolFinding:
    """Whether Cognito writes a mapped claim: some of the provider's profiles, as stored."""
    name = f"{provider}: {attribute} stored"
    if not profiles:
        return unchecked(name, "nobody has signed in through it yet")
    values = [profile.get(attribute, "") for profile in profiles]
    if attribute == IDP_IAT:
        good = sum(value.isdecimal() and len(value) == 10 for value in values)
    else:
        good = sum(bool(value) for value in values)
    text = f"{good} of {len(profiles)} profiles that were read have it"
    if good:
        return verified(name, text)
    return unexpected(
        name,
        f"{text}, whole seconds are expected" if attribute == IDP_IAT else text,
    )


# --- a login --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoginSeen:
    """What one login's ID token said. Times in UTC epoch seconds; None: the claim was absent."""

    auth_time: int | None
    idp_iat: int | None


def resumption(
    first: LoginSeen, bare: LoginSeen | str, named: LoginSeen | str
) -> Iterator[PoolFinding]:
    """``first``: at the provider. ``bare``: at once afterwards, without ``identity_provider``;
    ``named``: with it. A text instead: why there was none.
    """
    if first.idp_iat is None:
        why = f"the ID token has no {IDP_IAT}: map iat for this provider"
        yield unexpected("login: iat", why)
        yield unchecked("resumption without identity_provider", why)
        yield unchecked("resumption with identity_provider", why)
        yield unchecked("auth_time of a resumed login", why)
        return
    yield verified("login: iat", f"the ID token has {IDP_IAT}")
    resumed = [s for s in (bare, named) if not isinstance(s, str) and s.idp_iat == first.idp_iat]
    for name, login, expectation in (
        ("resumption without identity_provider", bare, True),
        ("resumption with identity_provider", named, False),
    ):
        if isinstance(login, str):
            yield unchecked(name, login)
            continue
        happened = login.idp_iat == first.idp_iat
        text = (
            "Cognito answered from its own cookie"
            if happened
            else "Cognito asked the identity provider"
        )
        if happened is expectation:
            yield verified(name, text)
        else:
            yield unexpected(
                name,
                f"{text}: after end_sessions {IDP_IAT} alone tells a fresh login, so keep it mapped"
                if happened
                else f"{text}, which is safer than expected: nothing to do",
            )
    if not resumed:
        yield unchecked("auth_time of a resumed login", "no login was resumed")
    elif all(login.auth_time == first.auth_time for login in resumed):
        yield verified("auth_time of a resumed login", "is that of the login at the provider")
    else:
        yield unexpected(
            "auth_time of a resumed login",
            "is renewed: after end_sessions a bearer token from a resumed login passes. Block the "
            "user instead where tokens are used",
        )


def rotation(rotated: bool | None, *, offered: bool) -> PoolFinding:  # noqa: FBT001 - an answer
    """``rotated``: whether a refresh gave a new refresh token; None: there was none to use.
    ``offered``: whether the app client was made with rotation.
    """
    name = "refresh token rotation"
    if not offered:
        return unchecked(name, "the pool's plan refused it")
    if rotated is None:
        return unchecked(name, "the login gave no refresh token")
    if rotated:
        return verified(name, "a refresh gave a new refresh token")
    return unexpected(
        name,
        "a refresh gave no new refresh token, though the app client has rotation: a stolen refresh "
        "token works until it expires",
    )


def absent_hd(provider: str) -> PoolFinding:
    """Whether Cognito keeps a claim that is no longer sent."""
    return unchecked(
        f"{provider}: hd when it is absent",
        "needs an account that leaves its organization: sign in before and after, and read the "
        "profile (aws cognito-idp admin-get-user). The e-mail domain is compared in any case",
    )
