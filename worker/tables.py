"""The tables, as SQLAlchemy sees them: what Alembic compares the database with.

The hot statements do not go through this module: they are SQL text beside the one function that runs each (`ledger/`).
What the tables promise by themselves, whoever writes: no balance below zero, one row for each command attempt, one row
for each event of a wallet, one hold for each id, one installation.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, TIMESTAMP, UUID

# Constraint names are part of the schema: errors name them, migrations drop them by name.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

SCHEMA_REVISION = "0005"
"""The last migration: what makes these tables."""

metadata = sa.MetaData(naming_convention=NAMING)

MONEY = sa.Numeric(19, 4)
TIME = TIMESTAMP(timezone=True)
ID = UUID(as_uuid=True)

wallets = sa.Table(
    "wallets",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("owner_id", sa.String(255), nullable=False, index=True),
    sa.Column("balance", MONEY, nullable=False, server_default="0"),
    sa.Column("held_balance", MONEY, nullable=False, server_default="0"),
    sa.Column("available_balance", MONEY, sa.Computed("balance - held_balance", persisted=True), nullable=False),
    sa.Column("status", sa.String(16), nullable=False, server_default="ACTIVE"),
    sa.Column(
        "version", sa.BigInteger, nullable=False, server_default="0", comment="revision of the last event in the stream"
    ),
    sa.Column("currency", sa.String(3), nullable=False, server_default="USD"),
    sa.Column("metadata", sa.Text, nullable=False, server_default="{}", comment="JSON as text: keys keep their order"),
    sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", TIME, nullable=False, server_default=sa.func.now(), comment="occurredAt of the last event"),
    sa.Column("quarantined_at", TIME, comment="since when its stores are known to contradict"),
    sa.Column("quarantine_reason", sa.Text, comment="what was found then"),
    sa.CheckConstraint("balance >= 0", name="balance_not_negative"),
    sa.CheckConstraint("held_balance >= 0", name="held_balance_not_negative"),
    sa.CheckConstraint("available_balance >= 0", name="available_balance_not_negative"),
    sa.CheckConstraint("version >= 0", name="version_not_negative"),
    sa.CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'CLOSED')", name="status_known"),
    sa.Index("ix_wallets_quarantined", "quarantined_at", postgresql_where=sa.text("quarantined_at IS NOT NULL")),
    # Balances change all the time and no index holds them: room in the page keeps such updates out of every index.
    postgresql_with={"fillfactor": "70"},
)

holds = sa.Table(
    "holds",
    metadata,
    sa.Column("id", ID, primary_key=True),
    sa.Column("wallet_id", ID, sa.ForeignKey("wallets.id"), nullable=False, index=True),
    sa.Column("amount", MONEY, nullable=False),
    sa.Column("captured_amount", MONEY, nullable=False, server_default="0"),
    sa.Column("status", sa.String(16), nullable=False, server_default="ACTIVE"),
    sa.Column("type", sa.String(16), nullable=False, server_default="PAYMENT"),
    sa.Column("reference", sa.String(255)),
    sa.Column("description", sa.String(500)),
    sa.Column("expires_at", TIME),
    sa.Column("released_at", TIME),
    sa.Column("captured_at", TIME),
    sa.Column("metadata", sa.Text, comment="JSON as text: keys keep their order"),
    sa.Column("reply_topic", sa.String(249), comment="where PlaceHold was answered: an expiry is answered there too"),
    sa.Column("correlation_id", BYTEA, comment="of PlaceHold's record"),
    sa.Column("kafka_correlation_id", BYTEA, comment="the same under Spring Kafka's header name"),
    sa.Column("expiry_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("expiry_published_at", TIME),
    sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("amount > 0", name="amount_positive"),
    sa.CheckConstraint("captured_amount >= 0 AND captured_amount <= amount", name="captured_amount_within_amount"),
    sa.CheckConstraint("status IN ('ACTIVE', 'RELEASED', 'EXPIRED', 'CAPTURED')", name="status_known"),
    sa.CheckConstraint("type IN ('PAYMENT', 'AUTHORIZATION', 'REFUND', 'ESCROW', 'OTHER')", name="type_known"),
    sa.Index(
        "ix_holds_due",
        "expires_at",
        postgresql_where=sa.text("status = 'ACTIVE' AND expires_at IS NOT NULL"),
    ),
)

# One row for each event: the statement, and the journal from which an event's bytes are made again.
# No foreign key to `wallets`: it would cost a query for each row, and the wallet's row is locked and written beside it.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("wallet_id", ID, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, comment="the event's revision in the stream"),
    sa.Column("event_id", ID, nullable=False),
    sa.Column("event_type", sa.String(32), nullable=False),
    sa.Column("command_id", ID, nullable=False),
    sa.Column("amount", MONEY),
    sa.Column("balance", MONEY, nullable=False, comment="after the event"),
    sa.Column("held_balance", MONEY, nullable=False, comment="after the event"),
    sa.Column("status", sa.String(16), nullable=False, comment="after the event"),
    sa.Column("wallet_metadata", sa.Text, comment="after the event, where the event changed it"),
    sa.Column("counterparty_wallet_id", ID),
    sa.Column("transfer_id", ID),
    sa.Column("group_id", ID),
    sa.Column("hold", sa.Text, comment="the whole hold after the event, as JSON text, where one changed"),
    sa.Column("reason", sa.String(255)),
    sa.Column("reference", sa.String(255)),
    sa.Column("metadata", sa.Text, comment="the command's, as JSON text"),
    sa.Column("correlation_id", sa.Text, comment="text, or hexadecimal where it was not UTF-8"),
    sa.Column("traceparent", sa.String(64)),
    sa.Column("occurred_at", TIME, nullable=False),
    sa.Column("format", sa.SmallInteger, nullable=False, server_default="1", comment="of the row and of its event"),
    # Few entries: where the wallet's metadata as of a version is looked up, without walking all entries before it.
    sa.Index(
        "ix_ledger_wallet_metadata", "wallet_id", "version", postgresql_where=sa.text("wallet_metadata IS NOT NULL")
    ),
)

# One row for each command that was decided, with its reply: permanent, so that a duplicate is known for ever.
# A further attempt is only ever made by `wallex dlq replay`.
commands = sa.Table(
    "commands",
    metadata,
    sa.Column("command_id", ID, primary_key=True),
    sa.Column("attempt", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("fingerprint", BYTEA, nullable=False, comment="of the meaning of the payload; empty: it was never read"),
    sa.Column("event_wallet_ids", ARRAY(ID), nullable=False, comment="one for each event it made, in order"),
    sa.Column("event_versions", ARRAY(sa.BigInteger), nullable=False, comment="their versions, in the same order"),
    sa.Column("error_code", sa.String(32), comment="of a rejection"),
    sa.Column("reply", sa.Text, nullable=False, comment="repeated byte for byte"),
    sa.Column("received_at", TIME, nullable=False),
    sa.Column("fingerprint_format", sa.SmallInteger, nullable=False, server_default="1"),
)

# One row, written with the table: which KurrentDB belongs to this database (`outbox/installation.py`).
installation = sa.Table(
    "installation",
    metadata,
    sa.Column("is_only", sa.Boolean, primary_key=True, server_default=sa.true(), comment="there is one row"),
    sa.Column("id", ID, nullable=False, server_default=sa.func.gen_random_uuid()),
    sa.Column("joined_at", TIME, comment="since when a KurrentDB has this id; null: none has it yet"),
    sa.CheckConstraint("is_only", name="one_row"),
)
