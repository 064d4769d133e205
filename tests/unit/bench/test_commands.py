"""The loads: alike for each seed, accepted in the order given, as skewed as they say."""

from __future__ import annotations

import random
from collections import Counter

import orjson
import pytest

from bench.commands import BLOCK, credits_to, holds, new_ids, transfers, twice, zipf_transfers, zipf_weights
from worker.contracts.commands import COMMAND

WALLETS = new_ids(1000, random.Random(7))


@pytest.mark.parametrize("make", [transfers, zipf_transfers, credits_to, holds])
def test_a_seed_makes_the_same_commands_again(make):
    """Two measurements run the same load."""
    first, second = (make(20, WALLETS, random.Random(1)) for _ in range(2))

    assert first == second


@pytest.mark.parametrize("make", [transfers, zipf_transfers, credits_to, holds])
def test_each_command_is_one_of_the_contract_under_its_wallets_key(make):
    """Upstream services use the wallet's id as key; the id is the payload's."""
    made = make(20, WALLETS, random.Random(1))

    read = [COMMAND.validate_json(command.value) for command in made]
    assert [command.id.decode() for command in made] == [command.command_id for command in read]
    assert all(
        command.key.decode() == getattr(one, "wallet_id", None) or command.key.decode() == one.from_wallet_id
        for command, one in zip(made, read, strict=True)
    )


def test_zipfs_second_is_half_as_frequent_as_the_first():
    """1 / rank, for an exponent of 1."""
    weights = zipf_weights(4, 1.0)

    assert weights == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])


def test_zipf_transfers_favour_the_first_wallets_and_never_pay_a_wallet_from_itself():
    """The share of the first of 1000 is 1 / H(1000), about 13 %, of sources and targets alike."""
    made = [orjson.loads(command.value) for command in zipf_transfers(20_000, WALLETS, random.Random(3))]

    sources = Counter(command["fromWalletId"] for command in made)
    assert sources.most_common(1)[0][0] == WALLETS[0]
    assert 0.10 < sources[WALLETS[0]] / len(made) < 0.16
    assert all(command["fromWalletId"] != command["toWalletId"] for command in made)


@pytest.mark.parametrize("count", [100, 2 * BLOCK, 5 * BLOCK])
def test_each_hold_is_placed_and_then_captured_or_released_once(count):
    """In the wallet that it was placed in, half of them each."""
    made = [orjson.loads(command.value) for command in holds(count, WALLETS, random.Random(1))]

    placed, ended = {}, Counter()
    for command in made:
        if command["type"] == "PlaceHold":
            placed[command["holdId"]] = command["walletId"]
        else:
            assert placed.pop(command["holdId"]) == command["walletId"]
            ended[command["type"]] += 1
    assert len(made) == count
    assert placed == {}
    assert abs(ended["CaptureHold"] - ended["ReleaseHold"]) <= count // BLOCK


def test_a_duplicate_comes_a_block_after_its_first():
    """Further away than a batch reaches: it is found in Postgres, not in the batch."""
    commands = transfers(2 * BLOCK, WALLETS, random.Random(1))

    sent = twice(commands)

    assert Counter(sent) == Counter(commands * 2)
    assert all(sent.index(command) + BLOCK == len(sent) - 1 - sent[::-1].index(command) for command in commands[:3])
