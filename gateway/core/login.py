"""From the claims of a validated ID token to an identity, or the reason why not.

What is enforced is the claim, for the provider that this login was begun with; what a person typed
only chose where to log in (invariant 3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.canonical import account_address, canonical_id
from gateway.core.groups import parse_groups
from gateway.core.hosts import email_domain
from gateway.core.model import EmailTrust, Identity, ProviderKind
from gateway.core.pool_groups import own_groups
from gateway.core.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.core.model import Provider, Session, Tenant

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MAX_CLAIM_CHARACTERS = 2048
"""Cognito's own limit for an attribute; anything longer did not come from there."""
MAX_GROUPS = 1000
PENDING_LIFETIME_S: Final = 600
"""How long a login that was begun may take: a person finds a second factor in that time, and
Cognito itself gives up after five minutes at each step. Also how long a reload of the callback is
recognized. The store counts it: the replica that a login comes back to may have another clock than
the one that it left from.
"""
FRESH_S: Final = 600
"""How long a login counts as fresh: time to fill in a form, and more than clocks differ."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """No session: ``detail`` is for the log and names settings, never values of claims."""

    reason: Reason
    detail: str
    denied: str = ""
    """Cognito ``sub`` of a person of this provider of whom the claims say outright what refuses
    them: that their address is a foreign one, or not verified. What is missing or cannot be read
    says nothing of anybody.
    """


@dataclass(frozen=True, slots=True)
class Accepted:
    """The identity, and what the login said about its freshness. ``warnings`` are for the log."""

    identity: Identity
    auth_time: int
    idp_iat: int | None
    idp_iat_mapped: bool
    warnings: tuple[str, ...]
    says_groups: bool = True
    says_roles: bool = True
    """False where the claim is missing or cannot be read: then the login says nothing about what an
    earlier one said.
    """


def is_fresh(session: Session, *, now: float) -> bool:
    """Whether the session is of a login that had the person asked for its very host, and neither
    our clock nor Cognito's says that this was more than ``FRESH_S`` ago. ``now``: UTC epoch
    seconds.

    The login host hands a session on to the tenant's other hosts unseen, and a script there must
    not gain by what the person did at this one.
    """
    return (
        session.prompted_for != ""
        and session.prompted_for == session.host
        and now - FRESH_S <= min(session.began / 1_000_000, session.auth_time)
    )


def accept(
    claims: Mapping[str, object], tenant: Tenant, provider: Provider, *, pool_id: str
) -> Accepted | Refusal:
    """Map claims to an identity for ``provider``. The token itself is already validated."""
    sub, username = _text(claims, "sub"), _text(claims, "cognito:username")
    if not sub or _CONTROL.search(sub) or _CONTROL.search(username):
        return Refusal(
            Reason.IDP_ERROR, "sub or cognito:username is missing or holds a control character"
        )
    subject = idp_subject(claims, provider, sub)
    if subject is None:
        return Refusal(
            Reason.IDP_ERROR,
            f"the token does not name provider {provider.name}, with which this login was begun",
        )
    if provider.is_social:
        return _of_account(claims, tenant, provider, sub=sub, username=username, subject=subject)
    email = _text(claims, "email")
    domain = email_domain(email)
    if domain is None:
        return Refusal(
            Reason.EMAIL_UNTRUSTED,
            (
                "the e-mail claim is missing or is not one plain address (is email mapped, and "
                "readable for the client?)"
            ),
        )
    if provider.email_trust is EmailTrust.VERIFIED_CLAIM and claims.get("email_verified") not in (
        True,
        "true",
    ):
        return Refusal(
            Reason.EMAIL_UNTRUSTED,
            (
                f"email_verified is not true, and provider {provider.name} has email_trust: "
                "verified_claim"
            ),
            sub if claims.get("email_verified") in (False, "false") else "",
        )
    if domain not in provider.domains or domain not in tenant.email_domains:
        return Refusal(
            Reason.EMAIL_DOMAIN,
            f"the e-mail's domain is not one of provider {provider.name}'s",
            sub,
        )
    if provider.kind is ProviderKind.GOOGLE and not _is_of_organization(claims, tenant, provider):
        return Refusal(
            Reason.EMAIL_DOMAIN,
            "custom:hd, the organization that manages the Google account, is missing or is not one "
            f"of provider {provider.name}'s domains (is hd mapped to it, and readable for the "
            "client?)",
            sub,
        )
    warnings: list[str] = []
    groups = _names(claims, "custom:groups", provider, warnings)
    if provider.kind is ProviderKind.COGNITO:
        pool_groups = _pool_groups(claims, pool_id)
        members = provider.members_group
        if members and members not in pool_groups:
            # Cognito leaves the claim out of tokens of people in no group.
            return Refusal(
                Reason.EMAIL_DOMAIN,
                f"provider {provider.name} has members_only, and the user is not in the pool's "
                f"group {members}",
                sub,
            )
        groups = _canonical(own_groups(members, pool_groups) if members else pool_groups)
    identity = Identity(
        sub=sub,
        email=account_address(email, domain),
        email_domain=domain,
        username=username,
        preferred_username=_printable(claims, "preferred_username"),
        name=_printable(claims, "name"),
        groups=groups[:MAX_GROUPS],
        roles=_names(claims, "custom:roles", provider, warnings),
        provider=provider.name,
        idp_subject=subject,
        oid=directory_oid(claims),
        claims=_extra_claims(claims, tenant),
    )
    if (
        not groups
        and provider.kind is ProviderKind.ENTRA
        and (tenant.allowed_groups is not None or provider.groups is not None)
    ):
        warnings.append(
            "no groups came, and some are asked for (Entra sends none of those who "
            "are in more than 200: send groups assigned to the application)"
        )
    if len(groups) > MAX_GROUPS:
        return Refusal(Reason.IDENTITY_TOO_LARGE, f"more than {MAX_GROUPS} groups")
    return Accepted(
        identity,
        _seconds(claims.get("auth_time")) or 0,
        _seconds(claims.get("custom:idp_iat")),
        "custom:idp_iat" in claims,
        tuple(warnings),
        says_groups=provider.kind is ProviderKind.COGNITO
        or _says(claims, "custom:groups", provider),
        says_roles=_says(claims, "custom:roles", provider),
    )


def _of_account(
    claims: Mapping[str, object],
    tenant: Tenant,
    provider: Provider,
    *,
    sub: str,
    username: str,
    subject: str,
) -> Accepted | Refusal:
    """Somebody of a provider at which anybody has an account: who they are is what the tenant's
    document says of that account. Of what came along, only the display name is taken: the address
    may be unverified, and the profile in the pool is not this tenant's alone.
    """
    account = provider.accounts.get(subject)
    domain = None if account is None else email_domain(account.email)
    if account is None or domain not in provider.domains & tenant.email_domains:
        return Refusal(
            Reason.EMAIL_DOMAIN,
            f"the account is none of those that provider {provider.name} lists (accounts), or its "
            "address there is of another domain",
            sub,
        )
    identity = Identity(
        sub=sub,
        email=account.email,
        email_domain=str(domain),
        username=username,
        preferred_username="",
        name=_printable(claims, "name"),
        groups=tuple(sorted(account.groups)),
        roles=tuple(sorted(account.roles)),
        provider=provider.name,
        idp_subject=subject,
    )
    return Accepted(
        identity,
        _seconds(claims.get("auth_time")) or 0,
        # An attribute of a profile that other tenants' logins write too.
        None,
        idp_iat_mapped=False,
        warnings=(),
    )


def _pool_groups(claims: Mapping[str, object], pool_id: str) -> tuple[str, ...]:
    """Cognito adds <pool>_<provider> by itself; it says nothing about what a person may do."""
    groups = claims.get("cognito:groups")
    if not isinstance(groups, list):
        return ()
    return tuple(g for g in groups if isinstance(g, str) and not g.startswith(f"{pool_id}_"))


def _is_of_organization(claims: Mapping[str, object], tenant: Tenant, provider: Provider) -> bool:
    """Anybody may open a Google account with an address of any domain; ``hd`` says whose account it
    is (Google, OpenID Connect).
    """
    domain = email_domain(f"a@{_text(claims, 'custom:hd')}")
    return domain is not None and domain in provider.domains and domain in tenant.email_domains


def directory_oid(claims: Mapping[str, object]) -> str:
    """The directory's own name of the person, where the provider sends one; "" where not."""
    return canonical_id(_printable(claims, "custom:oid"))


def idp_subject(claims: Mapping[str, object], provider: Provider, sub: str) -> str | None:
    """The customer's own subject. A federated token lists its provider in ``identities``; the
    pool's own users have none.
    """
    identities = claims.get("identities")
    if provider.kind is ProviderKind.COGNITO:
        return sub if not identities else None
    if not isinstance(identities, list):
        return None
    for entry in identities:
        if isinstance(entry, dict) and entry.get("providerName") == provider.cognito_name:
            subject = entry.get("userId")
            return (
                subject
                if isinstance(subject, str) and subject and not _CONTROL.search(subject)
                else None
            )
    return None


def _names(
    claims: Mapping[str, object], claim: str, provider: Provider, warnings: list[str]
) -> tuple[str, ...]:
    names = parse_groups(claims.get(claim), url_decode_groups=provider.url_decode_groups)
    if names is None:
        warnings.append(f"{claim} is truncated or not a list of names: taken as none")
        return ()
    return _canonical(names)


def _says(claims: Mapping[str, object], claim: str, provider: Provider) -> bool:
    return (
        claims.get(claim) is not None
        and parse_groups(claims[claim], url_decode_groups=provider.url_decode_groups) is not None
    )


def _canonical(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical_id, names)))


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) and len(value) <= MAX_CLAIM_CHARACTERS else ""


def _printable(claims: Mapping[str, object], name: str) -> str:
    return _CONTROL.sub("", _text(claims, name))


def _extra_claims(claims: Mapping[str, object], tenant: Tenant) -> tuple[tuple[str, str], ...]:
    names = sorted(
        {
            spec.source.removeprefix("claim:")
            for spec in tenant.headers
            if spec.source.startswith("claim:")
        }
    )
    values = ((name, claims.get(name)) for name in names)
    return tuple(
        (name, _CONTROL.sub("", str(v).lower() if isinstance(v, bool) else str(v)))
        for name, v in values
        if isinstance(v, str | int | bool)
    )


def _seconds(value: object) -> int | None:
    """Epoch seconds from a number or a string of digits; ``iat`` mapped into an attribute arrives
    as a string.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float) and 0 < value < 1e11:
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 11:
        return int(value)
    return None
