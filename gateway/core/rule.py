"""One rule of a tenant, as its document says it, and what may satisfy it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.core.canonical import canonical_ids


class Credential(StrEnum):
    """What an Authorization header may hold that a rule judges alone: the key by which a rule takes
    it.
    """

    BEARER = "bearer"
    APP_PASSWORD = "app_passwords"
    BASIC = "basic"
    """User name and password of HTTP Basic: of a user of the pool, where a rule takes them."""


@dataclass(frozen=True, slots=True)
class BearerRule:
    """Machine clients that a rule lets in: an access token of one of ``clients`` with one of
    ``scopes`` (empty: any).
    """

    clients: frozenset[str]
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One path and method rule, compiled. ``groups``/``roles``: None says nothing, a set wants any
    one of it.
    """

    path: str
    """A glob (``core.glob``)."""
    methods: frozenset[str] | None = None
    public: bool = False
    """No login is needed."""
    deny: bool = False
    groups: frozenset[str] | None = None
    any_group: bool = False
    """``groups: any``: also a user's access token, which carries no groups, satisfies the rule."""
    roles: frozenset[str] | None = None
    any_role: bool = False
    override_tenant_groups: bool = False
    """The rule's groups and roles count instead of the tenant's, not on top of them."""
    bearer: BearerRule | None = None
    browser_sessions: bool = True
    """Whether a browser session may satisfy the rule where ``bearer`` is given."""
    hosts: frozenset[str] | None = None
    """Canonical names, or ``*.`` and one for all names below it; None: every host of the tenant."""
    identity: tuple[tuple[str, str], ...] = ()
    """Managed headers, and their text where a machine's token satisfied ``bearer``; never a
    person's.
    """
    app_passwords: bool = False
    """Whether an app password of a person may satisfy the rule."""
    pool_passwords: bool = False
    """Whether name and password of a user of the pool may satisfy the rule (``basic: cognito``)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", canonical_ids(self.groups))
        object.__setattr__(self, "roles", canonical_ids(self.roles))

    @property
    def takes_basic(self) -> bool:
        """Whether a Basic credential of some kind may satisfy the rule."""
        return self.app_passwords or self.pool_passwords

    def judges(self, credential: Credential | None) -> bool:
        """Whether a request that carries this is judged by it alone, whatever its cookies say."""
        return (
            (credential is Credential.BEARER and self.bearer is not None)
            or (credential is Credential.APP_PASSWORD and self.app_passwords)
            or (credential is Credential.BASIC and self.pool_passwords)
        )
