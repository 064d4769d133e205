"""A wallet worker as a competent team would write it first: a FastStream handler that does one message after another.

Each message is one transaction of an ORM session: lock the wallets, decide, write; then append the events, publish the
reply, acknowledge. It keeps the worker's promises: a message that failed anywhere comes again, its command is found in
the inbox, its events are appended again under the same ids and revisions, and the stored reply goes out again. It takes
three commands of the contract, and of their optional fields only `currency`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID, uuid5

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from esdbclient import AsyncEventStoreDBClient, NewEvent, StreamState
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from prometheus_client import CollectorRegistry
from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy import select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from worker import tables
from worker.contracts.commands import CreateWallet, CreditWallet, Transfer
from worker.contracts.events import stream_name
from worker.contracts.money import BALANCE_MAX, ZERO, format_money
from worker.contracts.times import format_time
from worker.database import database_url
from worker.domain.fingerprint import fingerprint
from worker.settings import WORKER_HTTP_PORT, Settings
from worker.telemetry.health import Check, serve_health
from worker.topics import ensure_topics

Command = CreateWallet | CreditWallet | Transfer
Events = list[tuple["Entry", "Wallet"]]
COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])

settings = Settings.load()
engine = create_async_engine(database_url(settings), pool_size=8)
sessions = async_sessionmaker(engine, expire_on_commit=False)
# Two lines in the log for each message would cost a tenth of the speed: they are for debugging.
broker = KafkaBroker(settings.kafka_bootstrap_servers, acks="all", enable_idempotence=True, log_level=logging.DEBUG)
event_store = AsyncEventStoreDBClient(settings.kurrentdb_uri.get_secret_value())


class Base(DeclarativeBase):
    metadata = tables.metadata


class Wallet(Base):
    __table__ = tables.wallets
    details = tables.wallets.c.metadata


class Entry(Base):
    __table__ = tables.ledger
    details = tables.ledger.c.metadata


class Inbox(Base):
    __table__ = tables.commands


class Refused(Exception):
    """A business "no"."""

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "details": details}


commands = broker.subscriber(
    *settings.command_topics,
    group_id=settings.kafka_group_id,
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,
    decoder=lambda message: message.body,
    no_reply=True,
)


@commands
async def handle(body: bytes, message: KafkaMessage) -> None:
    """Run a command to its end; where anything fails on the way, FastStream logs it and takes the message again."""
    try:
        command = COMMAND.validate_json(body)
    except ValidationError as error:
        refused = Refused("InvalidCommand", "The command cannot be read.", reason=str(error))
        await answer(message, write_reply(None, refused.error, (), datetime.now(UTC)), {})
        return
    try:
        reply, events, replayed = *await run(command), {}
    except IntegrityError:
        reply, events, replayed = await recall(command)
    await asyncio.gather(*(append(entry, wallet) for entry, wallet in events))
    await answer(message, reply, replayed)


async def run(command: Command) -> tuple[str, Events]:
    """Run a command in a transaction of its own; `IntegrityError` where it ran before."""
    ids = [command.from_wallet_id, command.to_wallet_id] if isinstance(command, Transfer) else [command.wallet_id]
    async with sessions.begin() as session:
        # In the order of their ids, so that two opposite transfers never wait for each other.
        locked = select(Wallet).where(Wallet.id.in_(map(UUID, ids))).order_by(Wallet.id).with_for_update()
        wallets = {str(wallet.id): wallet for wallet in await session.scalars(locked)}
        events, error, now = [], None, datetime.now(UTC)
        try:
            events = decide(command, wallets, now)
        except Refused as refused:
            error = refused.error
        reply = write_reply(command, error, (wallets[id_] for id_ in ids if id_ in wallets), now)
        for entry, wallet in events:
            session.add_all((entry, wallet))
        session.add(inbox_row(command, error, reply, [entry for entry, _ in events], now))
    return reply, events


async def recall(command: Command) -> tuple[str, Events, dict[str, str]]:
    """The stored reply to a command that ran before, its events, made again from the ledger, and the reply's header."""
    async with sessions() as session:
        stored = await session.get_one(Inbox, (UUID(command.command_id), 1))
        if stored.fingerprint != fingerprint(command):
            refused = Refused("IdempotencyConflict", "This commandId was used with another payload.")
            return write_reply(command, refused.error, (), datetime.now(UTC)), [], {}
        made = zip(stored.event_wallet_ids, stored.event_versions, strict=True)
        query = select(Entry, Wallet).join(Wallet, Wallet.id == Entry.wallet_id)
        rows = await session.execute(query.where(tuple_(Entry.wallet_id, Entry.version).in_(list(made))))
        return stored.reply, [(entry, wallet) for entry, wallet in rows], {"replayed": "true"}


def decide(command: Command, wallets: dict[str, Wallet], now: datetime) -> Events:
    """Change `wallets` as the command asks, with an entry for each; raise `Refused` where it may not be."""
    if isinstance(command, CreateWallet):
        return [open_wallet(command, wallets, now)]
    moves = [(command.wallet_id, command.amount, None)] if isinstance(command, CreditWallet) else two_sides(command)
    for id_, _, _ in moves:
        if id_ not in wallets:
            raise Refused("WalletNotFound", "There is no such wallet.", walletId=id_)
    for id_, amount, _ in moves:
        status = wallets[id_].status
        if status == "CLOSED" or (amount < 0 and status != "ACTIVE"):
            raise Refused("WalletNotActive", f"The wallet is {status.lower()}.", walletId=id_, status=status)
    currency = command.currency or wallets[moves[0][0]].currency
    for id_, _, _ in moves:
        own = wallets[id_].currency
        if own != currency:
            raise Refused("CurrencyMismatch", f"The wallet's is {own}.", walletId=id_, expected=own, actual=currency)
    for id_, amount, _ in moves:
        check_balance(wallets[id_], amount)
    for id_, amount, _ in moves:
        wallet = wallets[id_]
        wallet.balance, wallet.version = wallet.balance + amount, wallet.version + 1
        wallet.updated_at = max(now, wallet.updated_at)
    return [(new_entry(command, place, wallets[id_], *rest), wallets[id_]) for place, (id_, *rest) in enumerate(moves)]


def two_sides(command: Transfer) -> list[tuple[str, Decimal, str | None]]:
    """What a transfer moves: wallet, amount, the other wallet."""
    source, target = command.from_wallet_id, command.to_wallet_id
    if source == target:
        raise Refused("SameWallet", "Money moves between two different wallets.", walletId=source)
    return [(source, -command.amount, target), (target, command.amount, source)]


def check_balance(wallet: Wallet, amount: Decimal) -> None:
    """Refuse what the wallet does not have, or cannot hold."""
    held, available = wallet.held_balance, wallet.balance - wallet.held_balance
    if available + amount < 0:
        money = {"available": available, "held": held, "requested": -amount}
        details = {name: format_money(value) for name, value in money.items()}
        raise Refused("InsufficientFunds", "That much is not available.", walletId=str(wallet.id), **details)
    if wallet.balance + amount > BALANCE_MAX:
        raise Refused("BalanceLimitExceeded", "The balance would pass the limit.", walletId=str(wallet.id))


def open_wallet(command: CreateWallet, wallets: dict[str, Wallet], now: datetime) -> tuple[Entry, Wallet]:
    """Open a wallet with its first entry."""
    if command.wallet_id in wallets:
        raise Refused("WalletAlreadyExists", "There is such a wallet already.", walletId=command.wallet_id)
    wallets[command.wallet_id] = wallet = Wallet(
        id=UUID(command.wallet_id),
        owner_id=command.owner_id,
        balance=command.initial_balance,
        held_balance=ZERO,
        status="ACTIVE",
        version=0,
        currency=command.currency,
        details="{}",
        created_at=now,
        updated_at=now,
    )
    return new_entry(command, 0, wallet, command.initial_balance), wallet


def new_entry(command: Command, place: int, wallet: Wallet, amount: Decimal, other: str | None = None) -> Entry:
    """The wallet's line in the book for event number `place` of the command; `amount` is below 0 where money goes."""
    command_id = UUID(command.command_id)
    moved = "WalletCredited" if amount > 0 else "WalletDebited"
    return Entry(
        wallet_id=wallet.id,
        version=wallet.version,
        event_id=uuid5(command_id, str(place)),
        event_type="WalletCreated" if isinstance(command, CreateWallet) else moved,
        command_id=command_id,
        amount=abs(amount),
        balance=wallet.balance,
        held_balance=wallet.held_balance,
        status=wallet.status,
        counterparty_wallet_id=other and UUID(other),
        transfer_id=other and command_id,
        occurred_at=wallet.updated_at,
    )


def inbox_row(command: Command, error: dict[str, Any] | None, reply: str, entries: list[Entry], now: datetime) -> Inbox:
    """What will be known of the command; a second one with this id violates its primary key."""
    return Inbox(
        command_id=UUID(command.command_id),
        attempt=1,
        type=command.type,
        fingerprint=fingerprint(command),
        event_wallet_ids=[entry.wallet_id for entry in entries],
        event_versions=[entry.version for entry in entries],
        error_code=error["code"] if error else None,
        reply=reply,
        received_at=now,
    )


async def append(entry: Entry, wallet: Wallet) -> None:
    """Append an entry's event at its exact revision; once more changes nothing."""
    data: dict[str, Any] = {
        "walletId": entry.wallet_id,
        "version": entry.version,
        "occurredAt": format_time(entry.occurred_at),
        "initialBalance" if entry.event_type == "WalletCreated" else "amount": format_money(entry.amount),
    }
    if entry.counterparty_wallet_id is not None:
        data |= {"counterpartyWalletId": entry.counterparty_wallet_id, "transferId": entry.transfer_id}
    data |= {
        "ownerId": wallet.owner_id,
        "currency": wallet.currency,
        "status": entry.status,
        "balance": format_money(entry.balance),
        "heldBalance": format_money(entry.held_balance),
        "walletMetadata": orjson.Fragment(wallet.details),
        "createdAt": format_time(wallet.created_at),
    }
    event = NewEvent(
        type=entry.event_type,
        data=orjson.dumps(data, default=str),
        metadata=orjson.dumps({"$causationId": str(entry.command_id)}),
        id=entry.event_id,
    )
    expected = entry.version - 1 if entry.version else StreamState.NO_STREAM
    await event_store.append_to_stream(stream_name(str(entry.wallet_id)), current_version=expected, events=[event])


def write_reply(command: Command | None, error: dict[str, Any] | None, wallets: Iterable[Wallet], now: datetime) -> str:
    """The reply's JSON; `wallets` are as the command left them."""
    reply: dict[str, Any] = {
        "commandId": command and command.command_id,
        "type": command and command.type,
        "status": "rejected" if error else "accepted",
        "processedAt": format_time(now),
    }
    if error:
        reply["error"] = error
    reply["wallets"] = [
        {
            "walletId": wallet.id,
            "version": wallet.version,
            "status": wallet.status,
            "currency": wallet.currency,
            "balance": format_money(wallet.balance),
            "heldBalance": format_money(wallet.held_balance),
            "availableBalance": format_money(wallet.balance - wallet.held_balance),
        }
        for wallet in wallets
    ]
    return orjson.dumps(reply, default=str).decode()


async def answer(message: KafkaMessage, reply: str, more: dict[str, str]) -> None:
    """Publish the reply under the command record's key, with `more` headers, and wait until Kafka has it."""
    said = orjson.loads(reply)
    headers = {"status": said["status"], **more} | ({"command_id": said["commandId"]} if said["commandId"] else {})
    await broker.publish(
        reply,
        settings.reply_topic,
        key=message.raw_message.key,
        headers=headers,
        correlation_id=message.correlation_id,
    )


async def have_partitions() -> None:
    """Raise where no commands come, since Kafka has not assigned any partition."""
    if commands.consumer is None or not commands.consumer.assignment():
        raise ConnectionError("no partitions are assigned")


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Make the topics, connect, and say on `HTTP_PORT` whether all is ready."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    await ensure_topics(admin, settings)
    await admin.close()
    await event_store.connect()
    port = WORKER_HTTP_PORT if settings.http_port is None else settings.http_port
    async with serve_health(port=port, registry=CollectorRegistry(), ready=[Check("partitions", have_partitions)]):
        yield
    await event_store.close()
    await engine.dispose()


app = FastStream(broker, lifespan=lifespan)
