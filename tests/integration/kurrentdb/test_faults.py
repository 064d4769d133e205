"""Each fault switch of the stand-in does what it says, set at start or while it runs."""

from __future__ import annotations

import asyncio
import signal
import time

import grpc
import pytest
from esdbclient.protos.Grpc import gossip_pb2, shared_pb2

from devstack.kurrentdb.faults import Faults
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

DEADLINE_EXCEEDED = 4


async def refusal_of(call: object) -> grpc.StatusCode:
    """The status with which a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_append_records_can_be_switched_off_as_on_older_servers(start: Start) -> None:
    """Off: UNIMPLEMENTED, nothing written; on again while it runs: a success."""
    standin = await start("--no-append-records")
    request = records_request([("wallet-1", new_ids(1)[0])], {"wallet-1": NO_STREAM})
    async with channel(standin.target) as on:
        assert await refusal_of(append_records(on, request)) is grpc.StatusCode.UNIMPLEMENTED
        assert await event_ids(on, "wallet-1") == []

        await standin.set_faults(append_records=True)

        assert (await append_records(on, request)).revisions[0].revision == 0


@pytest.mark.parametrize(("switch", "is_written"), [("after", True), ("before", False)])
async def test_timeouts_strike_with_and_without_the_write(start: Start, switch: str, is_written: bool) -> None:
    """Timeout means unknown: over both calls; the same again is a success, and stands once."""
    standin = await start(f"--timeout-{switch}-write-every", "1", "--timeout-ms", "20")
    first, second = new_ids(2)
    async with channel(standin.target) as on:
        request = records_request([("wallet-1", first)], {"wallet-1": NO_STREAM})
        assert await refusal_of(append_records(on, request)) is grpc.StatusCode.DEADLINE_EXCEEDED
        call = batch_append(on)
        await call.write(batch_request("wallet-2", NO_STREAM, second))
        assert (await call.read()).error.code == DEADLINE_EXCEEDED
        assert await event_ids(on, "wallet-1") == [first] * is_written

        await standin.set_faults(**{f"timeout_{switch}_write_every": 0})
        await append_records(on, request)
        await call.write(batch_request("wallet-2", NO_STREAM, second))

        assert (await call.read()).HasField("success")
        assert await event_ids(on, "wallet-1") == [first]
        assert await event_ids(on, "wallet-2") == [second]
        call.cancel()


@pytest.mark.parametrize(("switch", "is_written"), [("after", True), ("before", False)])
async def test_calls_are_cut_before_and_after_the_commit(start: Start, switch: str, is_written: bool) -> None:
    """A cut call ends UNAVAILABLE, a BatchAppend call with all that is in flight on it."""
    standin = await start(f"--drop-{switch}-commit-every", "1")
    first, second = new_ids(2)
    async with channel(standin.target) as on:
        request = records_request([("wallet-1", first)], {"wallet-1": NO_STREAM})

        assert await refusal_of(append_records(on, request)) is grpc.StatusCode.UNAVAILABLE

        call = batch_append(on)
        await call.write(batch_request("wallet-2", NO_STREAM, second))
        assert await refusal_of(call.read()) is grpc.StatusCode.UNAVAILABLE
        assert await event_ids(on, "wallet-1") == [first] * is_written
        assert await event_ids(on, "wallet-2") == [second] * is_written


async def test_a_server_that_is_not_ready_says_so_in_two_ways(start: Start) -> None:
    """BatchAppend answers an error with code 0, which is no success; other calls end UNAVAILABLE; gossip goes on."""
    standin = await start("--not-ready-s", "600")
    (event_id,) = new_ids(1)
    async with channel(standin.target) as on:
        request = records_request([("wallet-1", event_id)], {"wallet-1": NO_STREAM})
        assert await refusal_of(append_records(on, request)) is grpc.StatusCode.UNAVAILABLE
        assert await refusal_of(event_ids(on, "wallet-1")) is grpc.StatusCode.UNAVAILABLE
        call = batch_append(on)
        await call.write(batch_request("wallet-1", NO_STREAM, event_id))
        answer = await call.read()
        assert (answer.HasField("error"), answer.error.code, answer.error.message) == (True, 0, "Server Is Not Ready")
        gossip = on.unary_unary(
            "/event_store.client.gossip.Gossip/Read",
            shared_pb2.Empty.SerializeToString,
            gossip_pb2.ClusterInfo.FromString,
        )
        assert (await gossip(shared_pb2.Empty())).members[0].state == gossip_pb2.MemberInfo.PreLeader

        await standin.set_faults(not_ready_s=0)

        assert (await gossip(shared_pb2.Empty())).members[0].state == gossip_pb2.MemberInfo.Leader
        await append_records(on, request)
        call.cancel()


async def test_a_slow_fsync_holds_back_the_answer_and_the_event(start: Start) -> None:
    """Nothing is acknowledged or readable before it is on disk; the same append meanwhile times out."""
    standin = await start("--fsync-delay-ms", "300")
    (event_id,) = new_ids(1)
    request = records_request([("wallet-1", event_id)], {"wallet-1": NO_STREAM})
    async with channel(standin.target) as on:
        started = time.monotonic()
        first = asyncio.create_task(append_records(on, request))
        await asyncio.sleep(0)
        assert await event_ids(on, "wallet-1") == []
        copy = asyncio.create_task(append_records(on, request))

        await first

        assert time.monotonic() - started >= 0.3
        assert await event_ids(on, "wallet-1") == [event_id]
        assert await refusal_of(copy) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started >= 2
        assert (await append_records(on, request)).revisions[0].revision == 0


async def test_delayed_appends_overtake_each_other(start: Start) -> None:
    """With delays drawn by chance the later revision comes first now and then, and is refused."""
    standin = await start("--append-delay-max-ms", "20", "--seed", "7")
    ids = new_ids(20)
    async with channel(standin.target) as on:
        call = batch_append(on)
        for revision, event_id in enumerate(ids):
            await call.write(batch_request("wallet-1", revision - 1, event_id))
        answers = [await call.read() for _ in ids]

        assert 1 <= sum(answer.HasField("error") for answer in answers) < len(ids)
        call.cancel()


async def test_after_sigterm_the_server_may_go_on_for_a_while_and_then_cuts_every_call(start: Start) -> None:
    """As the real server: an open append call works on, and ends UNAVAILABLE without being asked to leave."""
    standin = await start("--sigterm-grace-s", "1")
    first, second = new_ids(2)
    async with channel(standin.target) as on:
        call = batch_append(on)
        await call.write(batch_request("wallet-1", NO_STREAM, first))
        assert (await call.read()).HasField("success")

        standin.process.send_signal(signal.SIGTERM)
        await standin.wait_for_output("stopping")
        await call.write(batch_request("wallet-1", 0, second))

        assert (await call.read()).HasField("success")
        assert await refusal_of(call.read()) is grpc.StatusCode.UNAVAILABLE
    assert await standin.process.wait() == 0


async def test_the_side_port_refuses_what_it_does_not_know(start: Start) -> None:
    """A wrong name or value changes nothing, and the answer says what there is."""
    standin = await start()

    with pytest.raises(AssertionError, match="no fault switch 'fsync'; there are: append_records"):
        await standin.set_faults(fsync=1)
    with pytest.raises(AssertionError, match="fsync_delay_ms takes a float of at least 0, not -1"):
        await standin.set_faults(timeout_ms=1, fsync_delay_ms=-1)

    assert (await standin.set_faults())["timeout_ms"] == 2000


def test_the_same_seed_strikes_the_same_appends() -> None:
    """One in four by chance, drawn alike for a seed, otherwise for another."""
    draws = [[faults.strikes(4) for _ in range(200)] for faults in (Faults(seed=1), Faults(seed=1), Faults(seed=2))]

    assert draws[0] == draws[1] != draws[2]
    assert 20 < sum(draws[0]) < 80
