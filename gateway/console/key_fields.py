"""What is asked for a new key of the admin API. Labels are texts of the catalogs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.admin.keys import LINK_KEY_S
from gateway.console.fields import Field, Kind
from gateway.console.texts import N_
from gateway.core.scopes import Scope

if TYPE_CHECKING:
    from gateway.console.operator import Operator

DAY_S: Final = 86_400
_SCOPES: Final = Field("scopes", N_("Scopes"), Kind.SEVERAL, N_("What the key may do."))
_LIFETIME: Final = Field(
    "expires_in",
    N_("Lifetime"),
    Kind.CHOICE,
    options=(
        (str(30 * DAY_S), N_("30 days")),
        (str(90 * DAY_S), N_("90 days")),
        (str(365 * DAY_S), N_("1 year")),
        ("", N_("until it is revoked")),
    ),
)
_FIELDS: Final = (
    Field("name", N_("Name"), help=N_("For what, for example ci onboarding."), required=True),
    _SCOPES,
    Field(
        "tenant",
        N_("Tenant ID"),
        help=N_("Binds the key to one tenant. Empty: all tenants."),
    ),
    _LIFETIME,
)


def key_fields(operator: Operator) -> tuple[Field, ...]:
    """With the scopes that whoever asks has, for a tenant at least: others they cannot give. Nor
    a life that the API refuses to whoever opened a one-time link.
    """
    scopes = tuple((str(scope), "") for scope in Scope if operator.may(scope))
    lives = tuple(
        (seconds, label)
        for seconds, label in _LIFETIME.options
        if not operator.person.link or 0 < int(seconds or 0) <= LINK_KEY_S
    )
    options = {_SCOPES: scopes, _LIFETIME: lives}
    return tuple(replace(f, options=options[f]) if f in options else f for f in _FIELDS)
