"""Indices that are deleted, made anew by others and blocked under a running projector."""

from __future__ import annotations

import pytest

from tests.support.projecting import (
    all_written,
    documents,
    everything,
    has_no_lag,
    is_following,
    is_waiting,
    lags,
    until,
)
from tests.support.projection import wallet_events
from worker.projection.index import open_index
from worker.projection.progress import read_checkpoint


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_a_deleted_index_is_made_anew_from_the_start(elasticsearch, kurrentdb, projections, projecting, lost):
    """Under a running projector and without a restart; the other index takes its documents a second time."""
    kurrentdb.append(wallet_events(["100", "1"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
        before = await everything(elasticsearch, projections)
        await elasticsearch.indices.delete(index=f"{projections[lost].alias}-000001")

        kurrentdb.append(wallet_events(["5"]))
        await all_written(elasticsearch, kurrentdb, projections)

    after = await everything(elasticsearch, projections)
    assert [before_one.items() <= after_one.items() for before_one, after_one in zip(before, after, strict=True)] == [
        *(True, True, True),
    ]
    assert [len(one) for one in after] == [2, 3, 0]


async def test_a_projector_notices_that_another_one_made_the_index_anew(
    elasticsearch, kurrentdb, projections, projecting
):
    """Its own position says nothing about the new index: it begins at the checkpoint that it finds there."""
    kurrentdb.append(wallet_events(["100", "1"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
        await elasticsearch.indices.delete(index=f"{projections[0].alias}-000001")
        await open_index(elasticsearch, projections[0])

        kurrentdb.append(wallet_events(["5"]))
        await all_written(elasticsearch, kurrentdb, projections)

    assert len(await documents(elasticsearch, projections[0])) == 2


@pytest.mark.parametrize("block", ["index.blocks.write", "index.blocks.read_only_allow_delete"])
async def test_a_blocked_index_is_waited_for(elasticsearch, kurrentdb, projections, projecting, block):
    """A full disk or an operator's block: nothing is left out, `/readyz` says so, and it goes on by itself."""
    name = f"{projections[1].alias}-000001"
    async with projecting() as projector:
        await until(lambda: is_following(projector))
        await elasticsearch.indices.put_settings(index=name, settings={block: True})
        kurrentdb.append(wallet_events(["100", "1"]))
        await until(lambda: is_waiting(projector))
        held_up = await read_checkpoint(elasticsearch, projections)
        await until(lambda: lags(projector))

        await elasticsearch.indices.put_settings(index=name, settings={block: None})
        await all_written(elasticsearch, kurrentdb, projections)
        await until(lambda: is_following(projector))
        await until(lambda: has_no_lag(projector))

    assert held_up is None
    assert [len(one) for one in await everything(elasticsearch, projections)] == [1, 2, 0]
