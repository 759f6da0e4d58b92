"""Setup links that wait for approval, or have a provider for tests, are found by a column."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("setup_links", schema=None) as batch_op:
        batch_op.add_column(sa.Column("submitted_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("trial_until", sa.Float(), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_setup_links_submitted_at"), ["submitted_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_setup_links_trial_until"), ["trial_until"], unique=False
        )
    with op.batch_alter_table("domains", schema=None) as batch_op:
        batch_op.add_column(sa.Column("link", sa.String(length=16), nullable=True))
        batch_op.create_index(batch_op.f("ix_domains_link"), ["link"], unique=False)
    # The work is sealed: whichever of them may have been submitted is opened by whoever looks.
    op.execute("UPDATE setup_links SET submitted_at = created_at WHERE state = 'claimed'")
