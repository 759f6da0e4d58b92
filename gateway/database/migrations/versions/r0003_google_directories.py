"""What is known of Google directories: whose an address is, and the push channels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "directory_addresses",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("member", sa.String(length=128), nullable=False),
        sa.Column("is_primary", sa.Integer(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "provider", "address", name=op.f("pk_directory_addresses")
        ),
    )
    with op.batch_alter_table("directory_addresses", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_directory_addresses_tenant_provider_member"),
            ["tenant", "provider", "member"],
            unique=False,
        )

    op.create_table(
        "directory_channels",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("resource", sa.String(length=256), nullable=False),
        sa.Column("made_for", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_channels")),
    )
    with op.batch_alter_table("directory_channels", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_directory_channels_tenant_provider"),
            ["tenant", "provider"],
            unique=False,
        )
