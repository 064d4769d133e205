"""The faults, each with what strikes: `strike` makes one happen on the stage and returns once it is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.faults import elasticsearch, kafka, kurrentdb, machine, network, postgres, processes, redis, servers
from chaos.faults.fault import Fault, Missed
from chaos.load import Load
from chaos.schedule import Strike
from chaos.stage import Stage


@dataclass(frozen=True)
class Group:
    """Faults of one sort: what is promised in spite of them, and what they are, in short."""

    promised: str
    run: str
    faults: Sequence[Fault]


GROUPS = {
    "a process dies, freezes or is stopped": Group(
        "what it had begun is finished by another one, once",
        "worker, two workers, projector, scheduler: killed at random and at each named point, frozen, stopped; storms",
        processes.FAULTS,
    ),
    "a server dies, freezes or is restarted": Group(
        "it is waited for; work resumes by itself; no reply blames it",
        "each of the five; KurrentDB also goes on for 30 s after SIGTERM, and is not ready for 20 s after a start",
        servers.FAULTS,
    ),
    "the network is slow, deaf or cut": Group(
        "an answer that is lost is asked for again, to no further effect",
        "between Wallex and each server: latency, each direction lost, resets, cuts; answers to COMMIT lost",
        network.FAULTS,
    ),
    "other programs want all cores": Group(
        "everything is slower, and as right",
        "an endless loop for each core",
        machine.FAULTS,
    ),
    "sessions in Postgres are ended, refused or kept waiting": Group(
        "a batch runs again, in halves where a command fails by itself; a locked wallet holds up what comes behind it "
        "in its partition, and no other partition",
        "`pg_terminate_backend`; read-only for a while; one entry in a hundred refused; a foreign transaction on rows",
        postgres.FAULTS,
    ),
    "appends to KurrentDB go wrong": Group(
        "each event is there once, in order, whatever the answer said",
        "timed out or cut, written or not; not ready; slow disk; overtaking; `AppendRecords` switched off",
        kurrentdb.FAULTS,
    ),
    "Elasticsearch refuses or forgets": Group(
        "documents equal rows again by themselves",
        "read-only, rejected bulks, wiped index, wiped checkpoint",
        elasticsearch.FAULTS,
    ),
    "Redis forgets or lies": Group(
        "nothing depends on it",
        "flushed every 50 ms; every lock granted to everybody",
        redis.FAULTS,
    ),
    "the command topic changes under the worker": Group(
        "every record gets its reply, a repeated one the same",
        "unreadable records, header names that are not UTF-8, offsets set back to the beginning, partitions added",
        kafka.FAULTS,
    ),
}
FAULTS = tuple(fault for group in GROUPS.values() for fault in group.faults)
KINDS = tuple(fault.kind for fault in FAULTS)
_BY_NAME = {fault.kind.name: fault for fault in FAULTS}


async def strike(stage: Stage, load: Load, what: Strike) -> bool:
    """Let it happen, and undo it; False where it befell nobody."""
    try:
        await _BY_NAME[what.kind].happen(stage, load, what)
    except Missed:
        return False
    return True


def says(what: Strike) -> str:
    """What happens, in words."""
    return _BY_NAME[what.kind].says
