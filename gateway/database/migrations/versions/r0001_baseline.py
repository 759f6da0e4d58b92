"""The schema as it was when migrations began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "admin_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("last_used_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admin_keys")),
        sa.UniqueConstraint("hash", name=op.f("uq_admin_keys_hash")),
        sa.UniqueConstraint("name", name=op.f("uq_admin_keys_name")),
    )
    op.create_table(
        "audit",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=80), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=True),
        sa.Column("target", sa.String(length=400), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("before", JSON, nullable=True),
        sa.Column("after", JSON, nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_tenant_id"), "audit", ["tenant", "id"], unique=False)

    op.create_table(
        "blocks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("alias", sa.String(length=128), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.Column("watermark_us", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("event_time", sa.Float(), nullable=True),
        sa.Column("lifted_at", sa.Float(), nullable=True),
        sa.Column("revocation", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blocks")),
    )
    op.create_index(op.f("ix_blocks_tenant_alias"), "blocks", ["tenant", "alias"], unique=False)
    op.create_index(
        op.f("ix_blocks_tenant_lifted_at"), "blocks", ["tenant", "lifted_at"], unique=False
    )

    op.create_table(
        "client_credentials",
        sa.Column("client_id", sa.String(length=128), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("client_secret", sa.Text(), nullable=False),
        sa.Column("retires_at", sa.Float(), nullable=True),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_client_credentials")),
    )
    op.create_index(
        op.f("ix_client_credentials_tenant"), "client_credentials", ["tenant"], unique=False
    )

    op.create_table(
        "directory_cursors",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("resource", sa.String(length=40), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("read_at", sa.Float(), nullable=False),
        sa.Column("wanted_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint(
            "tenant", "provider", "resource", name=op.f("pk_directory_cursors")
        ),
    )
    op.create_table(
        "directory_members",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("group_id", sa.String(length=128), nullable=False),
        sa.Column("member", sa.String(length=128), nullable=False),
        sa.Column("reading", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "provider", "group_id", "member", name=op.f("pk_directory_members")
        ),
    )
    op.create_table(
        "disabled_users",
        sa.Column("block", sa.String(length=36), nullable=False),
        sa.Column("user", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("block", "user", name=op.f("pk_disabled_users")),
    )
    op.create_index(op.f("ix_disabled_users_tenant"), "disabled_users", ["tenant"], unique=False)
    op.create_index(op.f("ix_disabled_users_user"), "disabled_users", ["user"], unique=False)

    op.create_table(
        "graph_subscriptions",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("resource", sa.String(length=40), nullable=False),
        sa.Column("made_for", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("renewed_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_graph_subscriptions")),
        sa.UniqueConstraint(
            "tenant",
            "provider",
            "resource",
            name=op.f("uq_graph_subscriptions_tenant_provider_resource"),
        ),
    )
    op.create_table(
        "hook_arrivals",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.Column("detail", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "provider", "source", "outcome", "minute", name=op.f("pk_hook_arrivals")
        ),
    )
    op.create_index(op.f("ix_hook_arrivals_minute"), "hook_arrivals", ["minute"], unique=False)

    op.create_table(
        "hook_deliveries",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.String(length=20), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("skipped", JSON, nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_hook_deliveries")),
        sa.UniqueConstraint("id", name=op.f("uq_hook_deliveries_id")),
    )
    op.create_index(
        op.f("ix_hook_deliveries_tenant_received_at"),
        "hook_deliveries",
        ["tenant", "received_at"],
        unique=False,
    )

    op.create_table(
        "hook_groups",
        sa.Column("group", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("group", name=op.f("pk_hook_groups")),
    )
    op.create_index(op.f("ix_hook_groups_name"), "hook_groups", ["name"], unique=False)

    op.create_table(
        "hook_inbox",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("delivery", sa.String(length=36), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=320), nullable=False),
        sa.Column("type", sa.String(length=120), nullable=False),
        sa.Column("lane", sa.String(length=64), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("event_time", sa.Float(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("released", sa.Integer(), nullable=False),
        sa.Column("counted", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("error", sa.String(length=400), nullable=False),
        sa.Column("applied_at", sa.Float(), nullable=True),
        sa.Column("revocations", JSON, nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_hook_inbox")),
        sa.UniqueConstraint("id", name=op.f("uq_hook_inbox_id")),
        sa.UniqueConstraint(
            "source",
            "tenant",
            "provider",
            "event",
            name=op.f("uq_hook_inbox_source_tenant_provider_event"),
        ),
    )
    op.create_index(op.f("ix_hook_inbox_lane_state"), "hook_inbox", ["lane", "state"], unique=False)
    op.create_index(
        op.f("ix_hook_inbox_state_next_at"), "hook_inbox", ["state", "next_at"], unique=False
    )
    op.create_index(
        op.f("ix_hook_inbox_tenant_counted_applied_at"),
        "hook_inbox",
        ["tenant", "counted", "applied_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_hook_inbox_tenant_received_at"),
        "hook_inbox",
        ["tenant", "received_at"],
        unique=False,
    )

    op.create_table(
        "hook_lanes",
        sa.Column("lane", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("held_until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("lane", name=op.f("pk_hook_lanes")),
    )
    op.create_table(
        "hook_leaders",
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("held_until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hook_leaders")),
    )
    op.create_table(
        "hook_standing",
        sa.Column("lane", sa.String(length=64), nullable=False),
        sa.Column("about", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("in_force", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("imposed", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("lane", "about", name=op.f("pk_hook_standing")),
        sa.UniqueConstraint("id", name=op.f("uq_hook_standing_id")),
    )
    op.create_index(
        op.f("ix_hook_standing_tenant_refused_in_force"),
        "hook_standing",
        ["tenant", "refused", "in_force"],
        unique=False,
    )

    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("renewed_at", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "overlay_exemptions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("alias", sa.String(length=128), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("group_name", sa.String(length=256), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("overlay", sa.String(length=36), nullable=False),
        sa.Column("watermark_us", sa.BigInteger(), nullable=False),
        sa.Column("given_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_overlay_exemptions")),
        sa.UniqueConstraint(
            "tenant",
            "alias",
            "group_name",
            "source",
            name=op.f("uq_overlay_exemptions_tenant_alias_group_name_source"),
        ),
    )
    op.create_index(
        op.f("ix_overlay_exemptions_overlay"), "overlay_exemptions", ["overlay"], unique=False
    )
    op.create_index(
        op.f("ix_overlay_exemptions_tenant_group_name_source"),
        "overlay_exemptions",
        ["tenant", "group_name", "source"],
        unique=False,
    )

    op.create_table(
        "overlays",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("alias", sa.String(length=128), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("group_name", sa.String(length=256), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("removed_at", sa.Float(), nullable=False),
        sa.Column("removed_us", sa.BigInteger(), nullable=True),
        sa.Column("everybody", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("said_at", sa.Float(), nullable=True),
        sa.Column("cleared_at", sa.Float(), nullable=True),
        sa.Column("lifted_at", sa.Float(), nullable=True),
        sa.Column("revocation", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_overlays")),
        sa.UniqueConstraint(
            "tenant",
            "alias",
            "group_name",
            "source",
            name=op.f("uq_overlays_tenant_alias_group_name_source"),
        ),
    )
    op.create_index(
        op.f("ix_overlays_tenant_lifted_at"), "overlays", ["tenant", "lifted_at"], unique=False
    )

    op.create_table(
        "provision_runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("plan", JSON, nullable=True),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("holder", sa.String(length=64), nullable=True),
        sa.Column("held_until", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provision_runs")),
    )
    op.create_index(op.f("ix_provision_runs_state"), "provision_runs", ["state"], unique=False)
    op.create_index(
        op.f("ix_provision_runs_tenant_started_at"),
        "provision_runs",
        ["tenant", "started_at"],
        unique=False,
    )

    op.create_table(
        "registry_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("published_revision", sa.BigInteger(), nullable=False),
        sa.Column("sent_revision", sa.BigInteger(), nullable=False),
        sa.Column("waiting", JSON, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_state")),
    )
    op.create_table(
        "revocations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("users", sa.Text(), nullable=True),
        sa.Column("watermark_us", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("event_time", sa.Float(), nullable=True),
        sa.Column("durable_at", sa.Float(), nullable=True),
        sa.Column("acknowledged_at", sa.Float(), nullable=True),
        sa.Column("replicas", JSON, nullable=True),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("to_tell", sa.Integer(), nullable=False),
        sa.Column("people", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revocations")),
    )
    op.create_index(
        op.f("ix_revocations_durable_at_id"), "revocations", ["durable_at", "id"], unique=False
    )
    op.create_index(
        op.f("ix_revocations_received_at"), "revocations", ["received_at"], unique=False
    )
    op.create_index(
        op.f("ix_revocations_tenant_received_at"),
        "revocations",
        ["tenant", "received_at"],
        unique=False,
    )
    op.create_index(op.f("ix_revocations_to_tell"), "revocations", ["to_tell"], unique=False)

    op.create_table(
        "scim_addresses",
        sa.Column("resource", sa.String(length=36), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("resource", "address", name=op.f("pk_scim_addresses")),
    )
    op.create_index(
        op.f("ix_scim_addresses_tenant_provider_address"),
        "scim_addresses",
        ["tenant", "provider", "address"],
        unique=False,
    )

    op.create_table(
        "scim_former_names",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("external", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "provider", "name", "person", name=op.f("pk_scim_former_names")
        ),
    )
    op.create_index(
        op.f("ix_scim_former_names_person"), "scim_former_names", ["person"], unique=False
    )

    op.create_table(
        "scim_resources",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("name_digest", sa.String(length=64), nullable=False),
        sa.Column("unique_digest", sa.String(length=64), nullable=False),
        sa.Column("external_digest", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scim_resources")),
        sa.UniqueConstraint(
            "tenant",
            "provider",
            "kind",
            "unique_digest",
            name=op.f("uq_scim_resources_tenant_provider_kind_unique_digest"),
        ),
    )
    op.create_index(
        op.f("ix_scim_resources_tenant_provider_kind_created_at_id"),
        "scim_resources",
        ["tenant", "provider", "kind", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_scim_resources_tenant_provider_kind_external_digest"),
        "scim_resources",
        ["tenant", "provider", "kind", "external_digest"],
        unique=False,
    )
    op.create_index(
        op.f("ix_scim_resources_tenant_provider_kind_name_digest"),
        "scim_resources",
        ["tenant", "provider", "kind", "name_digest"],
        unique=False,
    )

    op.create_table(
        "scim_usage",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("users", sa.Integer(), nullable=False),
        sa.Column("groups", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "provider", name=op.f("pk_scim_usage")),
    )
    op.create_table(
        "tenant_removals",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("removals", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_tenant_removals")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.create_table(
        "webhooks_outbox",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("lane", sa.String(length=64), nullable=False),
        sa.Column("event", sa.String(length=80), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("held_until", sa.Float(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.Column("error", sa.String(length=400), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_webhooks_outbox")),
        sa.UniqueConstraint("id", name=op.f("uq_webhooks_outbox_id")),
    )
    op.create_index(
        op.f("ix_webhooks_outbox_state_next_at"),
        "webhooks_outbox",
        ["state", "next_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_webhooks_outbox_tenant_lane_state"),
        "webhooks_outbox",
        ["tenant", "lane", "state"],
        unique=False,
    )

    op.create_table(
        "provision_steps",
        sa.Column("run", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=80), nullable=False),
        sa.Column("resource", sa.String(length=400), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("undo", JSON, nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["run"], ["provision_runs.id"], name=op.f("fk_provision_steps_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run", "number", name=op.f("pk_provision_steps")),
    )
    op.create_table(
        "tenant_names",
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.id"], name=op.f("fk_tenant_names_tenant"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_tenant_names")),
    )
    op.create_index(op.f("ix_tenant_names_tenant"), "tenant_names", ["tenant"], unique=False)
