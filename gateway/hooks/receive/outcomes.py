"""What becomes of a delivery: the status that its sender gets, and what an operator looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.hooks.event import RejectionReason, SkipReason

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUS = {
    RejectionReason.UNAUTHENTICATED: 401,
    RejectionReason.MALFORMED: 400,
    RejectionReason.TOO_LARGE: 413,
    RejectionReason.CONTENT_TYPE: 415,
    RejectionReason.KEY: 400,
    RejectionReason.ISSUER: 400,
    RejectionReason.AUDIENCE: 400,
    RejectionReason.EXPIRED: 400,
    RejectionReason.UNKNOWN_SUBJECT: 400,
    RejectionReason.NOT_CONFIGURED: 404,
}
UNAVAILABLE: Final = "unavailable"
_SECRET: Final = "providers[].hooks.secrets, and the secret at the provider"
_OTHER_KIND: Final = "the provider's set-up: another kind of sender than this address is for"
SETTINGS: Final[Mapping[str, str]] = {
    RejectionReason.UNAUTHENTICATED: _SECRET,
    SkipReason.CLIENT_STATE: _SECRET,
    RejectionReason.MALFORMED: _OTHER_KIND,
    RejectionReason.TOO_LARGE: "the provider's set-up: fewer changes in one delivery",
    RejectionReason.CONTENT_TYPE: _OTHER_KIND,
    RejectionReason.KEY: "providers[].issuer: its keys verify the signature",
    RejectionReason.ISSUER: "providers[].issuer",
    RejectionReason.AUDIENCE: "providers[].hooks.client_id or audience, hooks.url",
    RejectionReason.EXPIRED: "the clocks of this machine and of the provider",
    RejectionReason.UNKNOWN_SUBJECT: "none: the provider named nobody who signed in here",
    RejectionReason.NOT_CONFIGURED: "providers[].hooks: gateway hooks setup TENANT lists it",
    UNAVAILABLE: "database.url: the database, and /readyz of the admin role",
}
"""What an operator looks at, by the ``code`` of a delivery that was refused."""
OUTCOMES: Final = ("accepted", "duplicate", "ignored", "skipped", "throttled", *SETTINGS)
"""Of a delivery, as its metric counts them."""
UNPROVEN = frozenset(
    {
        RejectionReason.UNAUTHENTICATED,
        RejectionReason.KEY,
        RejectionReason.ISSUER,
        RejectionReason.AUDIENCE,
        RejectionReason.EXPIRED,
    }
)
