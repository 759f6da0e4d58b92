"""Connections to identity providers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "connections",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("told", sa.String(length=12), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", sa.Float(), nullable=True),
        sa.Column("detail", sa.String(length=400), nullable=False),
        sa.Column("certificates", JSON, nullable=True),
        sa.Column("checked_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "provider", name=op.f("pk_connections")),
    )
    op.create_table(
        "credential_expiries",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("credential", sa.String(length=24), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("told_days", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint(
            "tenant", "provider", "credential", name=op.f("pk_credential_expiries")
        ),
    )
