"""Money and times on their way to Postgres and back: what Postgres reads is what was written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.postgres import administrator
from worker.codecs import encode_money, set_codecs

# What money can be, and sums of it: up to 19 digits, four of them behind the point.
money = st.integers(-(10**19) + 1, 10**19 - 1).map(lambda minor: Decimal(minor).scaleb(-4))
times = st.builds(
    lambda day, microseconds, zone: (datetime(2, 1, 1, tzinfo=UTC) + timedelta(day, 0, microseconds)).astimezone(zone),
    st.integers(0, 3_650_000),
    st.integers(0, 86_400_000_000),
    st.sampled_from([UTC, timezone(timedelta(hours=5))]),
)
numerics = st.decimals(allow_nan=False, allow_infinity=False, places=9).map("{:f}".format)
real = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
async def connection(stack):
    async with administrator(stack.environment()) as connection:
        await set_codecs(connection)
        yield connection


async def written_and_read(connection: asyncpg.Connection, kind: str, values: list) -> list[tuple[str, object]]:
    """Each value as Postgres has it: its text, and itself read back."""
    query = f"SELECT value::text, value FROM unnest($1::{kind}[]) WITH ORDINALITY AS given(value, place) ORDER BY place"
    return [tuple(row) for row in await connection.fetch(query, values)]


@real
@given(values=st.lists(money, max_size=50))
async def test_money_arrives_exactly_and_comes_back_as_it_was(connection, values):
    """To the last place, with all four of them shown."""
    assert await written_and_read(connection, "numeric", values) == [(f"{value:.4f}", value) for value in values]
    found = await written_and_read(connection, "numeric", values)
    assert [str(value) for _, value in found] == [f"{value:.4f}" for value in values]


@real
@given(texts=st.lists(numerics, max_size=50))
async def test_any_numeric_is_read_as_postgres_shows_it(connection, texts):
    """Sums and averages have places of their own."""
    found = await connection.fetch("SELECT unnest($1::text[])::numeric", texts)

    shown = await connection.fetch("SELECT unnest($1::text[])::numeric::text", texts)
    assert [row[0] for row in found] == [Decimal(row[0]) for row in shown]
    assert [f"{row[0]:f}" for row in found] == [row[0] for row in shown]


@real
@given(values=st.lists(times, max_size=50))
async def test_a_time_arrives_to_the_microsecond(connection, values):
    """Whatever its zone, it is the same instant, and comes back in UTC."""
    found = await connection.fetch("SELECT unnest($1::timestamptz[])", values)

    assert [row[0] for row in found] == values
    assert all(row[0].tzinfo is UTC for row in found)


async def test_what_is_not_a_number_is_read_too(connection):
    """Nobody writes it, and a broken row must be shown as it is."""
    row = await connection.fetchrow("SELECT 'NaN'::numeric, 'Infinity'::numeric, '-Infinity'::numeric")

    assert [str(value) for value in row] == ["NaN", "Infinity", "-Infinity"]


def test_money_with_more_places_than_four_is_refused():
    """It would be rounded in silence."""
    with pytest.raises(ValueError, match="at most 4 places"):
        encode_money(Decimal("0.00001"))
