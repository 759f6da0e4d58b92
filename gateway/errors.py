"""The exception tree: whose fault it was.

GatewayError
├── ConfigError        ours, at start-up: exit 2; names file, key, value and what is allowed
├── PeerError          theirs: an identity provider, a hook sender, a browser
└── UnavailableError   nobody's: Redis, SQL or AWS is down, slow or not to be trusted now
    ├── OutdatedError  ours, for some milliseconds: a tenant snapshot that takes something away is
    not applied here yet └── UnconfirmedError  written, and not promised: too few replicas of the
    store have it

Outcomes (a denial, a refused login) are values, never exceptions. Only the web edge turns these
into responses. No message of any of them carries a token, code, cookie or secret.
"""

from __future__ import annotations


class GatewayError(Exception):
    """Everything this project raises on purpose."""


class ConfigError(GatewayError):
    """The configuration or the command is wrong; the process must not serve with it."""


class PeerError(GatewayError):
    """A peer sent or answered what it must not have.

    ``code`` is stable and goes to logs; ``str(error)`` says what was wrong without quoting secrets;
    ``setting`` what to change, where that is known.
    """

    def __init__(self, code: str, message: str, *, setting: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.setting = setting


class UnavailableError(GatewayError):
    """A dependency cannot answer now. The answer is 503: never a logout, never an allow (invariant
    8).
    """


class OutdatedError(UnavailableError):
    """Nobody is let in by the tenants that are served here: the snapshot that takes something away
    is on its way.
    """

    def __init__(self) -> None:
        super().__init__(
            "this replica has not yet applied a tenant snapshot that takes something away"
        )


class UnconfirmedError(UnavailableError):
    """Written, and too few replicas said that they have it: done there, not promised."""
