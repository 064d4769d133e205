"""Wallets, holds, ledger, commands"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "commands",
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column(
            "fingerprint",
            postgresql.BYTEA(),
            nullable=False,
            comment="of the meaning of the payload; empty: it was never read",
        ),
        sa.Column(
            "event_wallet_ids",
            postgresql.ARRAY(sa.UUID()),
            nullable=False,
            comment="one for each event it made, in order",
        ),
        sa.Column(
            "event_versions",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=False,
            comment="their versions, in the same order",
        ),
        sa.Column("error_code", sa.String(length=32), nullable=True, comment="of a rejection"),
        sa.Column("reply", sa.Text(), nullable=False, comment="repeated byte for byte"),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("command_id", "attempt", name=op.f("pk_commands")),
    )
    op.create_table(
        "ledger",
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="the event's revision in the stream"),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("event_type", sa.String(length=32), nullable=False),
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("balance", sa.Numeric(precision=19, scale=4), nullable=False, comment="after the event"),
        sa.Column("held_balance", sa.Numeric(precision=19, scale=4), nullable=False, comment="after the event"),
        sa.Column("status", sa.String(length=16), nullable=False, comment="after the event"),
        sa.Column("wallet_metadata", sa.Text(), nullable=True, comment="after the event, where the event changed it"),
        sa.Column("counterparty_wallet_id", sa.UUID(), nullable=True),
        sa.Column("transfer_id", sa.UUID(), nullable=True),
        sa.Column("group_id", sa.UUID(), nullable=True),
        sa.Column(
            "hold", sa.Text(), nullable=True, comment="the whole hold after the event, as JSON text, where one changed"
        ),
        sa.Column("reason", sa.String(length=255), nullable=True),
        sa.Column("reference", sa.String(length=255), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True, comment="the command's, as JSON text"),
        sa.Column("correlation_id", sa.Text(), nullable=True, comment="text, or hexadecimal where it was not UTF-8"),
        sa.Column("traceparent", sa.String(length=64), nullable=True),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("wallet_id", "version", name=op.f("pk_ledger")),
    )
    op.create_index(
        "ix_ledger_wallet_metadata",
        "ledger",
        ["wallet_id", "version"],
        unique=False,
        postgresql_where=sa.text("wallet_metadata IS NOT NULL"),
    )
    op.create_table(
        "wallets",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("owner_id", sa.String(length=255), nullable=False),
        sa.Column("balance", sa.Numeric(precision=19, scale=4), server_default="0", nullable=False),
        sa.Column("held_balance", sa.Numeric(precision=19, scale=4), server_default="0", nullable=False),
        sa.Column(
            "available_balance",
            sa.Numeric(precision=19, scale=4),
            sa.Computed("balance - held_balance", persisted=True),
            nullable=False,
        ),
        sa.Column("status", sa.String(length=16), server_default="ACTIVE", nullable=False),
        sa.Column(
            "version",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="revision of the last event in the stream",
        ),
        sa.Column("currency", sa.String(length=3), server_default="USD", nullable=False),
        sa.Column(
            "metadata", sa.Text(), server_default="{}", nullable=False, comment="JSON as text: keys keep their order"
        ),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="occurredAt of the last event",
        ),
        sa.CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'CLOSED')", name=op.f("ck_wallets_status_known")),
        sa.CheckConstraint("available_balance >= 0", name=op.f("ck_wallets_available_balance_not_negative")),
        sa.CheckConstraint("balance >= 0", name=op.f("ck_wallets_balance_not_negative")),
        sa.CheckConstraint("held_balance >= 0", name=op.f("ck_wallets_held_balance_not_negative")),
        sa.CheckConstraint("version >= 0", name=op.f("ck_wallets_version_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallets")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(op.f("ix_wallets_owner_id"), "wallets", ["owner_id"], unique=False)
    op.create_table(
        "holds",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("captured_amount", sa.Numeric(precision=19, scale=4), server_default="0", nullable=False),
        sa.Column("status", sa.String(length=16), server_default="ACTIVE", nullable=False),
        sa.Column("type", sa.String(length=16), server_default="PAYMENT", nullable=False),
        sa.Column("reference", sa.String(length=255), nullable=True),
        sa.Column("description", sa.String(length=500), nullable=True),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("released_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("captured_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True, comment="JSON as text: keys keep their order"),
        sa.Column(
            "reply_topic",
            sa.String(length=249),
            nullable=True,
            comment="where PlaceHold was answered: an expiry is answered there too",
        ),
        sa.Column("correlation_id", postgresql.BYTEA(), nullable=True, comment="of PlaceHold's record"),
        sa.Column(
            "kafka_correlation_id",
            postgresql.BYTEA(),
            nullable=True,
            comment="the same under Spring Kafka's header name",
        ),
        sa.Column("expiry_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expiry_published_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status IN ('ACTIVE', 'RELEASED', 'EXPIRED', 'CAPTURED')", name=op.f("ck_holds_status_known")
        ),
        sa.CheckConstraint(
            "type IN ('PAYMENT', 'AUTHORIZATION', 'REFUND', 'ESCROW', 'OTHER')", name=op.f("ck_holds_type_known")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_holds_amount_positive")),
        sa.CheckConstraint(
            "captured_amount >= 0 AND captured_amount <= amount", name=op.f("ck_holds_captured_amount_within_amount")
        ),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_holds_wallet_id_wallets")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index(
        "ix_holds_due",
        "holds",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'ACTIVE' AND expires_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_holds_wallet_id"), "holds", ["wallet_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_holds_wallet_id"), table_name="holds")
    op.drop_index(
        "ix_holds_due", table_name="holds", postgresql_where=sa.text("status = 'ACTIVE' AND expires_at IS NOT NULL")
    )
    op.drop_table("holds")
    op.drop_index(op.f("ix_wallets_owner_id"), table_name="wallets")
    op.drop_table("wallets")
    op.drop_index(
        "ix_ledger_wallet_metadata", table_name="ledger", postgresql_where=sa.text("wallet_metadata IS NOT NULL")
    )
    op.drop_table("ledger")
    op.drop_table("commands")
