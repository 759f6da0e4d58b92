"""User pools."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("client_credentials", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("pool", sa.String(length=32), server_default="default", nullable=False)
        )

    with op.batch_alter_table("disabled_users", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("pool", sa.String(length=32), server_default="default", nullable=False)
        )
