"""Members of groups count toward a tenant's SCIM quota."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("scim_usage", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("members", sa.BigInteger(), nullable=False, server_default="0")
        )
