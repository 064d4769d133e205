"""Events into the indices: a bulk at a time, each item's answer read, then the checkpoints.

Safe to repeat and to run twice at once: external versions let only a newer document through, and the 409 for an older
one is success. A checkpoint is written after the bulk that it covers, never before; one that stays behind costs a
repeat, one that ran ahead would cost documents. What a server cannot take now raises `Unavailable` with what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson
from elasticsearch import AsyncElasticsearch

from worker.errors import Fatal, Unavailable
from worker.projection.document import Event, document_bytes, last_of_each
from worker.projection.elastic import IndexLost, elasticsearch_errors, judge_item
from worker.projection.index import Checkpoint, Index, Projection

ITEM_FIELDS = "items.*.status,items.*.error"
"""What is asked of a bulk's answer: the rest repeats what was sent."""

BULK_BYTES_MAX = 1_000_000
"""A body beyond a mebibyte would hold up the event loop while it is sent, as its HTTP client warns."""
CONFLICT = 409
UPDATE_ATTEMPTS = 3
"""Two projectors may write the same checkpoint at once."""


class Operation(NamedTuple):
    """One document to write: `lines` is its part of the bulk."""

    alias: str
    document_id: str
    lines: bytes

    @property
    def what(self) -> str:
        """The document, as an error names it."""
        return f"{self.document_id} in {self.alias}"


def make_operations(indices: Iterable[Index], events: Sequence[Event]) -> list[Operation]:
    """The documents that `events` change in `indices`, each as after the last of them."""
    return [
        _operation(index.projection, document_id, event)
        for index in indices
        for document_id, event in last_of_each(index.projection.key, events).items()
    ]


def _operation(projection: Projection, document_id: str, event: Event) -> Operation:
    action = {
        "_index": projection.alias,
        "_id": document_id,
        "version": event.revision + 1,
        "version_type": "external",
    }
    lines = orjson.dumps({"index": action}) + b"\n" + document_bytes(projection.document, event) + b"\n"
    return Operation(projection.alias, document_id, lines)


class PartlyWritten(Unavailable):
    """Some documents of a bulk could not be written now; `left` is to be sent again."""

    def __init__(self, left: list[Operation], reason: Unavailable) -> None:
        super().__init__(f"{len(left)} documents wait. {reason}")
        self.left = left


async def write_documents(client: AsyncElasticsearch, operations: list[Operation]) -> list[Operation]:
    """Write `operations`, one for each document at most, in bulks side by side.

    Returns those that Elasticsearch refused, since it knows of a version as new: one that it has, or one that was
    deleted in the last `index.gc_deletes` (60 s, unless somebody set it). `PartlyWritten` or another `Unavailable` if
    some, or all, have to wait.
    """
    answers = await asyncio.gather(*(_send(client, bulk) for bulk in _bulks(operations)))
    items = [item for answer in answers for item in answer]
    left, reasons, known = [], [], []
    for operation, item in zip(operations, items, strict=True):
        if reason := _judge_document(operation, item["index"]):
            left.append(operation)
            reasons.append(reason)
        elif item["index"]["status"] == CONFLICT:
            known.append(operation)
    if left:
        raise PartlyWritten(left, reasons[0])
    return known


def _bulks(operations: Sequence[Operation]) -> Iterator[list[bytes]]:
    """The lines of `operations`, cut into bulks of at most `BULK_BYTES_MAX`, or of one document that is larger."""
    bulk: list[bytes] = []
    size = 0
    for operation in operations:
        if bulk and size + len(operation.lines) > BULK_BYTES_MAX:
            yield bulk
            bulk, size = [], 0
        bulk.append(operation.lines)
        size += len(operation.lines)
    if bulk:
        yield bulk


async def _send(client: AsyncElasticsearch, lines: list[Any]) -> list[dict[str, Any]]:
    """Send a bulk and return its items' answers.

    Aliases are required: an index that is gone would otherwise be made anew by Elasticsearch, with mappings of its own.
    """
    with elasticsearch_errors():
        answer = await client.bulk(operations=lines, require_alias=True, filter_path=ITEM_FIELDS)
    return list(answer["items"])


def _judge_document(operation: Operation, item: dict[str, Any]) -> Unavailable | None:
    """Why the document has to wait; None where it is done. What waiting does not mend is raised."""
    if item["status"] < 300 or item["status"] == CONFLICT:
        return None
    error = judge_item(item["status"], item.get("error", {}), operation.what)
    if isinstance(error, (Fatal, IndexLost)):
        raise error
    return error


async def write_checkpoints(client: AsyncElasticsearch, indices: Sequence[Index], checkpoint: Checkpoint) -> None:
    """Note in each of `indices` that is not further already that it holds everything up to `checkpoint`."""
    behind = [index for index in indices if index.checkpoint is None or index.checkpoint < checkpoint]
    if not behind:
        return
    items = await _send(client, [_update(index, checkpoint) for index in behind])
    for index, item in zip(behind, items, strict=True):
        status, error = item["update"]["status"], item["update"].get("error", {})
        # A conflict each time: another projector writes it too. Theirs stands, and ours follows with the next.
        if status >= 300 and status != CONFLICT:
            raise judge_item(status, error, f"the checkpoint of {index.name}")
        index.checkpoint = checkpoint


def _update(index: Index, checkpoint: Checkpoint) -> bytes:
    """An update, which unlike an index operation fails where the document, and so the index as it was, is gone."""
    action = {"_index": index.projection.alias, "_id": index.checkpoint_id, "retry_on_conflict": UPDATE_ATTEMPTS}
    fields = {"commitPosition": checkpoint.commit_position, "eventId": checkpoint.event_id}
    return orjson.dumps({"update": action}) + b"\n" + orjson.dumps({"doc": {"checkpoint": fields}}) + b"\n"
