"""What a history costs: the floor's batches on an empty database, and on one that other wallets have filled.

The others' wallets, entries and commands are as transfers leave them: a wallet is its entries, an entry has its
command, and their ids are spread evenly over all that an id can be, so that new rows fall in between everywhere. They
are written in the order of their ids, which is fast, and leaves the indices denser than a real history would: new rows
split their pages rather more often. Both databases stand in one server, and are measured in turns.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

from bench.floor import Floor, prepared_batches
from bench.postgres import connect_postgres
from worker.database import create_migration_engine, raw_connection
from worker.migration import run_migrations
from worker.settings import Settings

OTHER_WALLETS = 1_000_000
ENTRIES_OF_EACH = 20
WALLETS_AT_ONCE = 20_000
"""Filled in one transaction: it takes some seconds, so one sees it go on."""

# For the filling session alone. The wallets are numbered; each even one is opened with 1000 and pays its neighbour,
# opened with 1000 as well, 1.2500 for each of its further versions. The id of a number stands where the number stands.
FUNCTIONS = """
CREATE FUNCTION pg_temp.spread(number bigint, of bigint) RETURNS uuid IMMUTABLE LANGUAGE sql RETURN
    (lpad(to_hex(number * 4294967296 / of), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(number), 12, '0'))::uuid;
CREATE FUNCTION pg_temp.balance(number bigint, version bigint) RETURNS numeric(19, 4) IMMUTABLE LANGUAGE sql RETURN
    (1000 + CASE WHEN number % 2 = 0 THEN -1.25 ELSE 1.25 END * version)::numeric(19, 4);
CREATE FUNCTION pg_temp.state(id uuid, number bigint, version bigint) RETURNS text STABLE LANGUAGE sql RETURN
    format('{"walletId":"%s","version":%s,"status":"ACTIVE","currency":"USD","balance":"%s","heldBalance":"0.0000",'
           '"availableBalance":"%s"}', id, version, pg_temp.balance(number, version), pg_temp.balance(number, version));
"""

# Of $1 wallets the ones from $2 to before $3, all even, with $4 entries each; so are the statements below.
INSERT_WALLETS = """
INSERT INTO wallets (id, owner_id, balance, version)
SELECT pg_temp.spread(number, $1), 'other-' || number, pg_temp.balance(number, $4::bigint - 1), $4 - 1
FROM generate_series($2::bigint, $3::bigint - 1) AS number
"""

# Two neighbours have two commands that opened them, then one for each transfer between them.
INSERT_ENTRIES = """
INSERT INTO ledger (wallet_id, version, event_id, event_type, command_id, amount, balance, held_balance, status,
                    counterparty_wallet_id, transfer_id, occurred_at)
SELECT wallet_id, version, gen_random_uuid(),
       CASE WHEN version = 0 THEN 'WalletCreated' WHEN number % 2 = 0 THEN 'WalletDebited' ELSE 'WalletCredited' END,
       command_id, CASE WHEN version = 0 THEN 1000 ELSE 1.25 END, pg_temp.balance(number, version), 0, 'ACTIVE',
       CASE WHEN version > 0 THEN neighbour_id END, CASE WHEN version > 0 THEN command_id END, now()
FROM generate_series($2::bigint, $3::bigint - 1) AS number,
     LATERAL (SELECT pg_temp.spread(number, $1) AS wallet_id,
                     pg_temp.spread(number + 1 - number % 2 * 2, $1) AS neighbour_id OFFSET 0) AS ids,
     generate_series(0, $4::bigint - 1) AS version,
     LATERAL (SELECT pg_temp.spread(
         number / 2 * ($4 + 1) + CASE WHEN version = 0 THEN number % 2 ELSE version + 1 END, $1 / 2 * ($4 + 1)
     ) AS command_id OFFSET 0) AS command
"""

INSERT_COMMANDS = """
INSERT INTO commands (command_id, attempt, type, fingerprint, event_wallet_ids, event_versions, reply, received_at)
SELECT command_id, 1, type, uuid_send(command_id), wallet_ids, array_fill(version, ARRAY[cardinality(wallet_ids)]),
       format('{"commandId":"%s","type":"%s","status":"accepted","processedAt":"2026-11-22T12:00:00.000000Z",'
              '"wallets":[%s]}', command_id, type, states), now()
FROM generate_series($2::bigint / 2, $3::bigint / 2 - 1) AS pair,
     LATERAL (SELECT pg_temp.spread(pair * 2, $1) AS even, pg_temp.spread(pair * 2 + 1, $1) AS odd OFFSET 0) AS ids,
     generate_series(0, $4::bigint) AS place,
     LATERAL (SELECT pg_temp.spread(pair * ($4 + 1) + place, $1 / 2 * ($4 + 1)) AS command_id,
                     CASE WHEN place < 2 THEN 'CreateWallet' ELSE 'Transfer' END AS type,
                     CASE place WHEN 0 THEN ARRAY[even] WHEN 1 THEN ARRAY[odd] ELSE ARRAY[even, odd] END AS wallet_ids,
                     greatest(place - 1, 0) AS version OFFSET 0) AS command,
     LATERAL (SELECT CASE place WHEN 0 THEN pg_temp.state(even, 0, version) WHEN 1 THEN pg_temp.state(odd, 1, version)
         ELSE pg_temp.state(even, 0, version) || ',' || pg_temp.state(odd, 1, version) END AS states) AS told
"""


@dataclass(frozen=True)
class Growth:
    """The floor on both databases, run by run; `wallets` others, their `entries` and `commands`, on `size_bytes`."""

    wallets: int
    entries: int
    commands: int
    size_bytes: int
    fill_seconds: float
    empty: Sequence[Floor]
    grown: Sequence[Floor]

    @property
    def ratio(self) -> float:
        """The rate on the grown database, in parts of that on the empty one; each the median of its runs."""
        return median(floor.rate for floor in self.grown) / median(floor.rate for floor in self.empty)


async def measure_growth(
    settings: Settings,
    postgres_pid: int,
    *,
    count: int,
    runs: int,
    wallets: int = OTHER_WALLETS,
    say: Callable[[str], None],
) -> Growth:
    """Fill a database with `wallets` others, and write `count` transfers there and in an empty one, `runs` times each.

    `settings` name any database of the server; its user may make databases, and the two are dropped in the end. A first
    run on each is not counted: after the filling, as after each checkpoint, the first change of a page writes all of
    it. A million wallets take some 13 GB and ten minutes. Raises what asyncpg raises.
    """
    async with _database(settings, "bench_empty") as empty, _database(settings, "bench_grown") as grown:
        began = time.perf_counter()
        entries, commands, size_bytes = await fill(grown, wallets, say)
        seconds = time.perf_counter() - began
        floors: dict[str, list[Floor]] = {"empty": [], "grown": []}
        for number in range(runs + 1):
            for name, database in (("empty", empty), ("grown", grown)):
                say(f"batches on the {name} database: run {number} of {runs}")
                floors[name].append(await prepared_batches(database, count, postgres_pid))
    return Growth(wallets, entries, commands, size_bytes, seconds, floors["empty"][1:], floors["grown"][1:])


async def fill(settings: Settings, wallets: int, say: Callable[[str], None]) -> tuple[int, int, int]:
    """Write so many wallets (an even number), with 20 entries each, into a migrated database without any.

    Returns how many entries and commands there are now, and the bytes that the database takes.
    """
    if wallets % 2:
        raise ValueError(f"expected an even number of wallets, for each pays its neighbour, but got {wallets}")
    engine = create_migration_engine(settings)
    try:
        async with raw_connection(engine) as connection:
            # This session's writes alone may be lost in a crash: the checkpoint in the end brings them to the disk.
            await connection.execute(f"SET synchronous_commit = off; {FUNCTIONS}")
            for begin in range(0, wallets, WALLETS_AT_ONCE):
                end = min(begin + WALLETS_AT_ONCE, wallets)
                async with connection.transaction():
                    for statement in (INSERT_WALLETS, INSERT_ENTRIES, INSERT_COMMANDS):
                        await connection.execute(statement, wallets, begin, end, ENTRIES_OF_EACH)
                say(f"filled with {end:,} of {wallets:,} other wallets")
            # Vacuum too, for it would otherwise come by itself while something is measured.
            await connection.execute("VACUUM (ANALYZE) wallets, ledger, commands")
            await connection.execute("CHECKPOINT")
            counts = "SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM commands)"
            entries, commands = await connection.fetchrow(counts)
            return entries, commands, await connection.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await engine.dispose()


@asynccontextmanager
async def _database(settings: Settings, name: str) -> AsyncIterator[Settings]:
    """A migrated database beside the one that `settings` name, dropped after the block; one left behind is replaced."""
    async with connect_postgres(settings) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
    try:
        own = settings.model_copy(update={"db_name": name})
        await run_migrations(own)
        yield own
    finally:
        async with connect_postgres(settings) as connection:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
