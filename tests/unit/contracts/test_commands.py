"""The commands: what is refused, where, and what just fits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from tests.unit.contracts.support import ID, WALLET, command_faults, credit, credit_json, faults
from worker.contracts.commands import COMMAND, CreditWallet
from worker.contracts.fields import METADATA_BYTES_MAX
from worker.contracts.times import format_time


def _dumps(value) -> bytes:
    return json.dumps(value).encode()


def _nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def test_a_command_holds_what_was_asked():
    """Defaults are filled in, ids stay text, times become aware."""
    raw = _dumps(credit(expectedVersion=7, notAfter="2026-11-22T13:00:00+01:00", reference="r-1", metadata={"a": [1]}))

    command = COMMAND.validate_json(raw)

    assert isinstance(command, CreditWallet)
    assert command.command_id == ID
    assert command.wallet_id == WALLET
    assert command.expected_version == 7
    assert command.not_after == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert command.reference == "r-1"
    assert command.metadata == {"a": [1]}
    assert command.currency is None


def test_a_command_cannot_be_changed():
    """What was decided on is what was sent."""
    command = COMMAND.validate_json(_dumps(credit()))

    with pytest.raises(ValidationError, match="frozen"):
        command.reference = "another"


@pytest.mark.parametrize("name", ["expectedversion", "note", "", "wallet_id", "toWalletId", "commandID"])
def test_an_unknown_field_is_refused(name):
    """A misspelt `expectedVersion` that is ignored would move money that its sender meant to protect."""
    refused = command_faults(_dumps({**credit(), name: 1}))

    assert refused == [(name, "extra_forbidden")]


@pytest.mark.parametrize("name", ["commandId", "walletId", "amount"])
def test_a_missing_field_is_named(name):
    """The refusal says which field is missing."""
    without = {key: value for key, value in credit().items() if key != name}

    refused = command_faults(_dumps(without))

    assert refused == [(name, "missing")]


def test_all_faults_are_named_at_once():
    """A sender should not have to find its faults one by one."""
    refused = command_faults(_dumps(credit(walletId="1", amount=1.5, reference=5)))

    assert {place for place, _ in refused} == {"walletId", "amount", "reference"}


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"[]", "dict_type"),
        (b"null", "dict_type"),
        (b'"CreditWallet"', "dict_type"),
        (b"12", "dict_type"),
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b"\xff\xfe", "json_invalid"),
        (b"{}", "union_tag_not_found"),
        (b'{"type": "creditWallet"}', "union_tag_invalid"),
        (b'{"type": 5}', "union_tag_invalid"),
        (b'{"type": null}', "union_tag_invalid"),
        (b'{"type": ["CreditWallet"]}', "union_tag_invalid"),
        (b'{"type": "\\ud800"}', "json_invalid"),
    ],
)
def test_what_is_no_command_is_refused_as_a_whole(raw, error):
    """Not JSON, no object, or no type that there is."""
    refused = faults(COMMAND, raw)

    assert refused == [("", error)]


@pytest.mark.parametrize("name", ["commandId", "walletId"])
@pytest.mark.parametrize(
    "written",
    [
        WALLET.upper(),
        WALLET.replace("-", ""),
        f"{{{WALLET}}}",
        f"urn:uuid:{WALLET}",
        f" {WALLET}",
        f"{WALLET}\n",
        WALLET[:-1],
        WALLET.replace("3", "\u0663"),
        "",
    ],
)
def test_an_id_is_a_uuid_in_small_letters_with_hyphens(name, written):
    """Ids are compared as text in every store, so there is one way to write them."""
    refused = command_faults(_dumps(credit(**{name: written})))

    assert refused == [(name, "string_pattern_mismatch")]


@pytest.mark.parametrize("name", ["commandId", "walletId", "reference"])
@pytest.mark.parametrize("raw", ["5", "true", "1.5", "[]", "{}"])
def test_text_is_text(name, raw):
    """Nothing is turned into text on the way."""
    refused = command_faults(credit_json(name, raw))

    assert refused == [(name, "string_type")]


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("true", "int_type"),
        ("1.0", "int_type"),
        ('"1"', "int_type"),
        ("-1", "greater_than_equal"),
        (str(2**63), "less_than_equal"),
        (str(2**64), "less_than_equal"),
        ("1e400", "int_type"),
        ("[]", "int_type"),
    ],
)
def test_an_expected_version_is_a_whole_number_of_64_bits(raw, error):
    """A version is an integer ≥ 0 that fits the database's bigint."""
    refused = command_faults(credit_json("expectedVersion", raw))

    assert refused == [("expectedVersion", error)]


@pytest.mark.parametrize("version", [0, 2**63 - 1])
def test_the_least_and_the_largest_version_pass(version):
    """The limits themselves are versions."""
    command = COMMAND.validate_json(_dumps(credit(expectedVersion=version)))

    assert command.expected_version == version


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("1795348800", "time"),
        ("1795348800.5", "time"),
        ("true", "time"),
        ("{}", "time"),
        ('"2026-11-22T12:00:00"', "time"),
        ('"2026-11-22"', "time"),
        ('"2026-11-22Z"', "time"),
        ('"12:00:00Z"', "time"),
        ('"tomorrow"', "time"),
        ('""', "time"),
        ('"1795348800"', "time"),
        ('"1795348800Z"', "time"),
        ('"2026-11-22 12:00:00Z"', "time"),
        ('"2026-11-22_12:00:00Z"', "time"),
        ('"2026-11-22T12:00Z"', "time"),
        ('"2026-11-22T12Z"', "time"),
        ('"20261122T120000Z"', "time"),
        ('"2026-11-22T12:00:00.Z"', "time"),
        ('"2026-11-22T12:00:00,5Z"', "time"),
        ('"2026-11-22T12:00:00+0100"', "time"),
        ('"2026-11-22T12:00:00+01"', "time"),
        ('"2026-11-22T12:00:00+24:00"', "time"),
        ('"2026-11-22T12:00:00+01:60"', "time"),
        ('"2026-11-22T12:00:00 Z"', "time"),
        ('"2026-11-22T12:00:00Z\\n"', "time"),
        ('"\u0662026-11-22T12:00:00Z"', "time"),
        ('"0001-01-01T00:00:00+00:01"', "time"),
        ('"0001-01-01T00:00:00+05:00"', "time"),
        ('"9999-12-31T23:59:59.999999-00:01"', "time"),
        ('"0000-01-01T00:00:00Z"', "datetime_parsing"),
        ('"2026-13-22T12:00:00Z"', "datetime_from_date_parsing"),
        ('"2026-02-29T12:00:00Z"', "datetime_from_date_parsing"),
        ('"2026-11-22T24:00:00Z"', "datetime_from_date_parsing"),
        ('"2026-11-22T23:59:60Z"', "datetime_from_date_parsing"),
    ],
)
def test_a_time_is_rfc_3339_text_with_a_zone(raw, error):
    """A number could be seconds or milliseconds, and a time without a zone is not one moment."""
    refused = command_faults(credit_json("notAfter", raw))

    assert refused == [("notAfter", error)]


@pytest.mark.parametrize(
    "written", ["2026-11-22T12:00:00Z", "2026-11-22t12:00:00z", "2026-11-22T13:00:00.000000+01:00"]
)
def test_one_moment_may_be_written_in_several_ways(written):
    """RFC 3339 allows small letters, fractions and any offset."""
    command = COMMAND.validate_json(_dumps(credit(notAfter=written)))

    assert command.not_after == datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "written", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59+23:59"]
)
def test_a_time_is_kept_in_utc_and_can_be_written_again(written):
    """The earliest and the latest moment are moments: what was read never fails to be said in a refusal."""
    command = COMMAND.validate_json(_dumps(credit(notAfter=written)))

    assert command.not_after is not None
    assert command.not_after.utcoffset() == timedelta(0)
    assert datetime.fromisoformat(format_time(command.not_after)) == datetime.fromisoformat(written)


def test_a_client_in_python_gives_an_aware_time():
    """Also one in another zone; a naive one is refused."""
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    in_berlin = COMMAND.validate_python(credit(notAfter=noon.astimezone(timezone(timedelta(hours=1)))))

    assert in_berlin.not_after == noon
    assert in_berlin.not_after.utcoffset() == timedelta(0)
    with pytest.raises(ValidationError, match="timezone info"):
        COMMAND.validate_python(credit(notAfter=noon.replace(tzinfo=None)))


@pytest.mark.parametrize("name", ["command_id", "wallet_id", "expected_version", "not_after"])
def test_a_field_has_no_other_name_in_json(name):
    """The name that Python code uses would make a second spelling of the same command."""
    raw = _dumps({**credit(), name: 7})
    camel = to_camel(name)
    instead = _dumps({name if key == camel else key: value for key, value in credit(**{camel: 7}).items()})

    assert (name, "extra_forbidden") in command_faults(raw)
    assert (name, "extra_forbidden") in command_faults(instead)


@pytest.mark.parametrize("currency", ["usd", "US", "USDT", " USD", "USD\n", ""])
def test_a_currency_is_three_capitals(currency):
    """A currency's code has one spelling."""
    refused = command_faults(_dumps(credit(currency=currency)))

    assert refused == [("currency", "string_pattern_mismatch")]


@pytest.mark.parametrize("currency", ["ABC", "XXX", "XTS"])
def test_a_currency_is_one_of_iso_4217(currency):
    """Neither an unknown code, nor the codes for "none" and "testing"."""
    refused = command_faults(_dumps(credit(currency=currency)))

    assert refused == [("currency", "unknown_currency")]


@pytest.mark.parametrize("name", ["currency", "reference", "metadata", "notAfter", "expectedVersion"])
def test_null_is_the_same_as_nothing_said(name):
    """Many serialisers write null for what is not set."""
    said_null = COMMAND.validate_json(credit_json(name, "null"))

    assert said_null == COMMAND.validate_json(_dumps(credit()))


@pytest.mark.parametrize("character", ["x", "é", "💰"])
def test_a_reference_has_at_most_255_characters(character):
    """Characters count, not bytes."""
    longest = _dumps(credit(reference=character * 255))
    longer = _dumps(credit(reference=character * 256))

    assert command_faults(longest) == []
    assert command_faults(longer) == [("reference", "string_too_long")]


@pytest.mark.parametrize("character", ["x", "é", "💰"])
def test_metadata_has_at_most_8_kib(character):
    """Bytes of compact JSON in UTF-8 count, however the sender spelt it."""
    room = METADATA_BYTES_MAX - len('{"a":""}')
    size = len(character.encode())
    fits = character * (room // size) + "x" * (room % size)

    exactly = json.dumps(credit(metadata={"a": fits}), ensure_ascii=True, indent=4).encode()
    one_more = json.dumps(credit(metadata={"a": fits + "x"}), ensure_ascii=False).encode()

    assert command_faults(exactly) == []
    assert command_faults(one_more) == [("metadata", "metadata")]


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", str(2**64), str(-(2**63) - 1), "9" * 400]
)
def test_metadata_holds_no_number_that_would_not_come_back(number):
    """What the stores give back is what was sent: no infinity, no integer that would turn into a float."""
    refused = command_faults(credit_json("metadata", f'{{"deep": [{{"n": {number}}}]}}'))

    assert refused == [("metadata", "metadata")]


@pytest.mark.parametrize("number", [str(2**63 - 1), str(2**64 - 1), str(-(2**63)), "0.1", "-0.0", "1e300"])
def test_metadata_keeps_every_other_number(number):
    """64-bit integers, signed or not, and finite floats."""
    command = COMMAND.validate_json(credit_json("metadata", f'{{"n": {number}}}'))

    assert command.metadata == {"n": json.loads(number)}


@pytest.mark.parametrize("raw", ["[]", '"text"', "1", "true", '[["a", 1]]'])
def test_metadata_is_an_object(raw):
    """A list of pairs is no object."""
    refused = command_faults(credit_json("metadata", raw))

    assert refused == [("metadata", "dict_type")]


def test_deep_metadata_is_refused_rather_than_followed():
    """Nesting is a cheap way to break a reader: what is too deep to write again is refused."""
    shallow = command_faults(credit_json("metadata", _nested(100)))
    deep = [faults(COMMAND, credit_json("metadata", _nested(depth))) for depth in (300, 1_000, 10_000)]

    assert shallow == []
    assert all(len(refused) == 1 for refused in deep)
