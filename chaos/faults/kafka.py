"""What befalls the command topic: broken records, offsets set back to the beginning, partitions added."""

from __future__ import annotations

import asyncio
import random
import time

from aiokafka.admin import NewPartitions
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from chaos.faults.fault import Fault, Missed
from chaos.load import Load
from chaos.schedule import EVERYTHING, Kind, Strike
from chaos.stage import WORKERS, Stage
from tests.support.commands import Record, credit, record_of
from tests.support.story import Planned

POISONED = 1_000
BADLY_NAMED = 12
LEAVE_S = 40.0
"""A member with a name of its own stays in the group until its session is over."""
PARTITIONS_MAX = 24

BROKEN: tuple[bytes | None, ...] = (
    None,
    b"",
    b"\xff\xfe\x00",
    b"NaN",
    b'{"commandId":null}',
    b'{"commandId":"not an id","type":"CreditWallet"}',
    b'{"commandId":1' + b"0" * 5_000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"x" * 900_000,
)
SMALL, RARE = BROKEN[:6], 0.02
"""Large ones are few: Kafka keeps them all."""
HEADERS = ((), (("traceparent", b"\x00"), ("reply_to", None)), tuple((f"x{n}", b"x") for n in range(100)))


async def poison(_stage: Stage, load: Load, strike: Strike) -> None:
    """A volley of records that nobody can read, some of them large; headers too."""
    chance = random.Random(strike.seed)
    volley = []
    for _ in range(POISONED):
        value = chance.choice(BROKEN if chance.random() < RARE else SMALL)
        record = Record(chance.choice((None, b"", b"\xff")), value, chance.choice(HEADERS))
        volley.append(Planned(record, "InvalidCommand"))
    await load.send(volley)


async def name_headers_badly(stage: Stage, load: Load, strike: Strike) -> None:
    """Records with a header whose name is not UTF-8, on the partitions of their keys, among everybody else's."""
    chance, partitions = random.Random(strike.seed), range(stage.partitions)
    for wallet in chance.sample(load.wallets, BADLY_NAMED):
        partition = DefaultPartitioner()(wallet.encode(), partitions, partitions)
        await load.send_badly_named(record_of(credit(wallet, "0.0001")), partition)


async def set_back(stage: Stage, _load: Load, _strike: Strike) -> None:
    """Stop all workers, set the group's offsets to the beginning of the topic, start them again."""
    await asyncio.gather(*(stage.stop(name) for name in WORKERS))
    over_at = time.monotonic() + LEAVE_S
    while True:
        try:
            await stage.world.commit(dict.fromkeys(range(stage.partitions), 0))
            break
        except KafkaError:
            # The group still has members.
            if time.monotonic() > over_at:
                raise
            await asyncio.sleep(0.5)
    for name in WORKERS:
        stage.start(name)


async def add_partitions(stage: Stage, load: Load, _strike: Strike) -> None:
    """Twice as many partitions, once the topic is drained: a wallet's commands may go elsewhere from now on.

    Doubled, a partition's keys stay or go to a new one: whoever reads them by partition still reads them in order.
    """
    if stage.partitions * 2 > PARTITIONS_MAX:
        raise Missed
    async with load.paused():
        # What Kafka took without saying so is not among what the load waits for.
        while not await stage.is_drained():  # noqa: ASYNC110 - the workers drain it
            await asyncio.sleep(0.1)
        stage.partitions *= 2
        new = {stage.world.command_topic: NewPartitions(total_count=stage.partitions)}
        await stage.world.admin.create_partitions(new)
        await load.close()


FAULTS = (
    Fault(Kind("poison records", "poison", ("kafka",), (0.0, 0.0)), f"{POISONED:,} unreadable records", poison),
    Fault(Kind("bad header names", "poison", ("kafka",), (0.0, 0.0)), "not UTF-8", name_headers_badly),
    Fault(Kind("offsets set back", EVERYTHING, ("kafka",), (0.0, 0.0)), "to the beginning of the topic", set_back),
    Fault(Kind("partitions added", EVERYTHING, ("kafka",), (0.0, 0.0)), "twice as many", add_partitions),
)
