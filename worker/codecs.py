"""How money and times cross to Postgres: in its own binary form, and what was written once is remembered.

asyncpg writes a `Decimal` digit by digit and a time by its calendar, which costs a batch more than all its other values
together. Most of them repeat: a balance goes into the ledger and into its wallet, a batch has one time, amounts are
often round. Nothing is lost: a `Decimal` with more places than money has is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from struct import Struct, pack, unpack_from
from typing import Any

VALUES_REMEMBERED = 20_000
MONEY_PLACES = 4
BASE = 10_000
"""Postgres writes a numeric in digits of this base: money has exactly one of them behind the point."""
NOT_A_NUMBER = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}
NEGATIVE = 0x4000

_HEAD = Struct(">HhHH")  # how many digits, weight of the first one, sign, places shown
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


async def set_codecs(connection: Any) -> None:
    """Make `connection`, asyncpg's, write and read `numeric` and `timestamptz` in this way."""
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=encode_money, decoder=decode_numeric, format="binary"
    )
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=encode_time, decoder=decode_time, format="tuple"
    )


@lru_cache(VALUES_REMEMBERED)
def encode_money(value: Decimal) -> bytes:
    """`value` as a numeric with four places; ValueError where it has more."""
    minor = value.scaleb(MONEY_PLACES)
    left = abs(int(minor))
    if left != abs(minor):
        raise ValueError(f"money has at most {MONEY_PLACES} places, {value} has more")
    digits: list[int] = []
    while left:
        left, digit = divmod(left, BASE)
        digits.append(digit)
    digits.reverse()
    sign = NEGATIVE if minor < 0 else 0
    return pack(f">HhHH{len(digits)}H", len(digits), len(digits) - 2, sign, MONEY_PLACES, *digits)


@lru_cache(VALUES_REMEMBERED)
def decode_numeric(data: bytes) -> Decimal:
    """Any numeric, with the places that it is shown with."""
    count, weight, sign, places = _HEAD.unpack_from(data)
    if sign in NOT_A_NUMBER:
        return Decimal(NOT_A_NUMBER[sign])
    number = 0
    for digit in unpack_from(f">{count}H", data, _HEAD.size):
        number = number * BASE + digit
    # A whole number of the last place that is shown: digits behind it are zeros, and missing ones are, too.
    shift = MONEY_PLACES * (weight + 1 - count) + places
    number = number * 10**shift if shift >= 0 else number // 10**-shift
    return Decimal((sign == NEGATIVE, tuple(map(int, str(number))), -places))


@lru_cache(VALUES_REMEMBERED)
def encode_time(value: datetime) -> tuple[int]:
    """An aware time as microseconds since 2000."""
    return ((value - _EPOCH) // _MICROSECOND,)


@lru_cache(VALUES_REMEMBERED)
def decode_time(value: tuple[int]) -> datetime:
    """Microseconds since 2000 as an aware time in UTC."""
    return _EPOCH + value[0] * _MICROSECOND
