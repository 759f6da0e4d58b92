"""The pool's own users as one tenant's: the group that makes them so, the pages on which they sign
in, and what the pool asks of all of them. Values, and how Cognito shows them. Pure.

Sources: Cognito user pools API reference (DescribeUserPool, GetGroup, DescribeUserPoolDomain,
DescribeManagedLoginBrandingByClient).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MANAGED_LOGIN: Final = 2
"""Version of the pages that show an error to a client without a style."""
MAX_STYLES: Final = 20
"""Of a pool; AWS does not raise it."""


@dataclass(frozen=True, slots=True)
class PoolUsers:
    """``name``: of the tenant's provider; ``group``: of the pool, whose users are the tenant's."""

    name: str
    group: str


@dataclass(frozen=True, slots=True)
class PoolGroup:
    """As GetGroup shows it. ``mark``: its description, in which a group of ours carries the run."""

    name: str
    mark: str


@dataclass(frozen=True, slots=True)
class SignInPages:
    """``version`` of the pool's pages, None where it is not known; ``styled``: ids of the clients
    that have a style.
    """

    version: int | None
    styled: frozenset[str]

    @property
    def need_style(self) -> bool:
        """What is not known may be version 2."""
        return self.version is None or self.version >= MANAGED_LOGIN


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What holds for every user of the pool. ``mfa``: OFF, OPTIONAL or ON. ``requires``: kinds of
    characters in a password. ``temporary_days``: how long an invitation's password is good for.
    ``sign_up``: people may register themselves.
    """

    mfa: str
    password_length: int | None
    requires: tuple[str, ...]
    temporary_days: int | None
    sign_up: bool
    names: tuple[str, ...]
    """UsernameAttributes: what a user signs in with in place of a user name."""
    aliases: tuple[str, ...]
    tier: str

    def sentences(self) -> Iterator[str]:
        """For whoever reads a plan."""
        mfa = {
            "ON": "everybody needs a second factor",
            "OPTIONAL": "a second factor for those who have set one up; the pages do not ask "
            "others for one",
        }.get(self.mfa, "no second factor")
        length = (
            "as Cognito's default says"
            if self.password_length is None
            else f"{self.password_length} characters"
        )
        kinds = f", with {', '.join(self.requires)}" if self.requires else ""
        temporary = (
            "" if self.temporary_days is None else f"; invitations for {self.temporary_days} days"
        )
        yield (
            f"the pool's own users, by the pool's settings (the same for all tenants): {mfa} "
            f"(MFA {self.mfa}); passwords: {length}{kinds}{temporary}"
        )
        if self.sign_up:
            yield (
                "people may register in the pool by themselves (AllowAdminCreateUserOnly is "
                "off): they are nobody's users until they are in a tenant's group"
            )


_KINDS: Mapping[str, str] = {
    "RequireUppercase": "upper case",
    "RequireLowercase": "lower case",
    "RequireNumbers": "a digit",
    "RequireSymbols": "a symbol",
}


def read_settings(described: Mapping[str, Any]) -> PoolSettings:
    """``UserPool`` of DescribeUserPool."""
    password = (described.get("Policies") or {}).get("PasswordPolicy") or {}
    creation = described.get("AdminCreateUserConfig") or {}
    return PoolSettings(
        mfa=str(described.get("MfaConfiguration") or "OFF"),
        password_length=_number(password.get("MinimumLength")),
        requires=tuple(text for name, text in _KINDS.items() if password.get(name)),
        temporary_days=_number(password.get("TemporaryPasswordValidityDays")),
        sign_up=not creation.get("AllowAdminCreateUserOnly", False),
        names=tuple(map(str, described.get("UsernameAttributes") or ())),
        aliases=tuple(map(str, described.get("AliasAttributes") or ())),
        tier=str(described.get("UserPoolTier") or ""),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
