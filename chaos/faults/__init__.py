"""The faults, each with what strikes: `strike` makes one happen on the stage and returns once it is over."""

from __future__ import annotations

from chaos.faults import elasticsearch, kafka, kurrentdb, network, postgres, processes, redis, servers
from chaos.faults.fault import Fault
from chaos.load import Load
from chaos.schedule import Strike
from chaos.stage import Stage

FAULTS: tuple[Fault, ...] = (
    *processes.FAULTS,
    *servers.FAULTS,
    *postgres.FAULTS,
    *kurrentdb.FAULTS,
    *elasticsearch.FAULTS,
    *redis.FAULTS,
    *kafka.FAULTS,
    *network.FAULTS,
)
KINDS = tuple(fault.kind for fault in FAULTS)
_BY_NAME = {fault.kind.name: fault for fault in FAULTS}


async def strike(stage: Stage, load: Load, what: Strike) -> None:
    """Let it happen, and undo it."""
    await _BY_NAME[what.kind].happen(stage, load, what)


def says(what: Strike) -> str:
    """What happens, in words."""
    return _BY_NAME[what.kind].says
