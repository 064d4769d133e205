"""Formats

What a row was written in, so that a later release can write another format and still read this one. The rows that are
there, and those of releases that do not know of formats, are in the first one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "ledger",
        sa.Column("format", sa.SmallInteger, nullable=False, server_default="1", comment="of the row and of its event"),
    )
    op.add_column("commands", sa.Column("fingerprint_format", sa.SmallInteger, nullable=False, server_default="1"))
    for table, column in (("ledger", "format"), ("commands", "fingerprint_format")):
        # As many as migration 0002 has for the other columns.
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 10")


def downgrade() -> None:
    op.drop_column("commands", "fingerprint_format")
    op.drop_column("ledger", "format")
