"""``gateway doctor cognito``: what it finds about app clients that provisioning made. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.cognito.desired import CUSTOM_ATTRIBUTES, POOL_USERS
from gateway.cognito.native_sessions import NEVER
from gateway.core.reason import Reason
from gateway.doctor.cognito_findings import unchecked, unexpected, verified

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.cognito.desired import ActualClient, ActualProvider
    from gateway.cognito.native_sessions import LoginReuse
    from gateway.cognito.password_login import PasswordRefused
    from gateway.doctor.cognito_findings import PoolFinding

PASSWORDS_SUFFIX: Final = "-passwords"
"""Those of them with which passwords of the pool's users are checked."""
_LONGEST_REFRESH_S: Final = 3600
_LONGEST_ACCESS_S: Final = 3600
_UNIT_S: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_UNWRITABLE: Final = frozenset({"username", "email_verified", "phone_number_verified"})
_PASSWORD_FLOWS: Final = frozenset({"ALLOW_USER_PASSWORD_AUTH"})


def client(found: ActualClient, providers: Mapping[str, ActualProvider]) -> Iterator[PoolFinding]:
    """One app client that provisioning made."""
    name = f"client {found.name}"
    readable, writable = set(found.strings("ReadAttributes")), set(found.strings("WriteAttributes"))
    unreadable = sorted(set(CUSTOM_ATTRIBUTES) - readable)
    mapped = {
        attribute
        for provider in found.strings("SupportedIdentityProviders")
        if provider != POOL_USERS and provider in providers
        for attribute in providers[provider].mapping
    }
    unwritable = sorted(mapped - writable - _UNWRITABLE)
    if unreadable or unwritable:
        yield unexpected(
            f"{name}: attributes",
            f"cannot read {', '.join(unreadable) or 'nothing else'}; cannot write "
            f"{', '.join(unwritable) or 'nothing else'}, which is mapped: gateway provision apply",
        )
    else:
        yield verified(f"{name}: attributes", "all that is mapped can be read and written")
    yield _validity(name, found.settings)
    rotation = found.settings.get("RefreshTokenRotation")
    if isinstance(rotation, dict) and rotation.get("Feature") == "ENABLED":
        yield verified(f"{name}: rotation", "refresh tokens are replaced at each use")
    else:
        yield unexpected(
            f"{name}: rotation",
            "is off: a stolen refresh token works until it expires. gateway provision apply",
        )


def client_secret(found: ActualClient) -> Iterator[PoolFinding]:
    """Of a client whose secret Secrets Manager keeps; it has been read, if it could be."""
    if not found.secret_arn:
        return
    name = f"client {found.name}: secret"
    if found.unreadable:
        yield unexpected(name, found.unreadable)
    else:
        yield verified(name, "is in Secrets Manager, and the gateway may read it")


def sessions(reuse: LoginReuse) -> PoolFinding:
    """Whether the pool tracks sessions of its own."""
    name = "sessions of the pool"
    return verified(name, reuse.sentence()) if reuse.tracked else unchecked(name, reuse.sentence())


def login_reuse(found: ActualClient, reuse: LoginReuse) -> Iterator[PoolFinding]:
    """For how long a client of logins takes the login cookie, where the pool tracks sessions."""
    minutes = reuse.minutes.get(found.client_id)
    if not reuse.tracked or minutes is None:
        return
    name = f"client {found.name}: login cookie"
    if minutes == NEVER:
        yield verified(name, "is not taken: each login asks the identity provider")
    else:
        yield unexpected(
            name,
            f"signs in for {minutes} minutes without the identity provider: "
            "gateway provision verify --fix",
        )


def ended_sessions() -> PoolFinding:
    """Whether ``AdminRevokeUserSession`` with LINKED ends what it should."""
    return unchecked(
        "end of a login cookie",
        "needs a user who is signed in and may be signed out: end their sessions, then sign in "
        "again at once without identity_provider. Watermarks keep the session out in any case",
    )


def password_client(found: ActualClient) -> Iterator[PoolFinding]:
    """One app client that provisioning made for passwords of the pool's users."""
    name = f"client {found.name}"
    flows = set(found.strings("ExplicitAuthFlows"))
    wrong = [
        text
        for text, is_so in (
            (f"takes {', '.join(sorted(flows)) or 'the default flows'}", flows != _PASSWORD_FLOWS),
            (
                "signs in on pages",
                bool(found.settings.get("AllowedOAuthFlowsUserPoolClient")),
            ),
            (
                "tells who is a user",
                found.settings.get("PreventUserExistenceErrors") != "ENABLED",
            ),
            (
                "writes attributes of the gateway",
                bool(set(CUSTOM_ATTRIBUTES) & set(found.strings("WriteAttributes")))
                or not found.strings("WriteAttributes"),
            ),
            (
                f"has refresh tokens for more than {_LONGEST_REFRESH_S // 60} minutes",
                _seconds(found.settings, "RefreshToken") > _LONGEST_REFRESH_S,
            ),
        )
        if is_so
    ]
    if wrong:
        yield unexpected(f"{name}: settings", f"{'; '.join(wrong)}: gateway provision verify --fix")
    else:
        yield verified(f"{name}: settings", "checks passwords, and nothing else")


def refused_secret(found: ActualClient, refusal: PasswordRefused | str) -> PoolFinding:
    """What Cognito said of nobody's password with a wrong ``SECRET_HASH``. A text instead: why it
    was not asked.
    """
    name = f"client {found.name}: wrong client secret"
    if isinstance(refusal, str):
        return unchecked(name, refusal)
    if refusal.reason is Reason.COGNITO_UNAVAILABLE and refusal.setting:
        return verified(name, f"is told from a wrong password ({refusal.code})")
    if refusal.reason is Reason.COGNITO_UNAVAILABLE:
        return unchecked(name, f"InitiateAuth gave no answer now ({refusal.code})")
    return unexpected(
        name,
        f"looks like {refusal.reason} ({refusal.code}): while the client secret is wrong, users "
        "are told that their password is. Nobody is let in by it; please report it",
    )


def _seconds(settings: Mapping[str, object], kind: str) -> int:
    units, value = settings.get("TokenValidityUnits"), settings.get(f"{kind}Validity")
    unit = str(units.get(kind, "days")) if isinstance(units, dict) else "days"
    return (value if isinstance(value, int) and value else 30) * _UNIT_S.get(unit, 86400)


def _validity(name: str, settings: Mapping[str, object]) -> PoolFinding:
    units = settings.get("TokenValidityUnits")
    unit = str(units.get("AccessToken", "hours")) if isinstance(units, dict) else "hours"
    value = settings.get("AccessTokenValidity")
    seconds = (value if isinstance(value, int) and value else 1) * _UNIT_S.get(unit, 3600)
    if not (isinstance(value, int) and value):
        seconds = _LONGEST_ACCESS_S
    said = f"access tokens are valid for {seconds // 60} minutes"
    if seconds > _LONGEST_ACCESS_S:
        return unexpected(
            f"{name}: token validity",
            f"{said}, during which nobody outside the gateway notices a revocation: at most 60",
        )
    return verified(f"{name}: token validity", said)
