"""What the fuzzer begins with and what it ever found, run once more: its checks hold for all of it, and can fail."""

from __future__ import annotations

import pytest

from fuzz import decoder, kurrentdb
from fuzz.decoder import write_input
from fuzz.seeds import FINDS, seeds
from worker.inbox import decode as decode_module

CHECKS = {"decoder": decoder.check, "kurrentdb": kurrentdb.check}


@pytest.mark.parametrize("target", CHECKS)
def test_no_seed_and_no_find_breaks_a_promise(target):
    """Examples, recorded requests, and every input that once broke something."""
    inputs = dict(seeds(target))

    for name, data in inputs.items():
        try:
            CHECKS[target](data)
        except BaseException as error:
            error.add_note(f"the input {name}")
            raise

    assert len(inputs) > 50


def test_each_find_stands_where_a_target_looks_for_it():
    """A find in a folder of another name would never be run again."""
    assert {folder.name for folder in FINDS.iterdir()} <= set(CHECKS)


def test_a_decoder_that_reads_another_command_than_it_was_sent_is_caught(monkeypatch):
    """The check compares meanings; it does not only look for exceptions."""
    original = decode_module.fingerprint
    monkeypatch.setattr(decode_module, "fingerprint", lambda command: original(command) + bytes([id(command) % 251]))
    good = next(data for name, data in seeds("decoder") if name.startswith("CreditWallet-valid"))

    with pytest.raises(AssertionError):
        for _ in range(50):
            decoder.check(good)


def test_a_header_line_without_a_value_is_a_null_header():
    """An input can say everything that a record can."""
    headers = (("a", b"1"), ("nothing", None), ("binary", b"\xff\x00"))

    assert decoder.read_input(write_input(headers, b"{}")) == (list(headers), b"{}")
