"""What the stand-in acknowledged is there, whatever ends the process, and its log opens again."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc
import pytest

from devstack.kurrentdb.log import Log, LogError
from tests.integration.kurrentdb.calls import (
    NO_STREAM,
    append_records,
    batch_append,
    batch_request,
    channel,
    event_ids,
    new_ids,
    records_request,
)
from tests.integration.kurrentdb.conftest import Start


async def _pipeline_until_cut(target: str, ids: list[str], stream: str, kill_after: int, kill: object) -> set[str]:
    """Send appends to a stream without waiting; kill the server after some answers; return the acknowledged ids."""
    acknowledged: set[str] = set()
    async with channel(target) as on:
        call = batch_append(on)

        async def send() -> None:
            for revision, event_id in enumerate(ids):
                await call.write(batch_request(stream, revision - 1, event_id))

        sender = asyncio.create_task(send())
        try:
            while (answer := await call.read()) is not grpc.aio.EOF:
                assert answer.HasField("success")
                acknowledged.add(answer.correlation_id.string)
                if len(acknowledged) == kill_after:
                    kill()
        except grpc.aio.AioRpcError:
            assert len(acknowledged) >= kill_after  # killed: which status that is depends on what was being sent
        await asyncio.gather(sender, return_exceptions=True)
    return acknowledged


async def test_after_sigkill_all_acknowledged_events_are_there_and_resent_ones_succeed_once(start: Start) -> None:
    """Killed in the middle of pipelined appends: nothing acknowledged is lost, nothing sent again stands twice."""
    standin = await start()
    ids = new_ids(3000)
    kill = lambda: standin.process.send_signal(signal.SIGKILL)  # noqa: E731

    acknowledged = await _pipeline_until_cut(standin.target, ids, "wallet-1", 300, kill)
    await standin.process.wait()

    again = await start()
    async with channel(again.target) as on:
        kept = await event_ids(on, "wallet-1")
        assert acknowledged <= set(kept)
        assert 300 <= len(kept) < len(ids)
        for revision, event_id in enumerate(ids[:1200]):
            answer = await append_records(on, records_request([("wallet-1", event_id)], {"wallet-1": revision - 1}))
            assert answer.revisions[0].revision == revision
        assert await event_ids(on, "wallet-1") == ids[: max(1200, len(kept))]


async def test_a_restart_rebuilds_streams_positions_and_metadata(start: Start) -> None:
    """Revisions go on, the same append is known again by its ids, a tombstone stays, positions are the same."""
    first = await start()
    ids = new_ids(4)
    request = records_request([("wallet-1", ids[0]), ("wallet-2", ids[1])], {"wallet-1": NO_STREAM})
    async with channel(first.target) as on:
        before = await append_records(on, request)
    assert await first.stop() == 0

    second = await start()
    async with channel(second.target) as on:
        fresh = records_request([("wallet-1", ids[0]), ("wallet-2", ids[1])], {"wallet-1": -1, "wallet-2": -1})
        assert await append_records(on, fresh) == before
        after = await append_records(on, records_request([("wallet-1", ids[2])], {"wallet-1": 0}))

        assert after.revisions[0].revision == 1
        assert after.position > before.position
        assert await event_ids(on, "wallet-1") == [ids[0], ids[2]]


async def test_ids_of_appends_without_expectation_are_forgotten_over_a_restart(start: Start) -> None:
    """With "any" the same event is found again only by the process that wrote it, as on the real server."""
    request = records_request([("wallet-1", event_id) for event_id in new_ids(1)], {})
    first = await start()
    async with channel(first.target) as on:
        once, again = await append_records(on, request), await append_records(on, request)
    assert again == once
    await first.stop()

    second = await start()
    async with channel(second.target) as on:
        assert (await append_records(on, request)).revisions[0].revision == 1


async def test_a_torn_last_write_is_cut_off_and_said(start: Start, tmp_path: Path) -> None:
    """Half a frame at the end of the log is what a crash leaves: it goes, what stands before it stays."""
    first = await start()
    kept, torn = new_ids(1), new_ids(3)
    async with channel(first.target) as on:
        await append_records(on, records_request([("wallet-1", kept[0])], {"wallet-1": NO_STREAM}))
        whole = (tmp_path / "events.log").stat().st_size
        await append_records(on, records_request([("wallet-1", event_id) for event_id in torn], {"wallet-1": 0}))
    await first.stop()
    with (tmp_path / "events.log").open("r+b") as log:
        log.truncate((tmp_path / "events.log").stat().st_size - 7)

    second = await start()

    assert any("torn write" in line and f"cut off at {whole}" in line for line in second.output)
    async with channel(second.target) as on:
        assert await event_ids(on, "wallet-1") == kept
        await append_records(on, records_request([("wallet-1", torn[0])], {"wallet-1": 0}))
        assert await event_ids(on, "wallet-1") == [*kept, torn[0]]


def test_a_damaged_frame_with_others_behind_it_is_refused(tmp_path: Path) -> None:
    """That is no crash's work: acknowledged data would be cut off."""
    log = Log(tmp_path)
    log.write([b"first frame"])
    log.write([b"second frame"])
    log.close()
    content = bytearray(log.path.read_bytes())
    content[content.index(b"first")] ^= 1
    log.path.write_bytes(content)

    damaged = Log(tmp_path)

    with pytest.raises(LogError, match="damaged at byte 16"):
        list(damaged.recover())
    damaged.close()


def test_a_log_in_use_is_refused(tmp_path: Path) -> None:
    """Two writers would tear each other's frames."""
    log = Log(tmp_path)

    with pytest.raises(LogError, match="in use by another process"):
        Log(tmp_path)
    log.close()


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    """A foreign file is never written to."""
    (tmp_path / "events.log").write_bytes(b"something else entirely")

    with pytest.raises(LogError, match="no log of this stand-in"):
        Log(tmp_path)
