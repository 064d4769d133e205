"""Two workers that contend for everything on a busy machine: shared wallets, new wallets, halved batches, kills."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.support.busy import busy_cores
from tests.support.commands import Command, create_wallet, credit, new_id, transfer
from tests.support.invariants import check
from tests.support.ledger import fail_commands
from tests.support.replies import code

COMMANDS = 3_000
VOLLEY = 150
INSTANCES = ("a", "b")
HOT_WALLETS = 4
FAILS = "fails"
FAILING_PART = 0.01
"""So many commands fail by themselves, and their batch is halved until they stand alone."""
KILL_EVERY = 5
"""A worker is killed and started anew after so many volleys."""


async def test_each_event_is_at_the_revision_that_it_names_whatever_two_workers_do(world):
    """A batch is halved, and the other worker moves the same wallet between its two transactions."""
    chance = random.Random(4)
    replies = await world.topic(world.reply_topic)
    wallets = [new_id() for _ in range(HOT_WALLETS)]
    sent = await world.send(map(create_wallet, wallets))

    with busy_cores():
        async with fail_commands(world.environment, f"NEW.reference = '{FAILS}'"):
            running = {instance: world.start(instance) for instance in INSTANCES}
            for number in range(COMMANDS // VOLLEY):
                sent += await world.send(volley(chance, wallets))
                # Not all of them: the next volley comes while this one is still being run.
                await replies.until_count(len(sent) - VOLLEY)
                if number % KILL_EVERY == KILL_EVERY - 1:
                    instance = chance.choice(INSTANCES)
                    running[instance].kill()
                    running[instance] = world.start(instance)
            found = await replies.until_answered(sent)

    assert "InternalError" in {code(reply) for reply in found}
    assert [await worker.stop() for worker in running.values()] == [0, 0]
    assert any(worker.lines("batch_bisected") for worker in world.workers)
    assert not any(worker.lines("wallet_quarantined") for worker in world.workers)
    await check(world, replies)


def volley(chance: random.Random, wallets: list[str]) -> Iterator[Command]:
    """Credits and transfers among `wallets`, and to wallets that are made in the same volley."""
    for _ in range(VOLLEY):
        source, target = chance.sample(wallets[:HOT_WALLETS], 2)
        kind = chance.random()
        if kind < FAILING_PART:
            yield credit(source, reference=FAILS)
        elif kind < 0.1:
            wallets.append(new_id())
            yield create_wallet(wallets[-1])
            yield transfer(source, wallets[-1], "0.0001")
        elif kind < 0.5:
            yield transfer(source, target, "0.0001")
        else:
            yield credit(source)
