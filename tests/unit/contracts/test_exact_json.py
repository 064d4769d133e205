"""What a command's JSON says and its parsed value does not: keys that come twice, numbers that come back altered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contracts.exact_json import ALTERED, REPEATED, find_inexact, is_surely_exact

KEPT = [
    "0", "-0", "-0.0", "1.50", "0.1", "1e2", "1E+5", "5e-324", "1.7976931348623157e308", "0.30000000000000004",
    "18446744073709551615", "-9223372036854775808", "9007199254740992.0", "1.0000000000000000000000000000000",
]  # fmt: skip
LOST = [
    "18446744073709551616", "-9223372036854775809", "1.23456789012345678901", "1e-400", "4e-324", "1e400",
    "9007199254740993.0", "0.1000000000000000055", "1e99999999999999999999", "1e-99999999999999999999", "9" * 5_000,
    "0." + "1" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("number", KEPT)
def test_a_number_whose_value_comes_back_is_kept(number):
    """Its digits may be written in another way; its value is the same."""
    assert find_inexact(f'{{"metadata": {{"n": {number}}}}}') is None


@pytest.mark.parametrize("number", LOST)
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"metadata": {"a": [0.5, {"n": %s}]}}', ("metadata", "a", 1, "n")),
        ('{"commands": [{}, {"metadata": {"n": %s}}]}', ("commands", 1, "metadata", "n")),
    ],
)
def test_a_number_that_would_come_back_as_another_is_found(number, text, path):
    """Python's float would round it in silence, and two payloads would count as one."""
    assert find_inexact(text % number) == (path, ALTERED)


@pytest.mark.parametrize("number", LOST)
def test_a_number_outside_metadata_is_somebody_elses_to_judge(number):
    """Amounts and versions have rules and refusals of their own."""
    assert find_inexact(f'{{"amount": {number}, "commands": [{{"amount": {number}}}], "x": {number}}}') is None


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": 1, "a": 1}', ("a",)),
        (r'{"amount": 1, "\u0061mount": 2}', ("amount",)),
        ('{"é": 1, "\\u00e9": 2}', ("é",)),
        ('{"": 1, "": 1}', ("",)),
        ('{"commands": [{"b": 1}, {"c": {"b": 1, "d": 2, "b": 1}}]}', ("commands", 1, "c", "b")),
        ('{"metadata": {"a": {"b": 1}, "a": {"b": 1e-400}}}', ("metadata", "a")),
    ],
)
def test_a_key_that_comes_twice_is_found(text, path):
    """However it is spelt, at any depth, though both say the same."""
    assert find_inexact(text.encode()) == (path, REPEATED)


def test_one_key_in_two_objects_is_no_repetition():
    """Each object has its own."""
    assert find_inexact('{"a": {"a": [{"a": 1}, {"a": 1}]}, "b": {"a": 1}}') is None


def test_many_keys_that_come_twice_cost_no_more_than_their_length():
    """A record of 64 KiB must not hold up its partition."""
    names = [f'"{number:x}":1' for number in range(8_000)]

    assert find_inexact("{" + ",".join([*names, '"1f3f":1']) + "}") == (("1f3f",), REPEATED)


objects = st.recursive(
    st.sampled_from(["1", '"a:b"', r'"\":"', '" :"', "null"]),
    lambda inner: st.lists(st.tuples(st.sampled_from([r"\u0061", "a", "b:", "c "]), inner), max_size=3).map(tuple),
    max_leaves=6,
)


@given(objects.filter(lambda value: isinstance(value, tuple)), st.sampled_from([":", ": ", " :", "\n:", "\t :\r"]))
def test_what_is_surely_exact_has_no_key_twice(content, colon):
    """The cheap test may doubt what is good; it never passes what is not."""
    text = written(content, colon)
    keys = count_keys(json.loads(text))

    if is_surely_exact(text.encode(), keys):
        assert find_inexact(text) is None


def test_most_commands_are_surely_exact():
    """Also with times and references, which have colons in them."""
    plain = {"commandId": "x", "reference": "order: 7"}
    timed = {"notAfter": "2026-11-22T12:00:00Z", "b": {"c": 1}}

    assert is_surely_exact(json.dumps(plain).encode(), 2)
    assert is_surely_exact(json.dumps(timed, separators=(",", ":")).encode(), 3)


def written(value: Any, colon: str) -> str:
    if isinstance(value, str):
        return value
    return "{" + ",".join(f'"{key}"{colon}{written(item, colon)}' for key, item in value) + "}"


def count_keys(value: Any) -> int:
    return len(value) + sum(map(count_keys, value.values())) if isinstance(value, dict) else 0
