"""Names of admin keys by tenant and who made them, uses of hook secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("admin_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("made_by", sa.String(length=200), nullable=True))
        batch_op.drop_constraint(batch_op.f("uq_admin_keys_name"), type_="unique")
        batch_op.create_unique_constraint(
            batch_op.f("uq_admin_keys_tenant_name"), ["tenant", "name"]
        )
        batch_op.create_index(
            "ix_admin_keys_name_unbound",
            ["name"],
            unique=True,
            sqlite_where=sa.text("tenant IS NULL"),
            postgresql_where=sa.text("tenant IS NULL"),
        )
    op.create_table(
        "hook_secret_uses",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("fingerprint", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("last_used_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "provider", "fingerprint", "source", name=op.f("pk_hook_secret_uses")
        ),
    )
