"""Installation

An id of this database's own. The first process that connects gives it to KurrentDB as well, and from then on every
process compares the two: a worker with another KurrentDB, or another database, ends before it does anything.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("is_only", sa.Boolean(), server_default=sa.true(), nullable=False, comment="there is one row"),
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column(
            "joined_at", TIMESTAMP(timezone=True), comment="since when a KurrentDB has this id; null: none has it yet"
        ),
        sa.CheckConstraint("is_only", name=op.f("ck_installation_one_row")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_installation")),
    )
    op.execute("INSERT INTO installation DEFAULT VALUES")


def downgrade() -> None:
    op.drop_table("installation")
