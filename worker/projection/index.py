"""The indices: what each keeps, how it is mapped, how it is made, and the checkpoint inside it.

An alias names one index, which carries a number (`wallets-000001`). Made in one call with its alias, so that it is
never half there; two that make it at once end with one. The checkpoint is a document of the index itself, out of the
alias's sight; its id carries the index's UUID, so that it cannot be taken for that of an index that was deleted,
restored or made anew meanwhile: who writes it then learns that the index was replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from elasticsearch import AsyncElasticsearch, BadRequestError, NotFoundError

from worker.contracts.events import EventType
from worker.errors import Fatal
from worker.projection.document import (
    STATEMENT_TYPES,
    Event,
    hold_document,
    hold_key,
    statement_document,
    statement_key,
    wallet_document,
    wallet_key,
)
from worker.projection.elastic import IndexLost, elasticsearch_errors

KEYWORD = {"type": "keyword"}
# Shown and not searched: the integer beside a money text is, and the id of an event is its document's. To index these
# as well would cost Elasticsearch a fifth of its time for a line. By an event's id lines are sorted.
KEPT = {"type": "keyword", "index": False, "doc_values": False}
SORTED = {"type": "keyword", "index": False}
LONG = {"type": "long"}
# Plain `date` counts milliseconds: two events within one would sort by chance.
TIME = {"type": "date_nanos"}
# Milliseconds for a time that a sender chooses: `date_nanos` ends in the year 2262, and refuses what is later.
SENDERS_TIME = {"type": "date"}
# A caller's own JSON, searchable by path whatever its shape: one field for the mapping, so that nobody's keys or types
# can collide. Longer values than this are kept and not searched: a term may not exceed 32,766 bytes.
METADATA = {"type": "flattened", "depth_limit": 1000, "ignore_above": 1024}


def _money(*names: str) -> dict[str, Any]:
    """Exact text, and ten-thousandths beside it for ranges and sums."""
    return {field: kind for name in names for field, kind in ((name, KEPT), (f"{name}Minor", LONG))}


def _keywords(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, KEYWORD)


@dataclass(frozen=True)
class Projection:
    """What an alias is: which document an event changes (`key`; None: none), how it looks then, and its fields.

    `begun_by` are the types of the events that are the first of their document.
    """

    alias: str
    key: Callable[[Event], str | None]
    begun_by: Collection[str]
    document: Callable[[Event], dict[str, Any]]
    properties: dict[str, Any]


WALLETS = Projection(
    "wallets",
    wallet_key,
    {EventType.WALLET_CREATED},
    wallet_document,
    {
        **_keywords("walletId", "ownerId", "currency", "status"),
        **_money("balance", "heldBalance", "availableBalance"),
        "version": LONG,
        "metadata": METADATA,
        "createdAt": TIME,
        "updatedAt": TIME,
    },
)

STATEMENT = Projection(
    "wallet-ledger",
    statement_key,
    STATEMENT_TYPES,
    statement_document,
    {
        "eventId": SORTED,
        **_keywords("walletId", "eventType", "currency", "ownerId", "counterpartyWalletId"),
        **_keywords("transferId", "groupId", "holdId", "reference", "commandId", "correlationId"),
        **_money("amount", "balance", "heldBalance", "availableBalance"),
        "version": LONG,
        "metadata": METADATA,
        "occurredAt": TIME,
    },
)

HOLDS = Projection(
    "wallet-holds",
    hold_key,
    {EventType.HOLD_PLACED},
    hold_document,
    {
        **_keywords("holdId", "walletId", "ownerId", "currency", "status", "type", "reference"),
        **_money("amount", "capturedAmount"),
        "version": LONG,
        "metadata": METADATA,
        "expiresAt": SENDERS_TIME,
        **dict.fromkeys(("releasedAt", "capturedAt", "createdAt", "updatedAt"), TIME),
    },
)

PROJECTIONS = (WALLETS, STATEMENT, HOLDS)

SETTINGS = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
# Every document has a walletId but the checkpoint, which neither a search nor a count through the alias may see.
ALIAS: dict[str, Any] = {"is_write_index": True, "filter": {"exists": {"field": "walletId"}}}


class Checkpoint(NamedTuple):
    """How far an index has come: it holds everything up to this event, the last one written to it."""

    commit_position: int
    event_id: str


@dataclass
class Index:
    """The index behind an alias as it was found; `checkpoint` is None as long as nothing was followed into it."""

    projection: Projection
    name: str
    uuid: str
    checkpoint: Checkpoint | None

    @property
    def checkpoint_id(self) -> str:
        """The id of the checkpoint's document."""
        return checkpoint_id(self.uuid)


def checkpoint_id(uuid: str) -> str:
    """The id of the checkpoint's document in the index with that UUID."""
    return f"checkpoint-{uuid}"


async def open_index(client: AsyncElasticsearch, projection: Projection) -> Index:
    """Find the index behind the projection's alias, making it where the alias is missing."""
    with elasticsearch_errors():
        index = await find_index(client, projection)
        if index is None:
            await _create_next(client, projection)
            index = await find_index(client, projection)
        if index is None:
            raise IndexLost(f"the alias {projection.alias} vanished while its index was made")
        await add_checkpoint(client, index)
    return index


async def add_checkpoint(client: AsyncElasticsearch, index: Index) -> None:
    """Give `index` the document of its checkpoint, which says that nothing was followed into it yet, if it has none."""
    with elasticsearch_errors():
        await client.options(ignore_status=409).create(
            index=index.projection.alias, id=index.checkpoint_id, document={"checkpoint": {}}, require_alias=True
        )


async def find_index(client: AsyncElasticsearch, projection: Projection) -> Index | None:
    """The index behind the projection's alias with its checkpoint; None where there is no such alias."""
    with elasticsearch_errors():
        try:
            found = (await client.indices.get(index=projection.alias, flat_settings=True)).body
        except NotFoundError:
            return None
        name = _one_behind(projection.alias, found)
        uuid = found[name]["settings"]["index.uuid"]
        kept = await client.options(ignore_status=404).get(index=name, id=checkpoint_id(uuid))
        return Index(projection, name, uuid, _read_checkpoint(kept.body))


def _one_behind(alias: str, found: dict[str, Any]) -> str:
    names = sorted(found)
    if alias in names:
        raise Fatal(f"{alias} is an index, expected an alias: delete that index, it is made anew under another name")
    if len(names) != 1:
        raise Fatal(f"the alias {alias} names {', '.join(names)}, expected one: remove it from all but one of them")
    return names[0]


def _read_checkpoint(kept: dict[str, Any]) -> Checkpoint | None:
    fields = kept.get("_source", {}).get("checkpoint")
    return Checkpoint(fields["commitPosition"], fields["eventId"]) if fields else None


async def _create_next(client: AsyncElasticsearch, projection: Projection) -> None:
    """Make the index with the next free number, together with its alias."""
    number = max(await read_numbers(client, projection), default=0) + 1
    try:
        await create_index(client, projection, number, alias=projection.alias, settings=SETTINGS)
    except BadRequestError:
        # Another projector was first: its index has the name, or its alias has a write index already.
        if not await client.indices.exists_alias(name=projection.alias):
            raise


async def create_index(
    client: AsyncElasticsearch, projection: Projection, number: int, *, alias: str, settings: dict[str, Any]
) -> None:
    """Make the projection's index with that number, in one call with its `alias`."""
    await client.indices.create(
        index=index_name(projection, number),
        settings=settings,
        mappings=mappings(projection),
        aliases={alias: ALIAS},
    )


def index_name(projection: Projection, number: int) -> str:
    """The name of the projection's index with that number."""
    return f"{projection.alias}-{number:06}"


async def read_numbers(client: AsyncElasticsearch, projection: Projection) -> dict[int, frozenset[str]]:
    """The aliases of each of the projection's indices that are there, by the number in its name."""
    pattern = re.compile(rf"{re.escape(projection.alias)}-(\d{{6}})")
    with elasticsearch_errors():
        present = await client.indices.get_alias(index=f"{projection.alias}-*")
    return {
        int(match[1]): frozenset(found["aliases"])
        for name, found in present.body.items()
        if (match := pattern.fullmatch(name))
    }


def mappings(projection: Projection) -> dict[str, Any]:
    """The mapping of the projection's index: what is not named there is refused, never guessed."""
    checkpoint = {"type": "object", "enabled": False}
    return {"dynamic": "strict", "properties": {**projection.properties, "checkpoint": checkpoint}}


def lowest_checkpoint(indices: Iterable[Index]) -> int | None:
    """The commit position up to which all of `indices` have everything; None where one of them has nothing yet."""
    positions = [index.checkpoint.commit_position if index.checkpoint else None for index in indices]
    return None if None in positions else min(position for position in positions if position is not None)
