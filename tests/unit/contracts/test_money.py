"""Money: what is an amount, what is not, and that nothing is lost on the way."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from tests.unit.contracts.support import faults
from worker.contracts.money import (
    AMOUNT_MAX,
    BALANCE_MAX,
    INVALID_AMOUNT,
    Amount,
    InitialBalance,
    Money,
    format_money,
    to_minor,
)

AMOUNT: TypeAdapter[Decimal] = TypeAdapter(Amount)
INITIAL_BALANCE: TypeAdapter[Decimal] = TypeAdapter(InitialBalance)
AMOUNT_SCHEMA = Draft202012Validator(AMOUNT.json_schema())
INITIAL_BALANCE_SCHEMA = Draft202012Validator(INITIAL_BALANCE.json_schema())
WRITTEN_SCHEMA = Draft202012Validator(TypeAdapter(Money).json_schema(mode="serialization"))

ten_thousandths = st.integers(min_value=1, max_value=int(AMOUNT_MAX) * 10_000)
# Everything that looks a little like an amount, and much that is just outside.
amount_like = st.one_of(
    st.from_regex(r"[0-9]{1,17}(\.[0-9]{0,6})?", fullmatch=True),
    st.text("0123456789.,-+eE_ \n\t\u0663\uff11", max_size=20),
    st.text(max_size=8),
)

TAKEN = [
    ('"12.5000"', "12.5000"),
    ('"12.5"', "12.5000"),
    ('"0.0001"', "0.0001"),
    ('"007.50"', "7.5000"),
    ('"100000000000000"', "100000000000000.0000"),
    ('"100000000000000.0000"', "100000000000000.0000"),
    ('"099999999999999.9999"', "99999999999999.9999"),
    ("1", "1.0000"),
    ("100000000000000", "100000000000000.0000"),
]
REFUSED = {
    "float": "12.5",
    "float without a fraction": "5.0",
    "float in scientific notation": "1e3",
    "infinite float": "1e400",
    "NaN": "NaN",
    "true": "true",
    "false": "false",
    "null": "null",
    "object": '{"amount": "1"}',
    "list": '["1"]',
    "negative integer": "-1",
    "integer over the limit": "100000000000001",
    "integer beyond 64 bits": "18446744073709551616",
    "integer of 400 digits": "9" * 400,
    "empty": '""',
    "minus": '"-1"',
    "plus": '"+1"',
    "exponent": '"1e3"',
    "named NaN": '"NaN"',
    "named infinity": '"Infinity"',
    "five places": '"1.00000"',
    "16 digits": '"0000000000000001"',
    "over the limit by the least": '"100000000000000.0001"',
    "15 nines": '"999999999999999"',
    "point without places": '"1."',
    "point without digits": '".5"',
    "comma": '"1,5"',
    "thousands": '"1,000"',
    "underscore": '"1_000"',
    "space before": '" 1"',
    "space after": '"1 "',
    "newline at the end": '"1\\n"',
    "Arabic digit": '"\\u0663"',
    "full-width digit": '"\\uff11"',
    "nothing but U+0000": '"\\u0000"',
    "currency": '"1 USD"',
    "hexadecimal": '"0x10"',
}


@pytest.mark.parametrize(("written", "amount"), TAKEN)
def test_an_amount_is_text_or_an_integer(written, amount):
    """A JSON string such as "12.5000", or a JSON integer; four places inside, whatever was written."""
    read = AMOUNT.validate_json(written)

    assert type(read) is Decimal
    assert str(read) == format_money(read) == amount


@pytest.mark.parametrize("written", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("kind", [AMOUNT, INITIAL_BALANCE], ids=["amount", "initial balance"])
def test_anything_else_is_no_amount(kind, written):
    """Floats, signs, exponents, a fifth place, more than 10^14 and foreign digits are InvalidAmount."""
    refused = faults(kind, written.encode())

    assert refused == [("", INVALID_AMOUNT)]


@pytest.mark.parametrize("written", ['"0"', '"0.0000"', "0"])
def test_only_an_initial_balance_may_be_zero(written):
    """A movement of nothing is no movement; a wallet may begin empty."""
    initial_balance = INITIAL_BALANCE.validate_json(written)

    assert format_money(initial_balance) == "0.0000"
    assert faults(AMOUNT, written.encode()) == [("", INVALID_AMOUNT)]


def test_the_refusal_says_what_was_expected():
    """Whoever sent a float learns how an amount is written."""
    with pytest.raises(ValueError, match=r'an amount is a JSON string such as "12.5000"'):
        AMOUNT.validate_json("12.5")


@settings(deadline=None)
@given(ten_thousandths)
@example(1)
@example(int(AMOUNT_MAX) * 10_000)
def test_what_is_written_reads_back_as_the_same_money(minor):
    """Formatting and reading lose nothing, over the whole range, and ten-thousandths are exact."""
    money = Decimal(minor).scaleb(-4)

    written = format_money(money)

    assert WRITTEN_SCHEMA.is_valid(written)
    assert AMOUNT.validate_python(written) == money
    assert to_minor(AMOUNT.validate_python(written)) == minor


@settings(deadline=None, max_examples=500)
@given(amount_like)
@example("100000000000000.0000")
@example("100000000000000.0001")
@example("099999999999999.9999")
@example("0000000000000.00")
def test_schema_and_model_take_the_same_texts(text):
    """A sender who checks an amount against the schema is not surprised by the worker."""
    # Python's `$` also passes before a newline at the end; JSON Schema's, which is ECMAScript's, does not.
    by_schema = not text.endswith("\n")
    raw = json.dumps(text).encode()

    assert (faults(AMOUNT, raw) == []) == (by_schema and AMOUNT_SCHEMA.is_valid(text))
    assert (faults(INITIAL_BALANCE, raw) == []) == (by_schema and INITIAL_BALANCE_SCHEMA.is_valid(text))


@settings(deadline=None)
@given(st.integers())
@example(0)
@example(10**14)
@example(10**14 + 1)
def test_schema_and_model_take_the_same_integers(number):
    """The limits of an integer amount are the schema's too."""
    raw = str(number).encode()

    assert (faults(AMOUNT, raw) == []) == AMOUNT_SCHEMA.is_valid(number)
    assert (faults(INITIAL_BALANCE, raw) == []) == INITIAL_BALANCE_SCHEMA.is_valid(number)


@pytest.mark.parametrize("value", [12.5, True, None, b"1", "1e3"], ids=repr)
def test_no_float_comes_in_from_python_either(value):
    """A client in Python that passes a float is refused as a sender on Kafka is."""
    with pytest.raises(ValueError, match="an amount is a JSON string"):
        AMOUNT.validate_python(value)


@pytest.mark.parametrize(
    "value", ["1.00001", "0.00000", "1.00000", "NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "1E+30", "1E+999999"]
)
@pytest.mark.parametrize("kind", [AMOUNT, INITIAL_BALANCE], ids=["amount", "initial balance"])
def test_a_decimal_from_python_is_never_rounded(kind, value):
    """A fifth place is refused as in text, and what is no number or far too large fails no other way."""
    with pytest.raises(ValidationError, match="an amount is a JSON string"):
        kind.validate_python(Decimal(value))


@pytest.mark.parametrize("value", ["-1", "-0", "-0.0001"])
@pytest.mark.parametrize("kind", [AMOUNT, INITIAL_BALANCE], ids=["amount", "initial balance"])
def test_a_decimal_from_python_has_no_sign(kind, value):
    """Minus nothing too: it would be written as "-0.0000"."""
    with pytest.raises(ValidationError, match="an amount is a JSON string"):
        kind.validate_python(Decimal(value))


@pytest.mark.parametrize("value", ["100000000000000.0001", "999999999999999.9999", "1E+15"])
@pytest.mark.parametrize("kind", [AMOUNT, INITIAL_BALANCE], ids=["amount", "initial balance"])
def test_a_decimal_from_python_has_the_same_limit(kind, value):
    """At most 10^14, however it is held."""
    with pytest.raises(ValidationError) as refused:
        kind.validate_python(Decimal(value))

    assert [error["type"] for error in refused.value.errors()] == [INVALID_AMOUNT]


@pytest.mark.parametrize(
    ("value", "written"),
    [("12.5", "12.5000"), ("1E+14", "100000000000000.0000"), ("0.0001", "0.0001"), ("1E1", "10.0000")],
)
def test_a_decimal_from_python_is_the_amount_that_it_is(value, written):
    """Whatever its exponent: four places inside."""
    amount = AMOUNT.validate_python(Decimal(value))

    assert str(amount) == written


def test_the_largest_balance_fits_64_bits_in_ten_thousandths():
    """Every store keeps balances as a 64-bit integer beside the text."""
    minor = to_minor(BALANCE_MAX)

    assert minor == 9 * 10**18
    assert minor < 2**63
