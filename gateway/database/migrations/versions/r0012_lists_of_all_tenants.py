"""Lists of all tenants, newest first, read an index."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("provision_runs", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_provision_runs_started_at_id"), ["started_at", "id"], unique=False
        )
    with op.batch_alter_table("setup_links", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_setup_links_created_at_id"), ["created_at", "id"], unique=False
        )
