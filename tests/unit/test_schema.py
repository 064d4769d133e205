"""What is said of a schema that is not the program's own: which way it differs, and what to do."""

from __future__ import annotations

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from worker.migration import PROJECT
from worker.schema import find_problem
from worker.tables import SCHEMA_REVISION, metadata

COLUMNS = frozenset((table.name, column.name) for table in metadata.tables.values() for column in table.columns)


def test_the_program_knows_the_last_migration():
    """Whoever adds a migration sets `SCHEMA_REVISION`: otherwise each process would refuse the schema that it needs."""
    scripts = ScriptDirectory.from_config(Config(PROJECT / "alembic.ini"))

    assert scripts.get_heads() == [SCHEMA_REVISION]


@pytest.mark.parametrize(
    ("revision", "columns", "said"),
    [
        (SCHEMA_REVISION, [], None),
        (None, COLUMNS, None),
        (None, COLUMNS | {("wallets", "more"), ("others", "id")}, None),
        ("0001", [], "`wallex migrate run`"),
        ("9999", [], "newer than this program"),
        ("another", [], "newer than this program"),
        (None, [], "no tables of Wallex: run `wallex migrate run`"),
        (None, [("others", "id")], "no tables of Wallex: run `wallex migrate run`"),
        (None, COLUMNS - {("wallets", "version")}, "lack wallets.version: DB_SYNC"),
    ],
)
def test_a_schema_that_does_not_fit_is_named_with_what_to_do(revision, columns, said):
    """A revision decides where there is one; otherwise the columns do, since `DB_SYNC` notes none."""
    problem = find_problem(revision, columns)

    assert (problem is None) == (said is None)
    assert said is None or said in problem
