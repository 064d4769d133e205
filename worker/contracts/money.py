"""Money as it travels and as it is reckoned: text outside, `Decimal` with four places inside, never a float.

An amount comes in as a JSON string such as ``"12.5000"`` or as a JSON integer, and goes out as a string with four
places. A JSON number with a fraction is refused: a binary float is not money (contract, "Commands").
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

# The contract's `^[0-9]{1,15}(\.[0-9]{1,4})?$` and its upper limit in one, for those who only have the schema.
AMOUNT_PATTERN = r"^(0?[0-9]{1,14}(\.[0-9]{1,4})?|10{14}(\.0{1,4})?)$"
AMOUNT_MAX = Decimal(10) ** 14
# A balance in ten-thousandths fits a signed 64-bit integer, in every store.
BALANCE_MAX = 9 * Decimal(10) ** 14
ZERO = Decimal("0.0000")

INVALID_AMOUNT = "invalid_amount"

_FOUR_PLACES = Decimal("0.0001")
_match_amount = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,4})?").fullmatch


def format_money(value: Decimal) -> str:
    """Write `value` with exactly four places: ``Decimal("12.5")`` is ``"12.5000"``."""
    return f"{value:.4f}"


def to_minor(value: Decimal) -> int:
    """`value` in ten-thousandths: ``Decimal("12.5")`` is 125000."""
    return int(value.scaleb(4))


def _fits(value: Decimal) -> bool:
    """Whether `value` could have been written as an amount: what `quantize` would round or not hold is refused."""
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -4 and value.adjusted() < 15 and not value.is_signed()


def _parse(value: object) -> Decimal:
    if isinstance(value, Decimal) and _fits(value):
        return value.quantize(_FOUR_PLACES)
    if type(value) is int and value >= 0:
        # Checked before quantize: an absurd integer would not fit the decimal context.
        return Decimal(value).quantize(_FOUR_PLACES) if value <= AMOUNT_MAX else Decimal(value)
    if isinstance(value, str) and _match_amount(value):
        return Decimal(value).quantize(_FOUR_PLACES)
    raise PydanticCustomError(
        INVALID_AMOUNT,
        'an amount is a JSON string such as "12.5000" (at most 15 digits, then at most 4 places) or a JSON integer',
    )


def _parse_amount(value: object) -> Decimal:
    amount = _parse(value)
    if not 0 < amount <= AMOUNT_MAX:
        raise PydanticCustomError(INVALID_AMOUNT, "an amount is more than 0 and at most 100000000000000")
    return amount


def _parse_initial_balance(value: object) -> Decimal:
    amount = _parse(value)
    if amount > AMOUNT_MAX:
        raise PydanticCustomError(INVALID_AMOUNT, "an initial balance is at least 0 and at most 100000000000000")
    return amount


_TEXT_SCHEMA = {"type": "string", "pattern": AMOUNT_PATTERN}
_AMOUNT_SCHEMA = {
    "description": "More than 0, at most 10^14: text, or an integer written without a fraction (5.0 is refused).",
    "anyOf": [
        {**_TEXT_SCHEMA, "not": {"pattern": r"^0+(\.0+)?$"}},
        {"type": "integer", "minimum": 1, "maximum": 10**14},
    ],
    "examples": ["12.5000"],
}
_INITIAL_BALANCE_SCHEMA = {
    "description": "At least 0, at most 10^14: text, or an integer written without a fraction (5.0 is refused).",
    "anyOf": [_TEXT_SCHEMA, {"type": "integer", "minimum": 0, "maximum": 10**14}, {"type": "null"}],
    "examples": ["250.0000"],
}
_OUTPUT_SCHEMA = {"type": "string", "pattern": r"^[0-9]{1,15}\.[0-9]{4}$", "examples": ["12.5000"]}

Amount = Annotated[Decimal, BeforeValidator(_parse_amount), WithJsonSchema(_AMOUNT_SCHEMA)]
InitialBalance = Annotated[Decimal, BeforeValidator(_parse_initial_balance), WithJsonSchema(_INITIAL_BALANCE_SCHEMA)]
# Money in events and replies: always text with four places.
Money = Annotated[Decimal, PlainSerializer(format_money, return_type=str), WithJsonSchema(_OUTPUT_SCHEMA)]
