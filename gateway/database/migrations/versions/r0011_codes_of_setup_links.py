"""Codes of setup links by mail, and links for colleagues."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("setup_links", schema=None) as batch_op:
        batch_op.add_column(sa.Column("code_digest", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("code_until", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("codes", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("codes_since", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("parent", sa.String(length=16), nullable=True))
