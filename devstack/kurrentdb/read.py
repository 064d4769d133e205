"""The Read call: dispatches to subscriptions, and answers the reads that end by themselves."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any

import grpc
from esdbclient.protos.Grpc import streams_pb2

from devstack.kurrentdb import errors
from devstack.kurrentdb.filters import read_filter
from devstack.kurrentdb.index import Index, Stream
from devstack.kurrentdb.proposals import stream_name
from devstack.kurrentdb.render import Renderer, stream_not_found
from devstack.kurrentdb.store import Store
from devstack.kurrentdb.subscribe_all import subscribe_to_all
from devstack.kurrentdb.subscribe_stream import subscribe_to_stream

# Events rendered in one go; between two pages other calls get their turn.
PAGE_EVENTS = 64

MAX_REVISION = 2**63 - 1


class ReadCall:
    """The call, over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, request: bytes) -> AsyncIterator[list[bytes]]:
        """Yield the messages, in pages, that the request's options ask for."""
        options = streams_pb2.ReadReq.FromString(request).options
        renderer = Renderer(self._store, options)
        of_stream = options.WhichOneof("stream_option") == "stream"
        if options.WhichOneof("count_option") == "subscription":
            subscribe = subscribe_to_stream if of_stream else subscribe_to_all
            async for page in subscribe(self._store, renderer, options):
                yield page
            return
        ordinals = self._of_stream(options) if of_stream else self._of_all(options)
        if ordinals is None:
            yield [stream_not_found(stream_name(options.stream.stream_identifier))]
            return
        for some in _pages(ordinals):
            yield renderer.render(some)

    def _of_stream(self, options: Any) -> Iterable[int] | None:
        """The ordinals that a read of a stream wants, in its order; None: the stream is not there."""
        name = stream_name(options.stream.stream_identifier)
        if self._store.index.is_tombstoned(name):
            raise errors.stream_deleted(name)
        forwards = options.read_direction == streams_pb2.ReadReq.Options.Forwards
        start_option = options.stream.WhichOneof("revision_option")
        if forwards and start_option == "end":
            raise _unexpected(
                "ReadStreamResult", "fromEventNumber should be non negative. (Parameter 'fromEventNumber')"
            )
        _check_count(options, "ReadStreamResult")
        stream = self._store.index.find(name)
        if stream is None or not self._store.index.exists(stream):
            return None
        start = {"start": 0, "end": MAX_REVISION}.get(start_option, options.stream.revision)
        revisions = _revisions(self._store.index, stream, start, forwards)
        ordinals = (stream.ordinals[revision] for revision in revisions)
        return islice(self._young_enough(stream, ordinals), _count(options))

    def _young_enough(self, stream: Stream, ordinals: Iterable[int]) -> Iterable[int]:
        """Leave out what `$maxAge` (seconds) of the stream's metadata hides."""
        max_age_s = stream.metadata.get("$maxAge")
        if not isinstance(max_age_s, int) or max_age_s <= 0:
            return ordinals
        oldest = time.time_ns() // 100 - max_age_s * 10**7
        return (ordinal for ordinal in ordinals if self._created(ordinal) >= oldest)

    def _created(self, ordinal: int) -> int:
        (answer,) = self._store.answers([ordinal])
        return int(streams_pb2.ReadResp.FromString(answer).event.event.metadata["created"])

    def _of_all(self, options: Any) -> Iterable[int]:
        """The ordinals that a read of `$all` wants, in its order."""
        result = "FilteredReadAllResult" if options.WhichOneof("filter_option") == "filter" else "ReadAllResult"
        _check_count(options, result)
        index = self._store.index
        wanted = read_filter(index, options)
        forwards = options.read_direction == streams_pb2.ReadReq.Options.Forwards
        start_option = options.all.WhichOneof("all_option")
        position = options.all.position.commit_position
        if start_option == "position" and not index.is_boundary(position):
            raise _invalid_position(result, position, forwards)
        start = {"start": 0, "end": index.committed}.get(start_option, index.ordinal_at(position))
        start = min(start, index.committed)
        ordinals = range(start, index.committed) if forwards else range(start - 1, -1, -1)
        return islice((ordinal for ordinal in ordinals if wanted.wants(ordinal)), _count(options))


def _revisions(index: Index, stream: Stream, start: int, forwards: bool) -> range:
    first, last = index.first_revision(stream), index.last_revision(stream)
    if forwards:
        return range(max(start, first), last + 1)
    return range(min(start, last), first - 1, -1)


def _pages(ordinals: Iterable[int]) -> Iterator[list[int]]:
    source = iter(ordinals)
    while page := list(islice(source, PAGE_EVENTS)):
        yield page


def _count(options: Any) -> int:
    """How many events are wanted: a client that wants all asks for 2^64 - 1 of them."""
    return min(int(options.count), MAX_REVISION)


def _check_count(options: Any, result: str) -> None:
    if not options.count:
        raise _unexpected(result, "maxCount should be positive. (Parameter 'maxCount')")


def _unexpected(result: str, reason: str) -> errors.CallError:
    return errors.CallError(grpc.StatusCode.UNKNOWN, f"Unexpected {result}: Error >> {reason}")


def _invalid_position(result: str, position: int, forwards: bool) -> errors.CallError:
    reason = "has non-positive length: 0. " if forwards else "has too large length."
    where = "Log record at actual pos" if forwards else "Log record that ends at actual pos"
    return errors.CallError(
        grpc.StatusCode.UNKNOWN, f"Unexpected {result}: InvalidPosition >> {where} {position} {reason}"
    )
