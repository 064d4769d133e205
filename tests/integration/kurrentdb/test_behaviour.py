"""What the stand-in does beyond the recorded scenarios, after what is known of the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from esdbclient.protos.Grpc import gossip_pb2, streams_pb2

from tests.integration.kurrentdb.calls import (
    NO_STREAM,
    READ,
    append_records,
    batch_append,
    batch_request,
    channel,
    event_ids,
    new_ids,
    records_request,
)
from tests.integration.kurrentdb.conftest import Start
from tests.integration.kurrentdb.standin import StandIn
from worker.outbox.protos import rpc_status_pb2
from worker.outbox.protos.streams_v2_errors_pb2 import AppendConsistencyViolationErrorDetails


@pytest.fixture
async def standin(start: Start) -> StandIn:
    return await start()


@pytest.fixture
async def on(standin: StandIn) -> AsyncIterator[grpc.aio.Channel]:
    async with channel(standin.target) as opened:
        yield opened


def subscription(on: grpc.aio.Channel, after: int | None = None, regex: str = "") -> Any:
    """A catch-up subscription of `$all`; checkpoints after 20 events."""
    request = streams_pb2.ReadReq()
    options = request.options
    if after is None:
        options.all.start.SetInParent()
    else:
        options.all.position.commit_position = options.all.position.prepare_position = after
    options.subscription.SetInParent()
    options.uuid_option.string.SetInParent()
    if regex:
        options.filter.stream_identifier.regex = regex
        options.filter.max = 10
        options.filter.checkpointIntervalMultiplier = 2
    else:
        options.no_filter.SetInParent()
    return on.unary_stream(READ, streams_pb2.ReadReq.SerializeToString, streams_pb2.ReadResp.FromString)(request)


async def kinds_until(call: Any, last: str, times: int = 1) -> list[str]:
    """The kinds of the messages up to the n-th of one kind."""
    kinds: list[str] = []
    while kinds.count(last) < times:
        kinds.append((await call.read()).WhichOneof("content"))
    return kinds


def request_for(streams: list[str], expected: int) -> Any:
    return records_request(list(zip(streams, new_ids(len(streams)), strict=True)), dict.fromkeys(streams, expected))


async def violations_of(call: Any) -> dict[str, int]:
    """The streams that a refused AppendRecords names, and where they stand."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    status = rpc_status_pb2.Status.FromString(dict(tuple(caught.value.trailing_metadata()))["grpc-status-details-bin"])
    details = AppendConsistencyViolationErrorDetails()
    assert status.details[1].Unpack(details)
    return {entry.stream_state.stream: entry.stream_state.actual_state for entry in details.violations}


async def test_a_refusal_names_all_streams_that_stand_elsewhere(on: grpc.aio.Channel) -> None:
    """A thousand of them too: ahead, behind and missing alike, so one answer tells where each stands."""
    there = [f"wallet-{number}" for number in range(1000)]
    await append_records(on, request_for(there, NO_STREAM))

    violations = await violations_of(append_records(on, request_for([*there, "wallet-new"], 4)))

    assert violations == {**dict.fromkeys(there, 0), "wallet-new": -1}
    assert await event_ids(on, "wallet-new") == []


async def test_a_run_of_which_only_the_first_part_is_there_is_refused(on: grpc.aio.Channel) -> None:
    """For ever; the missing part alone, at its own revision, is a success, and then the last event proves the run."""
    a, b, c = new_ids(3)
    await append_records(on, records_request([("wallet-1", a), ("wallet-1", b)], {"wallet-1": NO_STREAM}))
    run = records_request([("wallet-1", a), ("wallet-1", b), ("wallet-1", c)], {"wallet-1": NO_STREAM})

    assert await violations_of(append_records(on, run)) == {"wallet-1": 1}
    rest = records_request([("wallet-1", c)], {"wallet-1": 1})

    assert (await append_records(on, rest)).revisions[0].revision == 2
    assert (await append_records(on, run)).revisions[0].revision == 2
    assert (await append_records(on, rest)).revisions[0].revision == 2


async def test_a_check_may_name_a_stream_that_is_not_written(on: grpc.aio.Channel) -> None:
    """It holds or refuses the append like any other."""
    await append_records(on, request_for(["wallet-1"], NO_STREAM))
    holding = records_request([("wallet-2", new_ids(1)[0])], {"wallet-1": 0, "wallet-2": NO_STREAM})
    failing = records_request([("wallet-3", new_ids(1)[0])], {"wallet-1": 7, "wallet-3": NO_STREAM})

    assert [entry.stream for entry in (await append_records(on, holding)).revisions] == ["wallet-2"]
    assert await violations_of(append_records(on, failing)) == {"wallet-1": 0}


async def test_after_more_at_once_than_the_live_buffer_holds_caught_up_comes_again(on: grpc.aio.Channel) -> None:
    """Unfiltered without, filtered with a checkpoint before it; every event once."""
    first = (await append_records(on, request_for(["wallet-0"], NO_STREAM))).position
    plain, filtered = subscription(on, first), subscription(on, first, "^wallet-")
    assert await kinds_until(plain, "caught_up") == ["confirmation", "caught_up"]
    assert await kinds_until(filtered, "caught_up") == ["confirmation", "caught_up"]

    await append_records(on, request_for([f"wallet-{number}" for number in range(1, 301)], NO_STREAM))

    assert await kinds_until(plain, "caught_up") == ["event"] * 300 + ["caught_up"]
    kinds = await kinds_until(filtered, "caught_up")
    assert kinds[-2:] == ["checkpoint", "caught_up"]
    assert kinds.count("event") == 300


async def test_a_checkpoint_never_lies_behind_an_event_that_was_not_sent(on: grpc.aio.Channel) -> None:
    """Resuming from any checkpoint, while catching up or live, brings exactly the events not sent before it."""
    for number in range(6):
        streams = [f"{'wallet' if part % 7 == 0 else 'other'}-{number}-{part}" for part in range(25)]
        await append_records(on, request_for(streams, NO_STREAM))
    call = subscription(on, None, "^wallet-")
    sent: list[int] = []
    checkpoints: list[tuple[int, int]] = []
    while (answer := await call.read()).WhichOneof("content") != "caught_up":
        if answer.HasField("event"):
            sent.append(answer.event.commit_position)
        elif answer.HasField("checkpoint"):
            checkpoints.append((answer.checkpoint.commit_position, len(sent)))

    assert len(sent) == 24
    assert len(checkpoints) >= 5
    assert [position for position, _ in checkpoints] == sorted({position for position, _ in checkpoints})
    for position, count in checkpoints:
        resumed = subscription(on, position, "^wallet-")
        await resumed.read()
        again = []
        while (answer := await resumed.read()).WhichOneof("content") != "caught_up":
            again += [answer.event.commit_position] * answer.HasField("event")
        assert again[-len(sent[count:]) :] == sent[count:]
        assert set(again) <= set(sent)
        resumed.cancel()


async def test_a_start_beyond_the_end_of_the_log_is_deaf_until_the_log_passes_it(on: grpc.aio.Channel) -> None:
    """No error and no event up to there: what a checkpoint from another database does."""
    end = (await append_records(on, request_for(["wallet-0"], NO_STREAM))).position
    call = subscription(on, end + 600)
    assert await kinds_until(call, "caught_up") == ["confirmation", "caught_up"]

    positions = [
        (await append_records(on, request_for([f"wallet-{number}"], NO_STREAM))).position for number in range(1, 9)
    ]

    heard = [position for position in positions if position > end + 600]
    assert 0 < len(heard) < len(positions)
    assert [(await call.read()).event.commit_position for _ in heard] == heard


async def test_at_most_a_hundred_calls_are_open_on_a_connection(on: grpc.aio.Channel) -> None:
    """The next one waits in the client until one ends."""
    calls = [subscription(on) for _ in range(100)]
    for call in calls:
        await call.read()
    waiting = asyncio.create_task(event_ids(on, "wallet-1"))
    done, _ = await asyncio.wait([waiting], timeout=0.5)
    assert not done

    calls[0].cancel()

    assert await asyncio.wait_for(waiting, 5) == []
    for call in calls:
        call.cancel()


async def test_a_refusal_overtakes_the_successes_sent_before_it(start: Start) -> None:
    """It needs no disk: answers are matched by correlation id, never by their order."""
    standin = await start("--fsync-delay-ms", "200")
    good, bad = new_ids(2)
    async with channel(standin.target) as on:
        call = batch_append(on)
        await call.write(batch_request("wallet-1", NO_STREAM, good))
        await call.write(batch_request("wallet-1", 5, bad))

        assert (await call.read()).correlation_id.string == bad
        assert (await call.read()).correlation_id.string == good
        call.cancel()


@pytest.mark.parametrize("missing", ["correlation_id", "expected", "stream_identifier", "id"])
async def test_an_incomplete_request_is_a_bad_request_and_the_call_goes_on(on: grpc.aio.Channel, missing: str) -> None:
    """Only that one is refused."""
    broken, good = batch_request("wallet-1", NO_STREAM, new_ids(1)[0]), batch_request("w-2", NO_STREAM, new_ids(1)[0])
    if missing == "correlation_id":
        broken.ClearField("correlation_id")
    elif missing == "id":
        broken.proposed_messages[0].ClearField("id")
    else:
        broken.options.ClearField("no_stream" if missing == "expected" else missing)
    call = batch_append(on)

    await call.write(broken)
    await call.write(good)

    answers = [await call.read(), await call.read()]
    assert sorted(answer.error.message for answer in answers) == ["", "BadRequest"]
    call.cancel()


@pytest.mark.parametrize(
    "path",
    [
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Create",
        "/event_store.client.server_features.ServerFeatures/GetSupportedMethods",
        "/event_store.client.projections.Projections/Create",
        "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession",
    ],
)
async def test_what_it_does_not_know_it_refuses(on: grpc.aio.Channel, path: str) -> None:
    """Never a made-up success."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await on.unary_unary(path)(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_log_and_gossip_say_that_it_is_a_stand_in(standin: StandIn, on: grpc.aio.Channel) -> None:
    """So that nobody takes it for the real server."""
    raw = await on.unary_unary("/event_store.client.gossip.Gossip/Read")(b"")
    halves = gossip_pb2.ClusterInfo.FromString(raw).members[0].instance_id.structured
    spelt = b"".join(half.to_bytes(8, "big") for half in (halves.most_significant_bits, halves.least_significant_bits))

    assert spelt == b"kurrent stand-in"
    assert all("stand-in" in line for line in standin.output)
