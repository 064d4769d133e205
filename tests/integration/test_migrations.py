"""The schema's life on a real Postgres: run, revert, compare, several at once, and who may do what."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.support.postgres import administrator, empty_database, migrated_database
from worker import migration
from worker.migration import MIGRATION_TURN, RUNTIME_GRANTS
from worker.settings import Settings, SettingsError
from worker.tables import metadata

# Everything that a migration could get wrong: columns, constraints, indices, comments, storage options.
DESCRIBE = """
SELECT relation.relname AS relation, 'column' AS kind, attname AS name,
       concat_ws(' ', attnum, format_type(atttypid, atttypmod), attnotnull, attgenerated,
                 pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)) AS definition
FROM pg_attribute JOIN tables AS relation ON attrelid = relation.oid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT relname, 'constraint', conname, pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN tables ON conrelid = tables.oid
UNION ALL
SELECT relname, 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index JOIN tables ON indrelid = tables.oid
UNION ALL
SELECT relname, 'options', '', reloptions::text FROM tables
"""
TABLES = """
WITH tables AS (
    SELECT * FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
)
"""

TITLES = {
    "0001": "Wallets, holds, ledger, commands",
    "0002": "Statistics that suffice",
    "0003": "Quarantine",
    "0004": "Installation",
    "0005": "Formats",
}
"""Of the migrations there are, in order."""
NEXT = f"{int(max(TITLES)) + 1:04}"

LOSSES = {
    "0001": ("holds", "wallets", "ledger", "commands"),
    "0002": (),
    "0003": ("wallets.quarantine_reason", "wallets.quarantined_at"),
    "0004": ("installation",),
    "0005": ("commands.fingerprint_format", "ledger.format"),
}
"""What reverting each of them drops."""


@dataclass(frozen=True)
class Finished:
    """A process that ended."""

    exit_code: int
    output: str
    errors: str


@pytest.fixture
async def environment(stack) -> AsyncIterator[dict[str, str]]:
    async with empty_database(stack.environment()) as own:
        yield own


@pytest.fixture
async def roles(stack) -> AsyncIterator[dict[str, str]]:
    """An empty database that belongs to a migrator, and a runtime user whose name has to be quoted."""
    suffix = uuid4().hex[:8]
    migrator, runtime = f"migrator_{suffix}", f'Run"time {suffix}'
    async with administrator(stack.environment()) as admin:
        for role in (migrator, runtime):
            await admin.execute(f"CREATE ROLE {quoted(role)} LOGIN PASSWORD 'secret'")
    async with empty_database(stack.environment()) as own:
        async with administrator(own) as admin:
            await admin.execute(f"ALTER DATABASE {own['DB_NAME']} OWNER TO {migrator}")
        yield {
            **own,
            "DB_USERNAME": runtime,
            "DB_PASSWORD": "secret",
            "DB_MIGRATION_USERNAME": migrator,
            "DB_MIGRATION_PASSWORD": "secret",
        }
    async with administrator(stack.environment()) as admin:
        for role in (migrator, runtime):
            await admin.execute(f"DROP ROLE {quoted(role)}")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of `alembic.ini` and `migrations/` into which a test may write."""
    shutil.copy(migration.PROJECT / "alembic.ini", tmp_path)
    shutil.copytree(migration.PROJECT / "migrations", tmp_path / "migrations")
    monkeypatch.setattr(migration, "PROJECT", tmp_path)
    return tmp_path


def quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'


async def call(environment, program: str, *arguments: str, answer: str = "") -> Finished:
    """Run a program of the virtual environment as a process of its own, in the project's folder.

    `answer` is what it reads.
    """
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name(program),
        *arguments,
        cwd=migration.PROJECT,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(answer.encode())
    return Finished(process.returncode or 0, output.decode(), errors.decode())


async def wallex(environment, *arguments: str, answer: str = "") -> Finished:
    return await call(environment, "wallex", *arguments, answer=answer)


async def describe(environment) -> list[str]:
    """Every fact about the tables of a database, one line each."""
    async with administrator(environment, environment["DB_NAME"]) as admin:
        return sorted(" ".join(map(str, row.values())) for row in await admin.fetch(TABLES + DESCRIBE))


async def test_run_revert_run_comes_back_to_the_same_schema(environment):
    """Reverted one after the other, they leave no table behind, and running again makes every detail as it was.

    What each would lose is found beforehand, without a change.
    """
    settings = Settings.load(environment)

    first_run = await migration.run_migrations(settings)
    first = await describe(environment)
    reversals = []
    while reversal := await migration.find_reversal(settings):
        await migration.revert_migration(settings, reversal.migration.revision)
        reversals.append(reversal)
    between = await describe(environment)
    await migration.run_migrations(settings)

    assert [one.revision for one in first_run] == list(TITLES)
    assert [one.migration.revision for one in reversals] == list(reversed(TITLES))
    assert {one.migration.revision: one.loses for one in reversals} == LOSSES
    assert between == []
    assert await describe(environment) == first


async def test_the_migrations_make_exactly_what_the_models_say(stack):
    """Columns, types, defaults, checks, keys, indices, comments, fill factor: DB_SYNC and migrations agree."""
    async with migrated_database(stack.environment()) as migrated, empty_database(stack.environment()) as synced:
        await migration.sync_tables(Settings.load(synced))

        assert await describe(migrated) == await describe(synced)
        assert len(await describe(migrated)) > 60


async def test_plain_alembic_does_the_same(environment):
    """`alembic upgrade head` is `wallex migrate run`, and `alembic check` finds nothing to do after it."""
    upgraded = await call(environment, "alembic", "upgrade", "head")
    checked = await call(environment, "alembic", "check")
    shown = await wallex(environment, "migrate", "show")

    assert upgraded.exit_code == 0, upgraded.errors
    assert (checked.exit_code, checked.output.strip()) == (0, "No new upgrade operations detected."), checked.errors
    assert shown.exit_code == 0


async def test_the_five_commands_tell_what_they_did(environment):
    """What a person reads at each step, and the exit codes that a script needs: pending is 1."""
    pending = await wallex(environment, "migrate", "show")
    ran = await wallex(environment, "migrate", "run")
    again = await wallex(environment, "migrate", "run")
    shown = await wallex(environment, "migrate", "show")
    losses = [",".join(lost) or "nothing" for lost in LOSSES.values()]
    reverted = [await wallex(environment, "migrate", "revert", "--lose", lost) for lost in reversed(losses)]
    empty = await wallex(environment, "migrate", "revert")

    titles = [f"{revision} {title}\n" for revision, title in TITLES.items()]
    assert (pending.exit_code, pending.output) == (1, "".join(f"[ ] {title}" for title in titles))
    assert (ran.exit_code, ran.output) == (0, "".join(f"ran {title}" for title in titles))
    assert (again.exit_code, again.output) == (0, "nothing to run: the schema is up to date\n")
    assert (shown.exit_code, shown.output) == (0, "".join(f"[X] {title}" for title in titles))
    assert [(one.exit_code, one.output) for one in reverted] == [(0, f"reverted {title}") for title in titles[::-1]]
    assert (empty.exit_code, empty.output) == (0, "nothing to revert\n")


async def test_revert_asks_and_names_what_is_lost(environment):
    """Without a yes, without anybody who answers, and with another loss named, nothing is dropped."""
    await migration.run_migrations(Settings.load(environment))
    before = await describe(environment)

    refused = [
        await wallex(environment, "migrate", "revert", answer="n\n"),
        await wallex(environment, "migrate", "revert"),
        await wallex(environment, "migrate", "revert", "--lose", "nothing", answer="y\n"),
    ]
    unchanged = await describe(environment)
    agreed = await wallex(environment, "migrate", "revert", answer="y\n")

    assert [one.exit_code for one in refused] == [1, 1, 1]
    assert unchanged == before
    newest = max(TITLES)
    assert all(",".join(LOSSES[newest]) in one.output + one.errors for one in (*refused, agreed))
    assert (agreed.exit_code, agreed.output.splitlines()[-1].endswith(f"reverted {newest} {TITLES[newest]}")) == (
        0,
        True,
    )
    assert await describe(environment) != before


async def test_production_reverts_nothing_whose_loss_is_not_named(environment):
    """Whoever agrees to everything, or calls Alembic itself, drops no table there; who names what is lost does."""
    await migration.run_migrations(Settings.load(environment))
    before, production = await describe(environment), {**environment, "ENVIRONMENT": "production"}

    refused = await wallex(production, "migrate", "revert", answer="y\n")
    by_alembic = await call(production, "alembic", "downgrade", "base")
    unchanged = await describe(environment)
    loses = ",".join(LOSSES[max(TITLES)])
    named = await wallex(production, "migrate", "revert", "--lose", loses)

    assert (refused.exit_code, refused.output, refused.errors.count("\n")) == (1, "", 1)
    assert f"unless --lose {loses} is given" in refused.errors
    assert by_alembic.exit_code != 0 and "wallex migrate revert" in by_alembic.errors + by_alembic.output
    assert unchanged == before
    assert named.exit_code == 0, named.errors
    assert await describe(environment) != before


async def test_processes_that_migrate_at_once_take_turns(environment):
    """Three workers start with DB_RUN_MIGRATIONS: one migrates, the others wait and find it done."""
    waiting = """
        SELECT count(*) FROM pg_locks
        WHERE locktype = 'advisory' AND NOT granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    async with administrator(environment, environment["DB_NAME"]) as admin, asyncio.timeout(60):
        await admin.fetchval("SELECT pg_advisory_lock($1)", MIGRATION_TURN)
        runs = [asyncio.create_task(wallex(environment, "migrate", "run")) for _ in range(3)]
        while await admin.fetchval(waiting) < len(runs):  # noqa: ASYNC110 -- the server has no event to wait for
            await asyncio.sleep(0.02)
        await admin.fetchval("SELECT pg_advisory_unlock($1)", MIGRATION_TURN)
        finished = await asyncio.gather(*runs)

    assert [one.exit_code for one in finished] == [0, 0, 0], finished
    assert sum(one.errors.count("migration_applied") for one in finished) == len(TITLES)
    listed = await migration.list_migrations(Settings.load(environment))
    assert [one.applied for one in listed] == [True] * len(TITLES)


async def test_generate_writes_what_differs_and_only_then(environment, project):
    """A column that the database lacks is added by the next numbered file; without a difference there is no file."""
    settings = Settings.load(environment)
    await migration.run_migrations(settings)

    nothing = await migration.generate_migration(settings, "nothing new")
    async with administrator(environment, environment["DB_NAME"]) as admin:
        await admin.execute("ALTER TABLE holds DROP COLUMN description")
    written = await migration.generate_migration(settings, "holds have a description")

    assert nothing is None
    assert written == project / "migrations" / "versions" / f"{NEXT}_holds_have_a_description.py"
    assert 'add_column("holds"' in written.read_text().replace("'", '"')


async def test_create_writes_an_empty_migration_that_runs(environment, project):
    """The template is a valid migration, numbered after the last."""
    written = migration.create_migration(Settings.load(environment), "fill in by hand")

    ran = await migration.run_migrations(Settings.load(environment))

    assert written is not None and written.name == f"{NEXT}_fill_in_by_hand.py"
    assert [one.title for one in ran] == [*TITLES.values(), "fill in by hand"]


async def test_a_migration_gives_up_on_a_lock_instead_of_blocking_everyone(environment):
    """DDL that waits makes all who come after it wait: it fails after two seconds, in one line, with nothing done."""
    await migration.run_migrations(Settings.load(environment))
    before = await describe(environment)

    async with administrator(environment, environment["DB_NAME"]) as admin, admin.transaction():
        await admin.execute("LOCK TABLE wallets, holds, ledger, commands, installation IN SHARE MODE")
        started = time.monotonic()
        refused = await wallex(environment, "migrate", "revert", "--lose", ",".join(LOSSES[max(TITLES)]))
        elapsed_s = time.monotonic() - started

    assert refused.exit_code == 1
    assert refused.errors.strip().endswith("canceling statement due to lock timeout")
    assert elapsed_s < 20
    assert await describe(environment) == before


async def test_a_database_that_is_away_is_one_line(environment):
    """No traceback where the server cannot be reached: where it was looked for, and what happened."""
    refused = await wallex({**environment, "DB_PORT": "1"}, "migrate", "run")

    assert refused.exit_code == 1
    assert refused.errors.startswith("wallex: cannot migrate")
    assert refused.errors.count("\n") == 1


async def test_without_alembic_ini_the_error_says_what_is_missing(environment, tmp_path, monkeypatch):
    """A package installed without its migrations says so instead of guessing."""
    monkeypatch.setattr(migration, "PROJECT", tmp_path)

    with pytest.raises(SettingsError, match=r"alembic\.ini and migrations/ beside the package"):
        await migration.run_migrations(Settings.load(environment))


def test_each_table_has_its_grants():
    """A table that is added to the models is added to the grants."""
    assert RUNTIME_GRANTS.keys() == metadata.tables.keys() | {"alembic_version"}


NEW_COMMAND = (
    "INSERT INTO commands (command_id, attempt, type, fingerprint, event_wallet_ids, event_versions, reply, "
    "received_at) VALUES (gen_random_uuid(), 0, '', '', '{}', '{}', '', now())"
)
FORBIDDEN = [
    *(f"DELETE FROM {table}" for table in RUNTIME_GRANTS),
    *(f"TRUNCATE {table} CASCADE" for table in RUNTIME_GRANTS),
    *(f"ALTER TABLE {table} ADD COLUMN more text" for table in RUNTIME_GRANTS),
    *(f"DROP TABLE {table}" for table in RUNTIME_GRANTS),
    "UPDATE ledger SET amount = 1",
    "UPDATE commands SET reply = ''",
    "SELECT * FROM ledger FOR UPDATE",
    f"{NEW_COMMAND} ON CONFLICT (command_id, attempt) DO UPDATE SET reply = ''",
    "UPDATE installation SET id = gen_random_uuid()",
    "INSERT INTO installation DEFAULT VALUES",
    "CREATE TABLE more (a text)",
    "CREATE TRIGGER sly BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "UPDATE alembic_version SET version_num = ''",
]
ALLOWED = [
    "INSERT INTO wallets (id, owner_id) VALUES ('00000000-0000-0000-0000-000000000001', 'o')",
    "SELECT * FROM wallets ORDER BY id FOR UPDATE",
    "UPDATE wallets SET balance = 10",
    "INSERT INTO holds (id, wallet_id, amount) VALUES (gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 1)",
    "UPDATE holds SET status = 'RELEASED'",
    "INSERT INTO ledger (wallet_id, version, event_id, event_type, command_id, balance, held_balance, status, "
    "occurred_at) VALUES (gen_random_uuid(), 0, gen_random_uuid(), '', gen_random_uuid(), 0, 0, 'ACTIVE', now())",
    f"{NEW_COMMAND} ON CONFLICT DO NOTHING",
    "SELECT * FROM ledger, commands",
    "SELECT * FROM installation FOR UPDATE",
    "UPDATE installation SET joined_at = now()",
]


async def allowed(environment, statement: str) -> bool:
    async with administrator(environment, environment["DB_NAME"]) as connection:
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            return False
        return True


async def test_the_runtime_role_can_write_history_but_not_rewrite_it(roles):
    """No DELETE, TRUNCATE or DDL anywhere; ledger and commands take inserts alone. Postgres itself refuses the rest."""
    await migration.run_migrations(Settings.load(roles))

    verdicts = {statement: await allowed(roles, statement) for statement in [*ALLOWED, *FORBIDDEN]}

    assert verdicts == {**dict.fromkeys(ALLOWED, True), **dict.fromkeys(FORBIDDEN, False)}


async def test_each_run_brings_the_grants_into_order(roles):
    """Grants that were widened by hand, or lost, are as they should be after the next run, pending or not."""
    await migration.run_migrations(Settings.load(roles))
    owner = {**roles, "DB_USERNAME": roles["DB_MIGRATION_USERNAME"]}
    async with administrator(owner, roles["DB_NAME"]) as migrator:
        await migrator.execute(f"GRANT ALL ON ledger TO {quoted(roles['DB_USERNAME'])}")
        await migrator.execute(f"REVOKE ALL ON wallets FROM {quoted(roles['DB_USERNAME'])}")

    upgraded = await call(roles, "alembic", "upgrade", "head")

    assert upgraded.exit_code == 0, upgraded.errors
    assert not await allowed(roles, "DELETE FROM ledger")
    assert await allowed(roles, "SELECT * FROM wallets FOR UPDATE")


async def test_synchronised_tables_have_the_same_grants(roles):
    """DB_SYNC makes tables in another way, and gives the runtime role no more."""
    await migration.sync_tables(Settings.load(roles))

    assert not await allowed(roles, "DELETE FROM ledger")
    assert await allowed(roles, "SELECT * FROM ledger")


@pytest.mark.parametrize("make", [migration.run_migrations, migration.sync_tables])
async def test_each_database_has_an_id_of_its_own_however_its_tables_are_made(stack, environment, make):
    """One row, which no repeat changes; no other database has the same."""
    async with empty_database(stack.environment()) as other:
        for own in (environment, other, environment):
            await make(Settings.load(own))

        found = []
        for own in (environment, other):
            async with administrator(own, own["DB_NAME"]) as connection:
                found += await connection.fetch("SELECT id, joined_at FROM installation")

    assert len({row["id"] for row in found}) == len(found) == 2
    assert {row["joined_at"] for row in found} == {None}
