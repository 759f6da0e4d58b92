"""Signing in with a user name and a password: what the hosted pages and InitiateAuth share.

Rules (Cognito developer guide, "Managing user accounts", "Lockout behavior for failed sign-in
attempts"; API reference of InitiateAuth):
- a user may be named by user name, by ``sub``, or by an address that the pool takes in its place;
- after five wrong passwords, each further attempt is refused for a time that doubles, up to about
  15 minutes, whatever the password;
- a temporary password is good for the days of the password policy, and asks for a new one;
- what else is wrong with a user is said only to who knows the password, but for a reset.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demo.cognito.pool import Pool, User

FREE_ATTEMPTS = 5
LONGEST_LOCKOUT_S = 900.0
_DAY_S = 86_400
_KINDS = {
    "RequireUppercase": r"[A-Z]",
    "RequireLowercase": r"[a-z]",
    "RequireNumbers": r"[0-9]",
    "RequireSymbols": r"[\^$*.\[\]{}()?\"!@#%&/\\,><':;|_~`=+-]",
}
POLICY: dict[str, Any] = {
    "MinimumLength": 8,
    "RequireUppercase": True,
    "RequireLowercase": True,
    "RequireNumbers": True,
    "RequireSymbols": False,
    "TemporaryPasswordValidityDays": 7,
}
"""The pool's, where nothing else is set."""


class Outcome(Enum):
    """What a name and a password came to."""

    SIGNED_IN = auto()
    NEW_PASSWORD = auto()
    UNKNOWN = auto()
    WRONG = auto()
    LOCKED_OUT = auto()
    EXPIRED = auto()
    DISABLED = auto()
    UNCONFIRMED = auto()
    RESET_REQUIRED = auto()


@dataclass(slots=True)
class Failures:
    """Of one user, in a row. Until ``until`` nothing is compared."""

    count: int = 0
    until: float = 0.0


def policy(pool: Pool) -> dict[str, Any]:
    """The password policy in force."""
    given = (pool.settings.get("Policies") or {}).get("PasswordPolicy")
    return POLICY if given is None else given


def conforms(pool: Pool, password: str) -> str:
    """What the policy misses in it; "" where nothing."""
    wanted = policy(pool)
    if len(password) < int(wanted.get("MinimumLength", 8)):
        return "Password did not conform with policy: Password not long enough"
    for name, pattern in _KINDS.items():
        if wanted.get(name) and not re.search(pattern, password):
            kind = name.removeprefix("Require").lower()
            return f"Password did not conform with policy: Password must have {kind} characters"
    return ""


def user_of_name(pool: Pool, name: str) -> User | None:
    """By user name or ``sub``; by a verified address where the pool takes one."""
    found = pool.users.get(pool.fold(name))
    if found is not None:
        return found
    takes = {
        *(pool.settings.get("UsernameAttributes") or ()),
        *(pool.settings.get("AliasAttributes") or ()),
    }
    for user in pool.users.values():
        if user.provider is not None:
            continue
        if user.sub == name:
            return user
        address = user.attributes.get("email", "")
        same = address == name if pool.case_sensitive else address.lower() == name.lower()
        if "email" in takes and same and user.attributes.get("email_verified") == "true":
            return user
    return None


def check_password(pool: Pool, name: str, password: str) -> tuple[Outcome, User | None]:
    """Counts what is wrong. A federated user has no password, and is as unknown as nobody."""
    user = user_of_name(pool, name)
    if user is None or user.provider is not None or user.password is None:
        return Outcome.UNKNOWN, None
    now, failures = pool.clock(), pool.failures.setdefault(user.username, Failures())
    if user.own_status == "RESET_REQUIRED":
        return Outcome.RESET_REQUIRED, user
    if now < failures.until:
        return Outcome.LOCKED_OUT, user
    if not hmac.compare_digest(user.password.encode(), password.encode()):
        failures.count += 1
        if failures.count >= FREE_ATTEMPTS:
            wait_s = min(LONGEST_LOCKOUT_S, 2.0 ** (failures.count - FREE_ATTEMPTS))
            failures.until = now + wait_s
        return Outcome.WRONG, user
    pool.failures.pop(user.username)
    if not user.enabled:
        return Outcome.DISABLED, user
    if user.own_status == "UNCONFIRMED":
        return Outcome.UNCONFIRMED, user
    if user.own_status == "FORCE_CHANGE_PASSWORD":
        days = int(policy(pool).get("TemporaryPasswordValidityDays", 7))
        expired = now > user.password_set_at + days * _DAY_S
        return (Outcome.EXPIRED if expired else Outcome.NEW_PASSWORD), user
    return Outcome.SIGNED_IN, user
