"""What Postgres alone can do, as a bound for everything that is built upon it: no Kafka, no events, no deciding.

What is written is decided beforehand, by the worker's own `decide_batch`, so both floors write the very rows that the
worker writes for the same transfers; only the statements are timed, in sessions as durable as the worker's. Prepared
batches are a bound for every worker that writes batches; one transfer a transaction, decided in the application, is one
for every design that takes its messages one at a time.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count as counter

from bench.commands import Command, new_ids, openings, transfers
from bench.cpu import cpu_seconds, used
from bench.postgres import active_seconds
from worker.contracts.commands import COMMAND
from worker.contracts.envelope import Envelope
from worker.database import RawConnection, create_engine, raw_connection
from worker.domain.decide import wallet_ids
from worker.domain.fingerprint import fingerprint
from worker.domain.wallet import Book, Wallet
from worker.ledger.decide_batch import Decided, Received, RecordedCommand, decide_batch
from worker.ledger.entry import Entry
from worker.ledger.lock import lock_wallets
from worker.ledger.persist import persist
from worker.ledger.recall import recall
from worker.settings import Settings

WALLETS = 10_000
BATCH_COMMANDS = 500
POSTGRES = "Postgres"

LOCK_TWO_WALLETS = """
SELECT id::text, status, currency, balance, held_balance, version FROM wallets WHERE id IN ($1, $2) ORDER BY id
FOR UPDATE
"""


def _placeholders(columns: Sequence[str], numbers: counter[int]) -> str:
    return f"({', '.join(f'${next(numbers)}' for _ in columns)})"


def _write_transfer() -> str:
    numbers = counter(1)
    command = _placeholders(RecordedCommand._fields, numbers)
    entries = ", ".join(_placeholders(Entry._fields, numbers) for _ in range(2))
    update = "UPDATE wallets SET balance = ${}, version = ${}, updated_at = ${} WHERE id = ${}"
    debit, credit = (update.format(*(next(numbers) for _ in range(4))) for _ in range(2))
    return f"""
    WITH command AS (INSERT INTO commands ({", ".join(RecordedCommand._fields)}) VALUES {command}),
         entries AS (INSERT INTO ledger ({", ".join(Entry._fields)}) VALUES {entries}),
         debit AS ({debit})
    {credit}
    """


# All that a transfer writes in one statement, so in one round trip. Its command is the inbox: a repeated one would
# violate the primary key, and needs no query of its own.
WRITE_TRANSFER = _write_transfer()


@dataclass(frozen=True)
class Floor:
    """What it took: seconds, those of them that statements ran (of all connections together), and CPU seconds.

    Of the whole Postgres, and of the client that sent the statements.
    """

    what: str
    transfers: int
    seconds: float
    active_seconds: float
    postgres_cpu_seconds: float
    client_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Transfers a second."""
        return self.transfers / self.seconds

    @property
    def active_us(self) -> float:
        """Microseconds a transfer that statements ran, whatever they waited for."""
        return self.active_seconds / self.transfers * 1e6

    @property
    def postgres_cpu_us(self) -> float:
        """CPU microseconds of Postgres a transfer."""
        return self.postgres_cpu_seconds / self.transfers * 1e6

    @property
    def client_cpu_us(self) -> float:
        """CPU microseconds of the client a transfer: encoding, sending, waiting."""
        return self.client_cpu_seconds / self.transfers * 1e6


async def prepared_batches(settings: Settings, count: int, postgres_pid: int) -> Floor:
    """Write so many transfers among 10,000 new wallets over one connection, in batches of 500.

    `settings` name a migrated database, which may have other wallets; `postgres_pid` is its server, whose CPU time is
    read. Raises what asyncpg raises.
    """
    chance, wallets = random.Random(), {}
    ids = new_ids(WALLETS, chance)
    opened = prepare(openings(ids, chance), BATCH_COMMANDS, wallets)
    prepared = prepare(transfers(count, ids, chance), BATCH_COMMANDS, wallets)
    async with AsyncExitStack() as stack:
        (connection,) = await _connect(stack, settings, 1)
        await _write_batches(connection, opened)
        what = f"prepared batches of {BATCH_COMMANDS}"
        return await _timed(what, count, settings, postgres_pid, {connection: _write_batches(connection, prepared)})


async def one_at_a_time(settings: Settings, count: int, connections: int, postgres_pid: int) -> Floor:
    """Write so many transfers among 10,000 new wallets, a transaction each, shared among so many connections.

    A transaction is four round trips, as few as an application needs that decides by itself: begin, lock and read,
    write, commit. Each connection has wallets of its own, so none waits for another's. Otherwise as `prepared_batches`.
    """
    chance, wallets = random.Random(), {}
    ids = new_ids(WALLETS, chance)
    opened = prepare(openings(ids, chance), BATCH_COMMANDS, wallets)
    prepared = [
        prepare(transfers(len(range(number, count, connections)), ids[number::connections], chance), 1, wallets)
        for number in range(connections)
    ]
    async with AsyncExitStack() as stack:
        connected = await _connect(stack, settings, connections)
        await _write_batches(connected[0], opened)
        writing = {own: _write_each(own, share) for own, share in zip(connected, prepared, strict=True)}
        what = f"one transfer a transaction, {connections} connection{'s' if connections > 1 else ''}"
        return await _timed(what, count, settings, postgres_pid, writing)


def prepare(commands: Sequence[Command], size: int, wallets: dict[str, Wallet]) -> list[Decided]:
    """Decide `commands` in batches of `size`, each on `wallets` as the one before it left them; they are brought along.

    ValueError where one of them is rejected: then it would not be written as a transfer is.
    """
    now = datetime.now(UTC)
    decided = []
    for start in range(0, len(commands), size):
        batch = [_received(command, now) for command in commands[start : start + size]]
        named = {id_ for received in batch for id_ in wallet_ids(received.command)}
        locked = Book({id_: wallets[id_] for id_ in named if id_ in wallets}, {})
        decided.append(decide_batch(batch, locked, {}, now))
        wallets |= decided[-1].wallets
        refused = [outcome.error_code for outcome in decided[-1].outcomes if outcome.error_code is not None]
        if refused:
            raise ValueError(f"expected commands that are all accepted, but got {', '.join(sorted(set(refused)))}")
    return decided


def transfer_values(decided: Decided) -> list[object]:
    """The parameters of `WRITE_TRANSFER` for the one transfer in `decided`."""
    (outcome,) = decided.outcomes
    debit, credit = outcome.entries
    changes = [(entry.balance, entry.version, entry.occurred_at, entry.wallet_id) for entry in (debit, credit)]
    return [*outcome.recorded, *debit, *credit, *changes[0], *changes[1]]


async def _write_batches(connection: RawConnection, prepared: Sequence[Decided]) -> None:
    """What the worker does with Postgres for each batch, but for the clock that prepared batches have no use for."""
    for decided in prepared:
        async with connection.transaction():
            await lock_wallets(connection, decided.wallets)
            await recall(connection, [outcome.recorded.command_id for outcome in decided.outcomes])
            await persist(connection, decided)


async def _write_each(connection: RawConnection, prepared: Sequence[Decided]) -> None:
    for decided in prepared:
        async with connection.transaction():
            await connection.fetch(LOCK_TWO_WALLETS, *sorted(decided.wallets))
            if await connection.execute(WRITE_TRANSFER, *transfer_values(decided)) != "UPDATE 1":
                raise ValueError("a wallet is missing: expected those that were opened before")


async def _timed(
    what: str, count: int, settings: Settings, postgres_pid: int, writing: Mapping[RawConnection, Awaitable[None]]
) -> Floor:
    """Await `writing`, all at once, and account for it."""
    # What was prepared is large, and stays: the collector would walk through it again and again.
    gc.collect()
    gc.freeze()
    pids = {POSTGRES: (postgres_pid,)}
    active = await _active_seconds(settings, writing)
    before, client_before, began = cpu_seconds(pids), time.process_time(), time.perf_counter()
    try:
        await asyncio.gather(*writing.values())
    finally:
        gc.unfreeze()
    seconds, client = time.perf_counter() - began, time.process_time() - client_before
    postgres = used(before, cpu_seconds(pids))[POSTGRES]
    return Floor(what, count, seconds, await _active_seconds(settings, writing) - active, postgres, client)


async def _active_seconds(settings: Settings, connections: Iterable[RawConnection]) -> float:
    """As `active_seconds`, with what `connections` have to report by now."""
    for connection in connections:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    return await active_seconds(settings)


async def _connect(stack: AsyncExitStack, settings: Settings, connections: int) -> list[RawConnection]:
    """Open so many sessions, each as the worker's own are; they are closed with `stack`."""
    engines = [create_engine(settings) for _ in range(connections)]
    for engine in engines:
        stack.push_async_callback(engine.dispose)
    return [await stack.enter_async_context(raw_connection(engine)) for engine in engines]


def _received(command: Command, now: datetime) -> Received:
    read = COMMAND.validate_json(command.value)
    return Received(read, fingerprint(read), Envelope("wallet.replies"), now, command.key)
