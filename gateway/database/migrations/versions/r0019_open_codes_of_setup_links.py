"""Open codes of setup links."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("setup_links", schema=None) as batch_op:
        batch_op.add_column(sa.Column("open_codes", JSON, nullable=True))
        batch_op.drop_column("code_until")
        batch_op.drop_column("code_digest")
