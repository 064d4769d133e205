"""Holds that expire by themselves: schedulers, holds that are due soon, and what must have become of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import ConsumerRecord

from tests.support.commands import create_wallet, new_id, place_hold
from tests.support.invariants import check_effects, check_rows, check_streams, read_books
from tests.support.replies import Topic, content
from tests.support.workers import WALLEX_WORKER, Worker, eventually
from tests.support.world import World

WALLEX_SCHEDULER = (WALLEX_WORKER[0], "scheduler")


def start_scheduler(world: World, name: str = "scheduler", **environment: str) -> Worker:
    """Start `wallex scheduler`."""
    return world.start(name, command=WALLEX_SCHEDULER, **environment)


def leases(scheduler: Worker, event: str) -> list[dict[str, Any]]:
    """Its log lines about the lease of the ticks; it may want others."""
    return [line for line in scheduler.lines(event) if line["lease"].startswith("ticks:")]


async def lease(scheduler: Worker, event: str) -> dict[str, Any]:
    """Wait for its first such line."""
    await eventually(lambda: leases(scheduler, event), f"{event} of the ticks")
    return leases(scheduler, event)[0]


def soon(seconds: float = 3.0) -> str:
    """The time so many seconds from now, as it travels; a hold that is placed later than that is refused."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def is_expiry(record: ConsumerRecord) -> bool:
    """Whether this is the reply to an `ExpireHold` that ended its hold."""
    reply = content(record)
    return (reply["type"], reply["status"]) == ("ExpireHold", "accepted")


async def until_expired(replies: Topic, holds: Collection[str]) -> None:
    """Wait until each hold's end was answered."""

    def ended() -> set[str]:
        return {content(record)["hold"]["holdId"] for record in replies.records if is_expiry(record)}

    await replies.until(lambda: ended() >= set(holds), f"the expiry of {len(holds)} holds")


async def assert_expired_once(world: World, holds: Collection[str], *replies: Topic) -> None:
    """Stop what runs: each hold has exactly one `HoldExpired`, and ledger, rows, streams and replies agree."""
    assert {await worker.stop() for worker in world.workers if worker.code is None} == {0}
    books = await read_books(world)
    check_rows(books)
    check_effects(books, [record for topic in replies for record in await topic.to_end()])
    check_streams(books)
    events = [event for stream in books.streams.values() for event in stream if event.type == "HoldExpired"]
    assert sorted(json.loads(event.data)["hold"]["holdId"] for event in events) == sorted(holds)


async def place_holds(world: World, count: int, expires_at: str) -> list[str]:
    """Place so many holds, each in a wallet of its own."""
    wallets, holds = [new_id() for _ in range(count)], [new_id() for _ in range(count)]
    await world.send(map(create_wallet, wallets))
    await world.send(place_hold(wallet, id_, expiresAt=expires_at) for wallet, id_ in zip(wallets, holds, strict=True))
    return holds
