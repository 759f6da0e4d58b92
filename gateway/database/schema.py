"""The schema: one table per noun. Times are UTC epoch seconds (float); ``_us`` are microseconds of
a tenant's clock.

Columns that hold a secret or a person's data are ``sealed(...)``: text made by ``Crypt``, found and
re-encrypted on key rotation through ``info["sealed"]``. Primary keys are text wherever another
system sees them, so that ids do not count what happens here.

Whoever changes a table here adds a revision to ``gateway/database/migrations/versions``
(``scripts/migration "what changes"``) and names it in ``REVISION``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REVISION = "0019"
"""Alembic's newest revision. A database at another one is refused at start-up, never guessed at."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

Json = JSON().with_variant(JSONB(), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only where the type is spelled INTEGER."""


CELL_ROW = "row named by"
"""In ``Table.info``: the columns that name a row to ``Crypt``, where they are not its primary key
(a cell is sealed before the database has numbered its row).
"""


def row_columns(table: Table) -> tuple[Column[Any], ...]:
    """What names a row to ``Crypt``, joined with ``/``."""
    names: tuple[str, ...] = table.info.get(CELL_ROW, ())
    return tuple(table.columns[name] for name in names) or tuple(table.primary_key.columns)


def sealed(name: str, *, nullable: bool = False) -> Column[str]:
    """A column that only ``Crypt`` reads and writes."""
    return Column(name, Text, nullable=nullable, info={"sealed": True})


def sealed_columns() -> Iterator[tuple[Table, Column[Any]]]:
    """Every column that only ``Crypt`` writes."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            if column.info.get("sealed"):
                yield table, column


def row_name(key: Sequence[object]) -> str:
    """How ``Crypt`` is told of a row."""
    return "/".join(str(part) for part in key)


# --- tenants ------------------------------------------------------------------------------------

tenants = Table(
    "tenants",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("version", Integer, nullable=False),  # counts up by one; the ETag
    Column("document", Json, nullable=False),  # TenantDocument with secrets replaced by "***"
    sealed("secrets"),  # JSON {"path.in.document": value}
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
)

tenant_names = Table(
    # every name a tenant in ``tenants`` claims: a second claim of it fails in the database itself
    "tenant_names",
    metadata,
    Column(
        "kind", String(10), primary_key=True
    ),  # host, wildcard (without ``*.``), domain, client, provider
    Column("name", String(253), primary_key=True),
    Column(
        "tenant",
        String(40),
        ForeignKey("tenants.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
)

client_credentials = Table(
    # of tenants that say ``client: managed``, from files too: hence no foreign key
    "client_credentials",
    metadata,
    Column("client_id", String(128), primary_key=True),
    Column("tenant", String(40), nullable=False, index=True),
    sealed("client_secret"),
    Column(
        "retires_at", Float, nullable=True
    ),  # of a client that a rotation replaced: when it is deleted; null for the one in use
    Column("pool", String(32), nullable=False, server_default="default"),  # of cognito.pools
    Column(
        "purpose", String(10), nullable=False, server_default="login"
    ),  # login, or passwords of the pool's users
    Column("updated_at", Float, nullable=False),
)

registry_state = Table(
    "registry_state",  # one row
    metadata,
    Column("id", Integer, primary_key=True),
    Column(
        "revision", BigInteger, nullable=False
    ),  # counts every change to tenants and credentials
    Column(
        "published_revision", BigInteger, nullable=False
    ),  # the last one that went out in a snapshot and that every replica obeys
    Column(
        "sent_revision",
        BigInteger,
        nullable=False,
        # told while some tenants' changes are not obeyed everywhere: the last one that went out in
        # a snapshot,
    ),
    Column("waiting", Json, nullable=False),  # and the ids of those tenants
    Column(
        "generation", BigInteger, nullable=False
    ),  # number of the last snapshot: never goes back
)

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("actor", String(200), nullable=False),  # admin key name, ``cli:USER``, hook source
    Column("action", String(80), nullable=False),  # ``tenant.update``, ``provision.apply`` …
    Column("tenant", String(40), nullable=True),
    Column("target", String(400), nullable=False, default=""),
    Column(
        "outcome", String(40), nullable=False, default="done"
    ),  # begun, done, dry_run, read, refused:STATUS, failed:STATUS
    Column("before", Json, nullable=True),  # secrets as "***"
    Column("after", Json, nullable=True),
    Column("request_id", String(64), nullable=False, default=""),
    Index(None, "tenant", "id"),
)
AUDIT_CHANGES, AUDIT_READS = text("outcome <> 'read'"), text("outcome = 'read'")
"""Literally: an index of some rows is used where a statement says the same, not a parameter."""
for _name, _columns, _which in (
    ("ix_audit_changes", (audit.c.id,), AUDIT_CHANGES),
    ("ix_audit_changes_tenant", (audit.c.tenant, audit.c.id), AUDIT_CHANGES),
    ("ix_audit_reads", (audit.c.id,), AUDIT_READS),
):
    Index(_name, *_columns, sqlite_where=_which, postgresql_where=_which)

audit_exports = Table(
    "audit_exports",
    metadata,
    Column("destination", String(400), primary_key=True),  # ``audit.export``
    Column("position", BigInteger, nullable=False),  # the highest id that was looked at
    Column("waiting", Json, nullable=False),  # lower ids that are still to leave → since when
    Column("updated_at", Float, nullable=False),
)

tenant_removals = Table(
    "tenant_removals",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column(
        "removals", BigInteger, nullable=False
    ),  # the last version of the one of this id that was deleted: whoever has it now is another one
    Column("removed_at", Float, nullable=False),
)

admin_keys = Table(
    "admin_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(120), nullable=False),
    Column(
        "hash", String(64), nullable=False, unique=True
    ),  # SHA-256 of 256 random bits: nothing to guess
    Column("scopes", Json, nullable=False),
    Column("tenant", String(40), nullable=True),  # bound to one tenant
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    Column("last_used_at", Float, nullable=True),
    Column("revoked_at", Float, nullable=True),
    Column("made_by", String(200), nullable=True),  # as ``audit.actor``; not known of older ones
    # One space of names for each tenant: one tenant's names say nothing of another's.
    UniqueConstraint("tenant", "name"),
    Index(
        "ix_admin_keys_name_unbound",
        "name",
        unique=True,
        sqlite_where=text("tenant IS NULL"),
        postgresql_where=text("tenant IS NULL"),
    ),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column(
        "scope", String(200), primary_key=True
    ),  # admin key, method and route: one caller's key is not another's
    Column("key", String(200), primary_key=True),
    Column(
        "fingerprint", String(64), nullable=False
    ),  # SHA-256 of the request body: the same key with another body is 422
    Column("created_at", Float, nullable=False),
    Column(
        "renewed_at", Float, nullable=False
    ),  # by the process that runs the request; old and without a status: it died
    Column("status", Integer, nullable=True),  # NULL while the first request is still running
    sealed("body", nullable=True),
)

# --- revocation ---------------------------------------------------------------------------------

revocations = Table(
    "revocations",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("source", String(40), nullable=False),
    sealed("request"),  # RevocationRequest as JSON: names a person
    sealed(
        "users", nullable=True
    ),  # JSON: the Cognito users whose sessions it ended, which only the store knew
    Column("watermark_us", BigInteger, nullable=True),  # re-applied as it was after a failover
    Column("received_at", Float, nullable=False),
    Column("event_time", Float, nullable=True),
    Column("durable_at", Float, nullable=True),
    Column("acknowledged_at", Float, nullable=True),
    Column("replicas", Json, nullable=True),
    Column("ended", Integer, nullable=False, default=0),
    Column(
        "to_tell", Integer, nullable=False, default=0, index=True
    ),  # 1: done by hand, and the tenant's app has yet to be told (``hooks.by_hand``)
    sealed(
        "people", nullable=True
    ),  # JSON: of a person's block by hand, as whom they were signed in
    Index(None, "tenant", "received_at"),
    Index(None, "received_at"),
    Index(None, "durable_at", "id"),
)

blocks = Table(
    "blocks",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("alias", String(128), nullable=False),  # HMAC index entry: the same that Redis holds
    sealed("who"),  # JSON of Who: for lists and for re-keying
    Column(
        "source", String(40), nullable=False
    ),  # an operator's block is lifted by ``admin`` or ``cli`` only
    Column("reason", String(400), nullable=False, default=""),
    Column("watermark_us", BigInteger, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("event_time", Float, nullable=True),
    Column("lifted_at", Float, nullable=True),
    Column("revocation", String(36), nullable=True),
    Index(None, "tenant", "lifted_at"),
    Index(None, "tenant", "alias"),
)

disabled_users = Table(
    # Cognito users whom a block disabled; gone when they are enabled again, or another block has
    # them
    "disabled_users",
    metadata,
    Column("block", String(36), primary_key=True),  # ``blocks.id``
    # digest of the username, with its pool unless that is the default
    Column("user", String(64), primary_key=True, index=True),
    Column("pool", String(32), nullable=False, server_default="default"),
    Column("tenant", String(40), nullable=False, index=True),
    sealed("username"),
    Column("disabled_at", Float, nullable=False),
)

overlays = Table(
    "overlays",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("alias", String(128), nullable=False),
    sealed("who"),
    Column(
        "group_name", String(256), nullable=False
    ),  # name or id, as the identity provider spells it
    Column("source", String(40), nullable=False),
    Column("removed_at", Float, nullable=False),  # event time, else receipt
    Column("removed_us", BigInteger, nullable=True),
    Column(
        "everybody", Integer, nullable=False, default=0
    ),  # 1: taken from everybody of the provider, not from one person
    Column(
        "group_id", String(64), nullable=False, default=""
    ),  # digest of the id of the group that was deleted, of one that was taken from everybody
    Column("said_at", Float, nullable=True),  # when the same group was last said to be deleted
    Column(
        "cleared_at", Float, nullable=True
    ),  # the stored attribute was confirmed to lack the group
    Column("lifted_at", Float, nullable=True),
    Column("revocation", String(36), nullable=True),
    UniqueConstraint("tenant", "alias", "group_name", "source"),
    Index(None, "tenant", "lifted_at"),
)

overlay_exemptions = Table(
    # who was added to a group of that name after it had been taken from everybody; gone with the
    # overlay
    "overlay_exemptions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("alias", String(128), nullable=False),
    sealed("who"),
    Column("group_name", String(256), nullable=False),
    Column("source", String(40), nullable=False),
    Column(
        "group_id", String(64), nullable=False
    ),  # digest of the id of the group that the person was added to
    Column("overlay", String(36), nullable=False, index=True),  # ``overlays.id``
    Column(
        "watermark_us", BigInteger, nullable=False
    ),  # of the removal that the person is exempt from; not from a later one
    Column("given_at", Float, nullable=False),
    UniqueConstraint("tenant", "alias", "group_name", "source"),
    Index(None, "tenant", "group_name", "source"),
)

# --- people -------------------------------------------------------------------------------------

people = Table(
    "people",  # who signed in, as the last login said (``hooks.people_register``)
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("key", String(64), nullable=False),  # digest of tenant and Cognito's sub
    sealed("document"),  # JSON: names, addresses, groups
    Column("status", String(20), nullable=False),  # active, blocked, deprovisioned: of the next two
    Column("deprovisioned", Integer, nullable=False),  # 1: by the identity provider
    Column("blocked", Integer, nullable=False),  # 1: by an operator
    Column("status_at", Float, nullable=False),  # when either was last said; 0: never
    Column("last_began", BigInteger, nullable=False),  # the login's time of the tenant's clock, µs
    Column("first_seen_at", Float, nullable=False),
    Column("last_sign_in_at", Float, nullable=False),
    UniqueConstraint("tenant", "key"),
    Index(None, "tenant", "id"),
    Index(None, "tenant", "status", "id"),
    Index(None, "last_sign_in_at"),
    Index(None, "tenant", "last_sign_in_at"),
)

people_names = Table(
    "people_names",  # by what they are found: digests of user, address, provider's ids and groups
    metadata,
    Column("person", String(36), ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("provider", String(32), nullable=False),
    Index(None, "tenant", "name", "person"),
)

# --- connections to identity providers ----------------------------------------------------------

connections = Table(
    "connections",  # what the last look at a provider found (``expiry.records``)
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(32), primary_key=True),
    Column("state", String(12), nullable=False),  # unchecked, active, failing
    Column("told", String(12), nullable=False),  # the state that the app was last told; "" none
    Column("failures", Integer, nullable=False),  # in a row
    Column("failing_since", Float, nullable=True),
    Column("detail", String(400), nullable=False),  # what was wrong, in a sentence
    Column("certificates", Json, nullable=True),  # of SAML metadata: [fingerprint, expires_at]
    Column("checked_at", Float, nullable=False),
)

credential_expiries = Table(
    "credential_expiries",  # when what a connection hangs on ends
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(32), primary_key=True),
    Column("credential", String(24), primary_key=True),
    Column("expires_at", Float, nullable=False),
    Column("told_days", Integer, nullable=True),  # how many days before was told last
)

# --- hooks --------------------------------------------------------------------------------------

hook_inbox = Table(
    "hook_inbox",  # acknowledged to the sender once a row is here (invariant 11)
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),  # order of receipt
    Column("id", String(36), nullable=False, unique=True),
    Column("delivery", String(36), nullable=False),
    Column("source", String(40), nullable=False),
    Column("tenant", String(40), nullable=False),
    Column("provider", String(32), nullable=False),
    Column(
        "event", String(320), nullable=False
    ),  # the sender's event id; a random one where it gives none
    Column("type", String(120), nullable=False),  # the sender's name of it
    Column(
        "lane", String(64), nullable=False
    ),  # one person's (or group's) events: applied one after another
    Column("received_at", Float, nullable=False),
    Column("event_time", Float, nullable=True),
    sealed("payload"),
    Column(
        "state", String(20), nullable=False
    ),  # new, applied, applied_to_nobody, ignored, failed, held
    Column(
        "released", Integer, nullable=False, default=0
    ),  # 1: an operator said that it may take away from many people at once
    Column(
        "counted", Integer, nullable=False, default=0
    ),  # 1: took something from somebody, and counts as one of many (``brake``)
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Float, nullable=False),
    Column("error", String(400), nullable=False, default=""),
    Column("applied_at", Float, nullable=True),
    Column("revocations", Json, nullable=True),
    UniqueConstraint("source", "tenant", "provider", "event"),
    Index(None, "state", "next_at"),
    Index(None, "lane", "state"),
    Index(None, "tenant", "counted", "applied_at"),
    Index(None, "tenant", "received_at"),
    info={CELL_ROW: ("id",)},
)

hook_lanes = Table(
    "hook_lanes",  # who works on a lane, and until when; the row goes when the lane is empty
    metadata,
    Column("lane", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("held_until", Float, nullable=False),
)

hook_standing = Table(
    # per account (``about`` empty) and per person and group: what the newest event said
    "hook_standing",
    metadata,
    Column("lane", String(64), primary_key=True),
    Column("about", String(64), primary_key=True),  # digest of the group's key
    Column("id", String(36), nullable=False, unique=True),  # digest of both, to name it by
    Column("tenant", String(40), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("source", String(40), nullable=False),
    Column("refused", Integer, nullable=False),
    Column("in_force", Integer, nullable=False),  # whether ``imposed`` holds anything
    Column("at", Float, nullable=False),
    sealed("imposed"),  # JSON: the revocations to lift when it is given back
    Column("updated_at", Float, nullable=False),
    Index(None, "tenant", "refused", "in_force"),
)

hook_groups = Table(
    # what each group of a provider is called, and was: tokens and policies may name it, events know
    # its id
    "hook_groups",
    metadata,
    Column(
        "group", String(64), primary_key=True
    ),  # digest of tenant, provider, source and the group's id
    Column("tenant", String(40), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("source", String(40), nullable=False),
    Column("name", String(64), nullable=False, index=True),  # digest of what it is called now
    Column("at", Float, nullable=False),  # when it was last known to be called so
    sealed("names"),  # JSON: what it is called, then what it was called before
)

hook_deliveries = Table(
    "hook_deliveries",  # every authentic request to the hooks listener: what an operator looks at
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("source", String(40), nullable=False),
    Column("tenant", String(40), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("channel", String(20), nullable=False),  # push, backfill, delta, renamed, policy
    Column("received_at", Float, nullable=False),
    Column("outcome", String(40), nullable=False),
    Column("events", Integer, nullable=False),  # stored by this delivery
    Column("duplicates", Integer, nullable=False),
    Column("skipped", Json, nullable=True),  # [[index, type, reason, detail]]
    Column("request_id", String(64), nullable=False, default=""),
    Index(None, "tenant", "received_at"),
)

hook_arrivals = Table(
    # what senders did that stores nothing else: handshakes and refusals, counted by the minute
    "hook_arrivals",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(32), primary_key=True),
    Column("source", String(40), primary_key=True),
    Column(
        "outcome", String(40), primary_key=True
    ),  # handshake, unavailable, or why it was refused
    Column("minute", BigInteger, primary_key=True),  # of the epoch
    Column("times", Integer, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("detail", String(200), nullable=False, default=""),  # our own words about the last one
    Index(None, "minute"),
)

hook_secret_uses = Table(
    # when each hook secret proved a sender last, to the minute
    "hook_secret_uses",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(32), primary_key=True),
    Column("fingerprint", String(16), primary_key=True),  # by hooks.sources.credential
    Column("source", String(40), primary_key=True),
    Column("last_used_at", Float, nullable=False),
)

hook_leaders = Table(
    "hook_leaders",  # one admin replica does the periodic work of a name
    metadata,
    Column("name", String(120), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("held_until", Float, nullable=False),
)

graph_subscriptions = Table(
    "graph_subscriptions",
    metadata,
    Column("id", String(128), primary_key=True),  # Microsoft's
    Column("tenant", String(40), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("resource", String(40), nullable=False),
    Column(
        "made_for", String(64), nullable=False
    ),  # digest of address and client state: another one means making it again
    Column("created_at", Float, nullable=False),
    Column("renewed_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    UniqueConstraint("tenant", "provider", "resource"),
)

directory_channels = Table(
    "directory_channels",  # push channels of Google's Directory API, one for each kind of change
    metadata,
    Column("id", String(64), primary_key=True),  # ours
    Column("tenant", String(40), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("event", String(40), nullable=False),
    Column("resource", String(256), nullable=False),  # Google's, needed to stop it
    Column(
        "made_for", String(64), nullable=False
    ),  # digest of address, credential and secret: another one means making it again
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Index(None, "tenant", "provider"),
)

directory_addresses = Table(
    # whose an address is, as the last reading of a Google directory told: one that moves on is
    # given up by whoever had it before
    "directory_addresses",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(32), primary_key=True),
    Column("address", String(64), primary_key=True),  # digest
    Column("member", String(128), nullable=False),
    Column("is_primary", Integer, nullable=False),  # 1: what the user is called now; 0: an alias
    sealed("value"),
    Index(None, "tenant", "provider", "member"),
)

directory_cursors = Table(
    "directory_cursors",  # how far reconciliation has read
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(32), primary_key=True),
    Column(
        "resource", String(40), primary_key=True
    ),  # users, groups, log; with .page: where a reading goes on; rest: until when to ask nothing
    sealed("cursor"),
    Column("read_at", Float, nullable=False),  # last success; of rest: until when
    Column("wanted_at", Float, nullable=True),  # a gap was seen: do not wait for the schedule
)

directory_members = Table(
    # what reconciliation last saw of a group, so that a full reading can tell who is gone
    "directory_members",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(32), primary_key=True),
    Column("group_id", String(128), primary_key=True),
    Column("member", String(128), primary_key=True),
    Column(
        "reading", String(32), nullable=False, default=""
    ),  # the last full reading that saw them, "" none: who lacks its id at its end has left
)

scim_resources = Table(
    "scim_resources",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("kind", String(8), nullable=False),  # User, Group
    Column(
        "person", String(36), nullable=False
    ),  # what a user's standings hang on: the id, or that of a deleted record of the same person
    Column("name_digest", String(64), nullable=False),  # userName or displayName, case-folded
    Column(
        "unique_digest", String(64), nullable=False
    ),  # of a user the same; of a group the name and the externalId
    Column("external_digest", String(64), nullable=False),  # "" where there is none
    sealed("document"),
    Column("bytes", Integer, nullable=False),  # of the document as JSON
    Column("version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("tenant", "provider", "kind", "unique_digest"),
    Index(None, "tenant", "provider", "kind", "name_digest"),
    Index(None, "tenant", "provider", "kind", "external_digest"),
    Index(None, "tenant", "provider", "kind", "created_at", "id"),
)

scim_addresses = Table(
    "scim_addresses",  # e-mail addresses of people, to find them by
    metadata,
    Column("resource", String(36), primary_key=True),  # ``scim_resources.id``
    Column("address", String(64), primary_key=True),  # digest
    Column("tenant", String(40), nullable=False),
    Column("provider", String(32), nullable=False),
    Index(None, "tenant", "provider", "address"),
)

scim_usage = Table(
    "scim_usage",  # what a provider's resources come to, counted as they are written: its quota
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(32), primary_key=True),  # "": the tenant's own row, for its lock
    Column("users", Integer, nullable=False),
    Column("groups", Integer, nullable=False),
    Column("members", BigInteger, nullable=False, server_default="0"),  # of groups
    Column("bytes", BigInteger, nullable=False),
)

scim_former_names = Table(
    # names of deleted records, which stay refused until another record has them
    "scim_former_names",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(32), primary_key=True),
    Column("name", String(64), primary_key=True),  # digest of kind and value
    Column("person", String(36), primary_key=True),
    Column("external", Integer, nullable=False),  # 1: this is the record's externalId
    Index(None, "person"),
)

webhooks_outbox = Table(
    # what a tenant's app is told; sent until it answers 2xx or the attempts are used up
    "webhooks_outbox",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column(
        "id", String(36), nullable=False, unique=True
    ),  # the webhook-id that every attempt carries
    Column("tenant", String(40), nullable=False),
    Column("lane", String(64), nullable=False),  # one person's messages go out in order
    Column("event", String(80), nullable=False),
    sealed("payload"),
    Column("created_at", Float, nullable=False),
    Column("state", String(20), nullable=False),  # new, sent, failed
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Float, nullable=False),
    Column("held_until", Float, nullable=False, default=0.0),
    Column("sent_at", Float, nullable=True),
    Column("error", String(400), nullable=False, default=""),
    sealed("target", nullable=True),  # JSON: where a tenant that is gone had its app
    Index(None, "state", "next_at"),
    Index(None, "tenant", "lane", "state"),
    info={CELL_ROW: ("id",)},
)

mail_outbox = Table(
    # letters to people; content is erased once a letter was taken or given up
    "mail_outbox",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),  # in the Message-ID of every attempt
    Column("tenant", String(40), nullable=False),  # "": of none
    Column("template", String(24), nullable=False),
    sealed("content", nullable=True),  # JSON: address, subject, text, HTML
    Column("created_at", Float, nullable=False),
    Column("state", String(12), nullable=False),  # new, sent, failed
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Float, nullable=False),
    Column("held_until", Float, nullable=False, default=0.0),
    Column("expires_at", Float, nullable=True),  # not sent after that: a code has run out
    Column("sent_at", Float, nullable=True),
    Column("error", String(400), nullable=False, default=""),
    Index(None, "state", "next_at"),
    Index(None, "tenant", "state"),
    info={CELL_ROW: ("id",)},
)

domains = Table(
    # e-mail domains that tenants claim, and what DNS says of each
    "domains",
    metadata,
    Column("tenant", String(40), primary_key=True),
    Column("domain", String(253), primary_key=True),  # A-labels
    Column("holder", String(253), nullable=True, unique=True),  # the domain, while it is proven
    Column("value", String(60), nullable=False),  # of the record; never changes
    Column("state", String(12), nullable=False),
    Column("added_at", Float, nullable=False),
    Column("verified_at", Float, nullable=True),
    Column("missing_since", Float, nullable=True),
    Column("checked_at", Float, nullable=True),
    Column("next_at", Float, nullable=True, index=True),
    Column("result", Json, nullable=False),  # of the last look: what each server said
    Column("vouched_by", String(200), nullable=False, default=""),
    Column("reason", String(400), nullable=False, default=""),
    Column("link", String(16), nullable=True),  # the setup link that will make the tenant
    Index(None, "domain"),
    Index(None, "link"),
)

# --- provisioning -------------------------------------------------------------------------------

provision_runs = Table(
    "provision_runs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("kind", String(20), nullable=False),  # apply, rotate, destroy
    Column("state", String(20), nullable=False),  # running, undoing, settling, done, rolled_back
    sealed(
        "request"
    ),  # without the identity provider's client secret, unless it was asked to be kept
    Column("plan", Json, nullable=True),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float, nullable=True),
    Column("error", Json, nullable=True),
    Column("holder", String(64), nullable=True),  # process that works on it, until ``held_until``
    Column("held_until", Float, nullable=True),
    Index(None, "tenant", "started_at"),
    Index(None, "started_at", "id"),
    Index(None, "state"),
)

provision_steps = Table(
    "provision_steps",  # the journal: written before and after each call
    metadata,
    Column(
        "run", String(36), ForeignKey("provision_runs.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("number", Integer, primary_key=True),
    Column("action", String(80), nullable=False),
    Column("resource", String(400), nullable=False),
    Column("state", String(20), nullable=False),  # intended, done, refused, undone
    Column("undo", Json, nullable=True),
    sealed("before", nullable=True),  # what an update replaced
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float, nullable=True),
    Column("error", Json, nullable=True),
)

pool_user_creations = Table(
    # users of a pool who are made for a tenant and are not in its group yet
    "pool_user_creations",
    metadata,
    Column("id", String(64), primary_key=True),  # digest of the pool and the address
    Column("tenant", String(40), nullable=False, index=True),
    Column("pool", String(32), nullable=False),
    Column("attempt", String(32), nullable=False),  # the request that works on it
    Column("held_until", Float, nullable=False),  # 0: none does
    Column("begun_at", Float, nullable=False),
    sealed("document"),  # JSON: username, address, and Cognito's sub once it is known
)

# --- setup links --------------------------------------------------------------------------------

setup_links = Table(
    "setup_links",  # by which a customer's administrator connects their identity provider
    metadata,
    Column("id", String(16), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("secret_digest", String(64), nullable=False),  # of the address
    Column("phrase_digest", String(64), nullable=False),
    sealed("request"),  # JSON: what the operator asked for, recipients included
    Column("state", String(12), nullable=False),  # issued, claimed, completed, revoked, replaced
    Column("created_at", Float, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),  # wrong phrases since the last lock; wrong codes
    Column("locks", Integer, nullable=False),
    Column("locked_until", Float, nullable=True),
    Column("open_codes", Json, nullable=True),  # digests of browsers and of their mailed codes
    Column("codes", Integer, nullable=True),  # mailed since ``codes_since``
    Column("codes_since", Float, nullable=True),
    Column("parent", String(16), nullable=True),  # whose holder made it for a colleague
    Column("submitted_at", Float, nullable=True),  # since when its work may wait for approval
    Column("trial_until", Float, nullable=True),  # when its provider for tests is deleted
    Column("session_digest", String(64), nullable=True),  # of the browser that works with it
    Column("session_began_at", Float, nullable=True),
    Column("session_seen_at", Float, nullable=True),
    sealed("work"),  # JSON: who claimed it, what was done so far, and when
    Column("version", Integer, nullable=False),  # of ``work``
    Index(None, "tenant", "created_at", "id"),
    Index(None, "created_at", "id"),
    Index(None, "expires_at"),
    Index(None, "submitted_at"),
    Index(None, "trial_until"),
)
