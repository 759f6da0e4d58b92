"""Lists of changes pass over recorded reads, and reads are deleted by themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

CHANGES, READS = sa.text("outcome <> 'read'"), sa.text("outcome = 'read'")


def upgrade() -> None:
    for name, columns, which in (
        ("ix_audit_changes", ["id"], CHANGES),
        ("ix_audit_changes_tenant", ["tenant", "id"], CHANGES),
        ("ix_audit_reads", ["id"], READS),
    ):
        op.create_index(name, "audit", columns, sqlite_where=which, postgresql_where=which)
