"""`python -m bench.worker`: `wallex worker` with other constants, for `bench/parts/curves.py`.

They are constants, not settings, since nobody would gain by changing them: the curves show that. Here they are set
before the worker starts; everything else is as it always is.
"""

from __future__ import annotations

import argparse
import sys

from worker import app, topics
from worker.cli import main
from worker.inbox import partitions, pipeline


def _set_constants() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.worker", description=__doc__)
    parser.add_argument("--batch", type=int, default=partitions.BATCH_RECORDS_MAX, help="commands in a batch, at most")
    parser.add_argument(
        "--depth",
        type=int,
        default=pipeline.BATCHES_BETWEEN_STAGES,
        help="batches that wait between two stages; 0: each is answered before the next is run",
    )
    parser.add_argument("--partitions", type=int, default=topics.PARTITIONS, help="of the topics that it creates")
    chosen = parser.parse_args()
    partitions.BATCH_RECORDS_MAX = app.BATCH_RECORDS_MAX = chosen.batch
    topics.PARTITIONS = chosen.partitions
    if chosen.depth:
        pipeline.BATCHES_BETWEEN_STAGES = chosen.depth
    else:
        # As right after a take-over, for ever.
        partitions.Partition.grows = property(lambda _partition: True)


if __name__ == "__main__":
    _set_constants()
    sys.argv = ["wallex", "worker"]
    main()
