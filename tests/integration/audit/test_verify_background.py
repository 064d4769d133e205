"""The slow comparison beside the scheduler: it mends what a dead process left, and nothing stops it for good."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from esdbclient import NewEvent
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tests.support.commands import create_wallet, credit, new_id
from tests.support.workers import Worker, eventually
from worker.audit import background, parts, survey
from worker.audit.background import Rest, watch_stores
from worker.audit.stores import open_stores
from worker.audit.verify import verify
from worker.contracts.events import stream_name
from worker.database import raw_connection
from worker.errors import Unavailable
from worker.settings import Settings
from worker.telemetry.metrics import SchedulerMetrics


class Watch:
    """A scheduler's watch over `stores`, which takes no pauses; `count` reads its metrics."""

    def __init__(self, settings: Settings, **options: float) -> None:
        self._registry = CollectorRegistry()
        metrics = SchedulerMetrics(self._registry)
        quick = {"round_every_s": 0.05, "pause_s": 0.05, "older_than_s": 0.0} | options
        self.task = asyncio.create_task(watch_stores(settings, metrics, **quick))

    def count(self, name: str, **labels: str) -> float:
        """A metric's value, 0 as long as nothing was counted."""
        return self._registry.get_sample_value(f"wallex_{name}", labels) or 0.0

    def rounds(self, outcome: str = "finished") -> float:
        """How many rounds ended so."""
        return self.count("verify_rounds_total", outcome=outcome)


@asynccontextmanager
async def watching(settings, **options):
    """A watch that is cancelled in the end."""
    watch = Watch(settings, **options)
    try:
        yield watch
    finally:
        watch.task.cancel()
        await asyncio.wait({watch.task})


@pytest.fixture
def settings(stack, fresh, monkeypatch) -> Settings:
    """Settings of the scheduler; the stores that it opens are the test's own."""

    @asynccontextmanager
    async def open_own(_settings):
        yield fresh.stores

    monkeypatch.setattr(background, "open_stores", open_own)
    # The lease is named after the database.
    return Settings.load({**stack.environment(), "DB_NAME": f"test-{uuid4()}"})


async def test_a_change_that_was_committed_and_never_appended_is_mended(fresh, settings):
    """Its process died in between, and nothing delivers the command again: the ledger is ahead until somebody looks."""
    wallet = new_id()
    await fresh.run(create_wallet(wallet))
    await fresh.run_in_postgres(credit(wallet))

    async with watching(settings) as watch:
        await eventually(watch.rounds, "a round")

    assert watch.count("verify_repaired_total", store="KurrentDB") == 1
    assert watch.count("verify_contradictions") == 0
    assert (await verify(fresh.stores)).is_clean


async def test_what_is_younger_than_a_minute_waits(fresh, settings):
    """The watch is no faster than a worker may be."""
    await fresh.run_in_postgres(create_wallet(new_id()))
    stands = await fresh.everything()

    async with watching(settings, older_than_s=60.0, settle_s=0.0) as watch:
        await eventually(watch.rounds, "a round")

    assert await fresh.everything() == stands


async def test_of_several_schedulers_one_watches_and_another_takes_over(fresh, settings):
    """Under a lease of its own, beside that of the ticks."""
    await fresh.two_wallets()

    async with watching(settings) as first:
        await eventually(first.rounds, "a round of the first")
        async with watching(settings) as second:
            await eventually(lambda: first.rounds() >= 3, "more rounds of the first")
            assert second.rounds() == 0
            first.task.cancel()
            await eventually(second.rounds, "a round of the second")


async def test_without_redis_every_scheduler_watches_and_twice_is_harmless(fresh, settings):
    """The lease saves work, no more."""
    await fresh.run_in_postgres(create_wallet(new_id()))
    alone = Settings.load({"REDIS_URL": "redis://127.0.0.1:1/0"})

    async with watching(alone) as first, watching(alone) as second:
        await eventually(lambda: first.rounds() and second.rounds(), "a round of each")

    report = await verify(fresh.stores)
    assert report.is_clean, report.differences


async def test_a_contradiction_is_told_in_each_round_and_left_alone(fresh, settings):
    """One line for each, which names the wallet, the store and what is wrong; and a metric to be alarmed by."""
    wallet = new_id()
    await fresh.run(create_wallet(wallet))
    fresh.standin.append_stored(stream_name(wallet), [NewEvent(type="Foreign", data=b"{}")])
    stands = await fresh.everything()

    with capture_logs() as lines:
        async with watching(settings, settle_s=0.0) as watch:
            await eventually(lambda: watch.rounds() >= 2, "two rounds")

    told = [line for line in lines if line["event"] == "stores_contradict"]
    assert len(told) >= 2
    assert (told[0]["log_level"], told[0]["wallet_id"], told[0]["store"]) == ("error", wallet, "KurrentDB")
    assert told[0]["what"] == "revision 1"
    assert next(line["contradictions"] for line in lines if line["event"] == "stores_compared") == 1
    assert watch.count("verify_contradictions") == 1
    assert await fresh.everything() == stands


async def test_a_store_that_is_away_is_waited_for(fresh, settings):
    """The round is given up, and the next one begins anew."""
    await fresh.two_wallets()
    fresh.standin.kill()

    async with watching(settings) as watch:
        await eventually(lambda: watch.rounds("store_away"), "a round in vain")
        await fresh.standin.start()
        await eventually(watch.rounds, "a round")


async def test_a_round_that_a_lost_store_interrupts_goes_on_where_it_was(fresh, settings, monkeypatch):
    """Page by page, by the ledger's key: in a large database a round would otherwise never come to its end."""
    for _ in range(3):
        await fresh.two_wallets()
    monkeypatch.setattr(parts, "PAGE_ENTRIES", 3)
    begun_behind, lost = [], []
    read_page = parts.read_page

    async def read_some(engine, behind, last_id, limit):
        begun_behind.append(behind)
        if len(begun_behind) == 4:
            lost.append(behind)
            raise Unavailable("Postgres is away")
        return await read_page(engine, behind, last_id, limit)

    monkeypatch.setattr(parts, "read_page", read_some)
    with capture_logs() as lines:
        async with watching(settings) as watch:
            await eventually(watch.rounds, "a round")

    told = next(line for line in lines if line["event"] == "stores_compared")
    assert begun_behind[4:5] == lost
    assert (told["wallets"], told["events"], told["contradictions"]) == (6, 18, 0)


async def test_what_lags_is_repaired_though_nothing_can_be_added_up(fresh, settings, monkeypatch):
    """The sums are the longest of a large database: what they are for is told when they come through."""
    await fresh.two_wallets()
    await fresh.run_in_postgres(create_wallet(new_id()))

    async def too_long(_engine):
        raise Unavailable("Postgres: canceling statement due to statement timeout")

    monkeypatch.setattr(survey, "compare_sums", too_long)
    async with watching(settings) as watch:
        await eventually(lambda: watch.rounds("store_away") >= 2, "two rounds in vain")

    assert watch.count("verify_repaired_total", store="KurrentDB") == 1


async def test_what_reads_everything_may_take_an_hour(fresh, stack):
    """Ten seconds, which is what a command's statement has, count the wallets of no large database."""
    own = {"DB_NAME": fresh.stores.engine.url.database, "KURRENTDB_URI": fresh.standin.uri}
    async with (
        open_stores(Settings.load({**stack.environment(), **own})) as stores,
        raw_connection(stores.engine) as connection,
    ):
        assert await connection.fetchval("SHOW statement_timeout") == "1h"


async def test_a_bug_costs_a_round_and_is_seen(fresh, settings, monkeypatch):
    """The ticks beside it must go on: it is in the log with its traceback, and counted."""
    await fresh.two_wallets()
    compare = background.verify_and_repair

    async def broken_once(*arguments, **options):
        monkeypatch.setattr(background, "verify_and_repair", compare)
        raise ZeroDivisionError

    monkeypatch.setattr(background, "verify_and_repair", broken_once)
    with capture_logs() as lines:
        async with watching(settings) as watch:
            await eventually(watch.rounds, "a round after the bug")

    assert watch.rounds("failed") == 1
    (line,) = [line for line in lines if line["event"] == "stores_not_compared"]
    assert (line["log_level"], line["exc_info"]) == ("error", True)


async def test_the_scheduler_watches_beside_its_ticks(environment, tmp_path):
    """`wallex scheduler` takes both leases."""
    wallex = str(Path(sys.executable).with_name("wallex"))
    scheduler = Worker({**environment, "HTTP_PORT": "0"}, tmp_path / "log", (wallex, "scheduler"))
    try:
        await scheduler.logged("lease_taken", 2)
    finally:
        await scheduler.stop()

    leases = {line["lease"].split(":")[0] for line in scheduler.lines("lease_taken")}
    assert leases == {"ticks", "verify"}


async def test_the_comparison_can_be_switched_off(environment, tmp_path):
    """For whom another one does it, or whose stores have no room for it: the ticks go on."""
    wallex = str(Path(sys.executable).with_name("wallex"))
    off = {"HTTP_PORT": "0", "VERIFY_BACKGROUND": "false"}
    scheduler = Worker({**environment, **off}, tmp_path / "log", (wallex, "scheduler"))
    try:
        await scheduler.logged("lease_taken", 1)
    finally:
        await scheduler.stop()

    assert [line["lease"].split(":")[0] for line in scheduler.lines("lease_taken")] == ["ticks"]


async def test_a_round_rests_longer_than_it_works():
    """Whatever a page costs the stores, they have three times as long for everybody else."""
    rest = Rest(per_work=3.0)
    began = time.monotonic()
    await asyncio.sleep(0.02)
    worked_s = time.monotonic() - began

    await rest()

    assert time.monotonic() - began - worked_s >= worked_s * 3.0
