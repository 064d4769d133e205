"""Quarantine

A wallet whose stores contradict each other takes no commands until an operator has looked: whatever process finds it
notes it here, and every process reads it with the wallet's lock.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "wallets",
        sa.Column("quarantined_at", TIMESTAMP(timezone=True), comment="since when its stores are known to contradict"),
    )
    op.add_column("wallets", sa.Column("quarantine_reason", sa.Text, comment="what was found then"))
    op.create_index(
        "ix_wallets_quarantined",
        "wallets",
        ["quarantined_at"],
        postgresql_where=sa.text("quarantined_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_wallets_quarantined", "wallets")
    op.drop_column("wallets", "quarantine_reason")
    op.drop_column("wallets", "quarantined_at")
