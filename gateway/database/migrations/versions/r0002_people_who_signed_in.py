"""People who signed in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("deprovisioned", sa.Integer(), nullable=False),
        sa.Column("blocked", sa.Integer(), nullable=False),
        sa.Column("status_at", sa.Float(), nullable=False),
        sa.Column("last_began", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.Column("last_sign_in_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("tenant", "key", name=op.f("uq_people_tenant_key")),
    )
    with op.batch_alter_table("people", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_people_last_sign_in_at"), ["last_sign_in_at"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_people_tenant_id"), ["tenant", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_people_tenant_status_id"), ["tenant", "status", "id"], unique=False
        )

    op.create_table(
        "people_names",
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["person"], ["people.id"], name=op.f("fk_people_names_person"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("person", "name", name=op.f("pk_people_names")),
    )
    with op.batch_alter_table("people_names", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_people_names_tenant_name_person"),
            ["tenant", "name", "person"],
            unique=False,
        )
