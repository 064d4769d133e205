"""`python -m tests.support.deaf_worker`: `wallex worker`, but one record ends its consume loop, without a word.

WALLEX_DEADLY_COMMAND names that record's id. It stands for a bug in what drives the consumer: the process goes on,
keeps its partitions, and takes nothing more.
"""

from __future__ import annotations

import asyncio
import os
import sys

from faststream.kafka.subscriber.usecase import BatchSubscriber

from worker.cli import main

DEADLY = os.environ["WALLEX_DEADLY_COMMAND"].encode()

get_msg = BatchSubscriber.get_msg


async def get_or_end(self, consumer):
    """The records of a poll, unless the deadly one is among them."""
    records = await get_msg(self, consumer)
    if any(record.value is not None and DEADLY in record.value for record in records):
        raise asyncio.CancelledError
    return records


if __name__ == "__main__":
    BatchSubscriber.get_msg = get_or_end
    sys.argv = ["wallex", "worker"]
    main()
