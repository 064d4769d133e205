"""The run: load all the while, one fault after another, how long each took to recover from, and a peaceful end.

Recovered is the load when each record that was sent before the fault's end is answered, and one sent after it as well;
the documents, when the projector's checkpoints say that they hold all that KurrentDB had then. Nothing may take for
ever: not recovering from a fault, and not coming to rest when all faults are over, are violations.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from elasticsearch import AsyncElasticsearch

from chaos.faults import strike
from chaos.load import Load
from chaos.schedule import Step, Strike
from chaos.stage import PROCESSES, SCHEDULERS, WORKERS, Stage
from tests.support.postgres import administrator
from worker.errors import Unavailable
from worker.projection.progress import caught_up

POLL_S = 0.02
RECOVERY_MAX_S = 180.0
REST_MAX_S = 180.0
"""For each of: everything answered, all offsets committed, due holds ended, everything projected."""
OVERDUE = """
SELECT count(*) FROM holds WHERE status = 'ACTIVE' AND expires_at < clock_timestamp() - interval '5 seconds'
"""
FORGOTTEN = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
AND xact_start < clock_timestamp() - interval '5 seconds' AND backend_type = 'client backend'
"""
"""Transactions that nobody ends: at rest there is no work that takes so long."""


@dataclass(frozen=True)
class Recovery:
    """How long it took from a fault's end until a record sent after it was answered, and all those sent before it, and
    until the documents held everything that had happened by then.

    Seconds; None where it did not come within `RECOVERY_MAX_S`.
    """

    first_reply_s: float | None
    all_answered_s: float | None
    documents_s: float | None


@dataclass(frozen=True)
class Happened:
    """Faults that struck together, and the recovery from them; `missed` are those that befell nobody."""

    strikes: tuple[Strike, ...]
    recovery: Recovery
    missed: tuple[Strike, ...] = ()


@dataclass(frozen=True)
class Limit:
    """How long faults strike: for so many seconds, and at least so many steps, however long those take."""

    seconds: float
    steps_min: int = 0


Tell = Callable[[Step | Happened], None]


async def conduct(
    stage: Stage, load: Load, replies: AIOKafkaConsumer, *, steps: Iterable[Step], limit: Limit, tell: Tell
) -> tuple[list[Happened], float]:
    """Run up to the `limit`, then come to rest; return what happened and how long the rest took to come."""
    try:
        # Should one of them fail, everything ends.
        async with asyncio.TaskGroup() as background:
            tasks = [background.create_task(work) for work in (load.hear(replies), stage.watch())]
            await load.open_wallets()
            await _answered(load, load.sent)
            sending = background.create_task(load.run())
            try:
                happened = await _under_load(stage, load, replies, steps=steps, limit=limit, tell=tell)
            finally:
                load.finish()
            await sending
            await load.tell_again()
            began = time.monotonic()
            await _come_to_rest(stage, load)
            for task in tasks:
                task.cancel()
    finally:
        await load.close()
    return happened, time.monotonic() - began


async def _under_load(
    stage: Stage, load: Load, replies: AIOKafkaConsumer, *, steps: Iterable[Step], limit: Limit, tell: Tell
) -> list[Happened]:
    happened: list[Happened] = []
    over_at = time.monotonic() + limit.seconds
    for step in steps:
        await asyncio.sleep(step.pause_s)
        if time.monotonic() > over_at and len(happened) >= limit.steps_min:
            break
        tell(step)
        struck = await asyncio.gather(*(strike(stage, load, one) for one in step.strikes))
        missed = tuple(one for one, has_struck in zip(step.strikes, struck, strict=True) if not has_struck)
        happened.append(Happened(step.strikes, await _recover(stage, load, replies, step), missed))
        tell(happened[-1])
    return happened


async def _recover(stage: Stage, load: Load, replies: AIOKafkaConsumer, step: Step) -> Recovery:
    mark, ended = load.sent, time.monotonic()
    names = " and ".join(one.kind for one in step.strikes)

    async def within(work: Awaitable[None], otherwise: Callable[[], str]) -> float | None:
        came = await _within(stage, RECOVERY_MAX_S, work, lambda: f"after {names}, {otherwise()}")
        return time.monotonic() - ended if came else None

    first, answered, documents, _ = await asyncio.gather(
        within(_newer_answered(load, mark), lambda: "no record sent after it is answered"),
        within(_recovered(load, mark), lambda: f"{load.unanswered_up_to(mark)} earlier records are not answered"),
        within(_projected(stage), lambda: "the documents lack events from before its end"),
        within(_check_offsets(stage, load, replies), lambda: "committed offsets could not be held against replies"),
    )
    return Recovery(first, answered, documents)


async def _newer_answered(load: Load, mark: int) -> None:
    """Wait until a record behind the number `mark` is answered."""
    while load.newest_answered <= mark:  # noqa: ASYNC110 - the load counts
        await asyncio.sleep(POLL_S)


async def _recovered(load: Load, mark: int) -> None:
    """Wait until a record behind the number `mark` is answered, and all those before it."""
    await _newer_answered(load, mark)
    await _answered(load, mark)


async def _answered(load: Load, mark: int) -> None:
    """Wait until no record up to the number `mark` waits for its reply."""
    while next(iter(load.unanswered), mark + 1) <= mark:  # noqa: ASYNC110 - the load counts
        await asyncio.sleep(POLL_S)


async def _check_offsets(stage: Stage, load: Load, replies: AIOKafkaConsumer) -> None:
    """No committed offset is past a record without a reply."""
    while True:
        try:
            committed = await stage.committed()
            # A reply comes before its commit, so it is there already, and only has to be heard.
            ends = await replies.end_offsets(replies.assignment())
            break
        except KafkaError:
            # It may be on its way back.
            await asyncio.sleep(10 * POLL_S)
    while any([await replies.position(id_) < end for id_, end in ends.items()]):  # noqa: ASYNC110 - `hear` reads
        await asyncio.sleep(POLL_S)
    for number, where in load.unanswered.items():
        if where is not None and where[1] < committed.get(where[0], 0):
            at = f"{where[0]}/{where[1]}"
            stage.violations.append(f"the record {number} at {at} is committed and not answered")
    stage.offset_checks += 1


async def _come_to_rest(stage: Stage, load: Load) -> None:
    """Everything is answered, every due hold ended, everything committed and projected; then everything stops."""

    async def rest(what: str, work: Awaitable[None]) -> None:
        await _within(stage, REST_MAX_S, work, lambda: f"after the last fault it is not so that {what}")

    await rest("every record is answered", _answered(load, load.sent))
    await rest("every due hold has ended", _until(lambda: _is_none(stage, OVERDUE)))
    for name in SCHEDULERS:
        await stage.stop(name)
    await rest("every offset is committed", _until(stage.is_drained))
    await rest("no transaction is left open", _until(lambda: _is_none(stage, FORGOTTEN)))
    for name in WORKERS:
        await stage.stop(name)
    await rest("every event is projected", _projected(stage))
    for name in PROCESSES:
        if name in stage.processes:
            await stage.stop(name)


async def _within(stage: Stage, limit_s: float, work: Awaitable[None], otherwise: Callable[[], str]) -> bool:
    """Whether `work` is done within its limit; a violation where it is not."""
    try:
        async with asyncio.timeout(limit_s):
            await work
    except TimeoutError:
        stage.violations.append(f"{limit_s:.0f} s {otherwise()}")
        return False
    return True


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - other processes work on it
        await asyncio.sleep(10 * POLL_S)


async def _is_none(stage: Stage, question: str) -> bool:
    async with administrator(stage.world.environment, stage.world.environment["DB_NAME"]) as connection:
        return not await connection.fetchval(question)


async def _projected(stage: Stage) -> None:
    """Wait until the documents hold all that KurrentDB has at the time of the call."""
    environment = stage.world.environment
    async with AsyncElasticsearch(environment["ELASTICSEARCH_URL"]) as client:
        while True:
            try:
                if await caught_up(client, environment["KURRENTDB_URI"], timeout_s=REST_MAX_S):
                    return
            except Unavailable:
                # It may be on its way back.
                await asyncio.sleep(10 * POLL_S)
