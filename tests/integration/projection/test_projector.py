"""Projectors that stop, die, run twice and wait: the documents end the same, whoever wrote them."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from pathlib import Path

import aiohttp

from tests.support.projecting import PATIENCE_S, a_projector, all_written, everything, has_no_lag, is_following, until
from tests.support.projection import wallet_events
from worker.projection.index import open_index
from worker.projection.progress import caught_up, last_position, read_checkpoint


async def test_following_everything_again_changes_nothing(elasticsearch, kurrentdb, projections, projecting):
    """External versions: what was written is refused the second time, and the refusal is success."""
    kurrentdb.append(wallet_events(["100", "1", "2"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    before = await everything(elasticsearch, projections)
    for projection in projections:
        index = await open_index(elasticsearch, projection)
        await elasticsearch.delete(index=projection.alias, id=index.checkpoint_id)

    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)

    assert await everything(elasticsearch, projections) == before
    assert projector._metrics.events._value.get() == 3


async def test_a_stopped_projector_goes_on_where_it_stopped(elasticsearch, kurrentdb, projections, projecting):
    """A proper stop writes the checkpoint of its last batch; the next start reads only what is new."""
    kurrentdb.append(wallet_events(["100", "1", "2"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    kurrentdb.append(wallet_events(["7"]))

    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)

    assert projector._metrics.events._value.get() == 1
    assert await read_checkpoint(elasticsearch, projections) == await last_position(kurrentdb.uri)


async def test_projectors_that_die_at_random_and_run_twice_end_with_the_same_documents(
    elasticsearch, kurrentdb, projections, projecting
):
    """Nothing depends on who wrote last, or on what died between a bulk and its checkpoint."""
    appending = asyncio.create_task(asyncio.to_thread(append_slowly, kurrentdb))

    for _ in range(12):
        pair = [
            asyncio.create_task(a_projector(elasticsearch, kurrentdb, projections).run(asyncio.Event())) for _ in "ab"
        ]
        await asyncio.wait(pair, timeout=random.uniform(0.05, 0.4))
        for projector in pair:
            projector.cancel()
        await asyncio.gather(*pair, return_exceptions=True)
    wallet_ids = await appending
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    wallets, statement, _ = await everything(elasticsearch, projections)
    assert {wallet_id: document["balance"] for wallet_id, (_, document) in wallets.items()} == dict.fromkeys(
        wallet_ids, "40.0000"
    )
    assert len(statement) == 31 * len(wallet_ids)


def append_slowly(kurrentdb):
    """Forty wallets, each opened with 10 and credited thirty times in pieces; returns their ids."""
    amounts = ["10", *["1"] * 30]
    wallets = [wallet_events(amounts) for _ in range(40)]
    for start in range(0, len(amounts), 8):
        for events in wallets:
            kurrentdb.append(events[start : start + 8])
    return [events[0].wallet_id for events in wallets]


async def test_without_any_event_everything_is_caught_up(elasticsearch, kurrentdb, projections, projecting):
    """An empty KurrentDB: followed, no lag, nothing to wait for."""
    async with projecting() as projector:
        await until(lambda: is_following(projector))

        assert await caught_up(elasticsearch, kurrentdb.uri, timeout_s=1, projections=projections)
        await until(lambda: has_no_lag(projector))

    assert await read_checkpoint(elasticsearch, projections) is None


async def test_the_process_says_that_it_is_ready_and_stops_on_sigterm(
    elasticsearch, kurrentdb, environment, tmp_path, contracts_aliases
):
    """`wallex projector` under the contract's own aliases: ready once it follows, exit code 0 on SIGTERM."""
    events = wallet_events(["100"])
    kurrentdb.append(events)
    own = {**environment, "HTTP_PORT": "0", "LOG_LEVEL": "INFO"}
    with (tmp_path / "projector.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("wallex"), "projector", env=own, stderr=log
        )

    try:
        assert await caught_up(elasticsearch, kurrentdb.uri, timeout_s=PATIENCE_S)
        async with aiohttp.ClientSession() as http, http.get(f"{health_url(tmp_path)}/readyz") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        assert (await elasticsearch.get(index="wallets", id=events[0].wallet_id))["_version"] == 1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def health_url(folder):
    """Where the process logged that it serves its health."""
    lines = [json.loads(line) for line in (folder / "projector.log").read_text().splitlines()]
    return next(f"http://127.0.0.1:{line['port']}" for line in lines if line["event"] == "health_listening")
