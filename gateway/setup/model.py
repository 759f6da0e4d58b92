"""What a setup link is: parts, recipients, state, and the work that is done with it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

IDLE_S: Final = 3600
LONGEST_S: Final = 8 * 3600
"""Of one browser's work; after either the address and the phrase are asked for again."""
TRIES: Final = 5
LOCK_S: Final = 900
LOCKS: Final = 3
"""Five wrong phrases lock a link for a quarter of an hour; the third lock revokes it. Fifteen tries
at the 32 bits of a phrase: one in 286 million. Five wrong codes end the code of that browser, and
nothing else.
"""
CODE_DIGITS: Final = 8
SHORT_TRIES: Final = 15
LONG_CODE_DIGITS: Final = 12
"""So many tries at codes of ``CODE_DIGITS`` are one in 6.7 million. Where more are possible, codes
have ``LONG_CODE_DIGITS``: all tries of thirty days are one in 13 million.
"""
CODE_S: Final = 600.0
"""How long a code by mail is valid. The letter says it."""
CODES_OF_CLIENT: Final = 5
CODES: Final = 20
CODES_WINDOW_S: Final = 3600
"""So many codes of one link one client asks for within so long, and so many are mailed to whomever:
a mailbox is not filled, and one client does not use up what is another one's.
"""


class Part(StrEnum):
    """What a link is for."""

    SIGN_IN = "sign_in"
    ACCESS = "access"
    DOMAINS = "domains"
    OFFBOARDING = "offboarding"
    MAINTAIN = "maintain"
    RENEW = "renew"
    """Another secret, or other SAML metadata, of a connection that people sign in with."""


HANDED_ON: Final = frozenset({Part.DOMAINS, Part.OFFBOARDING, Part.MAINTAIN})
"""What a recipient may ask a colleague for: their work is the tenant's, not the link's."""
PUT_BACK_S: Final = 24 * 3600.0
"""For how long the former secret or metadata of a renewed connection are kept."""
COLLEAGUES: Final = 3
"""Open links for colleagues, of one link."""
COLLEAGUES_ASKED: Final = 5
COLLEAGUES_WINDOW_S: Final = 3600.0
"""So many colleagues are asked with one link within so long, whatever becomes of their links: each
is a letter to whomever.
"""
LETTERS: Final = 5
LETTERS_WINDOW_S: Final = 3600
"""So many letters go to one address within so long because recipients of whichever links asked
for it.
"""


class Confirm(StrEnum):
    """What a recipient shows beside the address. ``PHRASE``: four words that they were told by
    another way. ``MAIL``: a code that is sent to them when they ask for it.
    """

    PHRASE = "phrase"
    MAIL = "mail"


class Approval(StrEnum):
    """Who lets people sign in with what was connected. ``OTHER_PERSON``: not the link's maker."""

    REQUIRED = "required"
    OTHER_PERSON = "other_person"
    NONE = "none"


class SetupProvider(StrEnum):
    """Whose guide is shown. Closed: a name in an address is one of these or not found."""

    OKTA = "okta"
    ENTRA = "entra"
    GOOGLE = "google"
    ONELOGIN = "onelogin"
    PINGONE = "pingone"
    JUMPCLOUD = "jumpcloud"
    KEYCLOAK = "keycloak"
    AUTH0 = "auth0"
    ADFS = "adfs"
    OTHER = "other"


class Protocol(StrEnum):
    OIDC = "oidc"
    SAML = "saml"


class LinkState(StrEnum):
    """``LOCKED`` and ``EXPIRED`` follow from the time."""

    ISSUED = "issued"
    CLAIMED = "claimed"
    LOCKED = "locked"
    COMPLETED = "completed"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REPLACED = "replaced"


class Stage(StrEnum):
    """By what links are looked for. ``OPEN``: there is something to do, for somebody."""

    OPEN = "open"
    COMPLETED = "completed"
    ENDED = "ended"


OPEN: Final = frozenset({LinkState.ISSUED, LinkState.CLAIMED, LinkState.COMPLETED})
"""Whoever holds the address and the phrase gets in."""
ENDED: Final = frozenset({LinkState.EXPIRED, LinkState.REVOKED, LinkState.REPLACED})


class Phase(StrEnum):
    """Of the connection. Another value of it leads back to ``SAVED``: what goes live was tested."""

    DRAFT = "draft"
    SAVED = "saved"
    TESTED = "tested"
    SUBMITTED = "submitted"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class NewTenant:
    """The operator's words about a tenant that does not exist yet. ``groups`` None: the recipient
    chooses.
    """

    name: str
    hosts: tuple[str, ...]
    email_domains: tuple[str, ...]
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class NewConnection:
    """The operator's words about an identity provider that is connected beside those of the tenant.
    ``email_domains``: that it vouches for. ``groups``: who gets in with it; None: the recipient
    chooses, or the tenant's count.
    """

    email_domains: tuple[str, ...]
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What the recipients did so far. Times are UTC epoch seconds.

    ``values``: of the connection's form, for showing them again; no secret is among them. ``name``:
    of the tenant's provider, once saved. ``test``: the last test link's token. ``groups``,
    ``claims``: names that arrived at the test. ``everyone`` and ``chosen``: who gets in.
    ``hook_since``: when the hook secret was shown. ``returned``: what an operator asks to change.
    ``made``: names of all providers that were stored with the link. ``replaces``: links that it
    took the place of, whose work it goes on with. ``run`` and ``entry``: what was stored with
    ``name``, so that a later change of it is seen: the run of provisioning, and a digest of the
    provider in the tenant's document. ``basis``: version of the tenant when it went live.

    Of a renewal, ``name`` is the provider that the new values are tested with. ``renews``: the
    connection; ``owner``: the link whose the provider for tests is; ``since``, ``run``: see
    ``provisioning.renewal.Trial``. ``expires``, ``former_expires``: dates of the secrets.
    ``put_back_until``: until when the former values are kept; ``put_back``: they are in use again.
    """

    phase: Phase = Phase.DRAFT
    provider: str = ""
    protocol: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    test: str = ""
    tested_at: float | None = None
    tester: str = ""
    groups: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    everyone: bool = False
    chosen: tuple[str, ...] = ()
    hook_since: float | None = None
    denied_after_ms: float | None = None
    returned: str = ""
    made: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    run: str = ""
    entry: str = ""
    basis: str = ""
    renews: str = ""
    owner: str = ""
    since: str = ""
    keeps_certificate: bool | None = None
    expires: str = ""
    former_expires: str = ""
    put_back_until: float | None = None
    put_back: bool = False

    @property
    def access_decided(self) -> bool:
        return self.everyone or bool(self.chosen)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Work:
        """Fields that another release wrote are left out."""
        names = {each.name for each in fields(cls)}
        values = {name: value for name, value in stored.items() if name in names}
        for name in ("groups", "claims", "chosen", "made", "replaces"):
            values[name] = tuple(values.get(name, ()))
        return cls(**{**values, "phase": Phase(values.get("phase", Phase.DRAFT))})


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks for. ``providers`` empty: all. ``lifetime_s``: seconds.
    ``replaced_by``: who made another address of the link since, and so held it.
    """

    parts: frozenset[Part]
    recipients: tuple[str, ...]
    providers: tuple[SetupProvider, ...]
    language: str
    approval: Approval
    note: str
    lifetime_s: float
    new_tenant: NewTenant | None = None
    confirm: Confirm = Confirm.PHRASE
    replaced_by: tuple[str, ...] = ()
    connection: NewConnection | None = None
    """Of a tenant that people sign in to already."""


def handed_on(request: Request) -> frozenset[Part]:
    """What a colleague may be asked for. Hooks and health are of all connections of a tenant, and a
    colleague's link has none of its own.
    """
    if request.connection is not None:
        return request.parts & {Part.DOMAINS}
    return request.parts & HANDED_ON


@dataclass(frozen=True, slots=True)
class SetupLink:
    """One link, without its secrets. Times are UTC epoch seconds. ``version`` counts changes of
    ``work``. ``times``: when it was first opened by a recipient, and when each step was done.
    """

    id: str
    tenant: str
    request: Request
    stored_state: LinkState
    created_at: float
    created_by: str
    expires_at: float
    locked_until: float | None
    claimed_by: str
    work: Work
    version: int
    times: Mapping[str, float] = field(default_factory=dict)
    parent: str = ""
    """The link whose recipient asked this one's for help; "" for an operator's."""

    @property
    def actor(self) -> str:
        """Who works with it, in audit records."""
        return f"{self.id}/{self.claimed_by}" if self.claimed_by else self.id

    def is_by_it(self, actor: str) -> bool:
        """Whether what ``actor`` did was done with this link, or with one that it replaces."""
        kind, _, holder = actor.partition(":")
        return kind == "setup" and holder.partition("/")[0] in {self.id, *self.work.replaces}

    def state(self, now: float) -> LinkState:
        if self.stored_state in ENDED:
            return self.stored_state
        if self.expires_at <= now:
            return LinkState.EXPIRED
        if self.locked_until is not None and self.locked_until > now:
            return LinkState.LOCKED
        return self.stored_state

    def is_open(self, now: float) -> bool:
        return self.state(now) in OPEN | {LinkState.LOCKED}

    def offers(self, part: Part) -> bool:
        return part in self.request.parts

    def tasks(self) -> tuple[tuple[str, bool], ...]:
        """Steps to go live and whether each is done."""
        steps = [("provider", bool(self.work.provider))]
        if self.offers(Part.RENEW):
            steps = [("renewal", bool(self.work.name)), ("test", self.work.tested_at is not None)]
            return tuple(steps)
        if self.offers(Part.SIGN_IN):
            steps.append(("connection", bool(self.work.name)))
            steps.append(("test", self.work.tested_at is not None))
        if self.offers(Part.ACCESS):
            steps.append(("access", self.work.access_decided))
        return tuple(steps) if self.offers(Part.SIGN_IN) else ()

    def steps(self) -> tuple[tuple[str, bool], ...]:
        """All that a time is kept of."""
        work = self.work
        return (
            *self.tasks(),
            ("submitted", work.phase in {Phase.SUBMITTED, Phase.LIVE}),
            ("live", work.phase is Phase.LIVE),
            ("offboarding", work.denied_after_ms is not None),
        )

    def timed(self, now: float) -> dict[str, float]:
        """``times`` with what is done by now; what has to be done again has none."""
        done_steps = {name for name, is_done in self.steps() if is_done}
        undone = {name for name, is_done in self.steps() if not is_done}
        times = {name: at for name, at in self.times.items() if name not in undone}
        return {**dict.fromkeys(done_steps, now), **times}

    @property
    def draft_of(self) -> str:
        """The link whose are the domains of a tenant that it will make; "" without."""
        made = bool(self.work.made)
        return "" if made else self.parent or (self.id if self.request.new_tenant else "")

    @property
    def trial_until(self) -> float | None:
        """When the provider for tests is deleted; None where there is none."""
        if not self.work.owner:
            return None
        return self.work.put_back_until or self.expires_at

    @property
    def provider(self) -> str:
        """The tenant's provider that it is about; "" as long as there is none."""
        return self.work.renews or self.work.name

    @property
    def ready(self) -> bool:
        """All that going live needs was done."""
        tasks = self.tasks()
        return bool(tasks) and all(done for _, done in tasks)
