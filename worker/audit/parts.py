"""The stores read side by side, in the order of the ledger: wallet by wallet, a page of entries at a time.

Within a page Postgres comes first, then Elasticsearch and KurrentDB, then Postgres's versions once more: so whatever is
newer than the entries, and no newer than that version, is only newer; beyond it, nothing may be.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from elasticsearch import AsyncElasticsearch

from worker.audit.compare import compare
from worker.audit.documents import Document, read_documents
from worker.audit.ledger_pages import FIRST_ID, LAST_ID, Key, Page, read_page
from worker.audit.part import Compared, Folded, Part, Stream
from worker.audit.stores import Stores, postgres_errors
from worker.audit.streams import Standing
from worker.domain.wallet import Wallet
from worker.ledger.entry import Entry
from worker.outbox.backfill import read_versions

PAGE_ENTRIES = 5_000
SURPLUS_EVENTS_MAX = 100
"""How many events behind the end of the ledger are looked at."""


@dataclass(frozen=True, slots=True)
class _Documents:
    """What Elasticsearch holds for a page, by wallet."""

    wallets: Mapping[str, Document] = field(default_factory=dict)
    lines: Mapping[str, list[Document]] = field(default_factory=dict)
    holds: Mapping[str, list[Document]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the other stores hold for a page."""

    documents: _Documents
    streams: Mapping[str, Stream]
    versions: Mapping[str, int]


Pace = Callable[[], Awaitable[None]]
"""Awaited after each page."""


async def full_speed() -> None:
    """Take no rest, but let others run."""
    await asyncio.sleep(0)


@dataclass(slots=True)
class Place:
    """How far a comparison has come: the key behind which it goes on, and the fold of the wallet that it is in."""

    behind: Key | None = field(default_factory=lambda: Key(FIRST_ID, -1))
    """None: to the end."""
    folded: Folded = field(default_factory=Folded)


async def compare_all(stores: Stores, place: Place, pace: Pace = full_speed) -> AsyncIterator[Compared]:
    """Every wallet behind `place` that Postgres or Elasticsearch knows, compared.

    Streams are left out, and nothing may lag. `place` moves with each page that was compared: where a store goes away,
    the next call goes on from there.
    """
    async for compared in _compare_range(stores, place, LAST_ID, None, pace):
        yield compared


async def compare_wallet(
    stores: Stores, wallet_id: str, settled: int, *, ask_elasticsearch: bool = True
) -> AsyncIterator[Compared]:
    """One wallet, its stream included, where the stores must have reached the version `settled` (-1: none).

    Without `ask_elasticsearch` it is compared as if there were no documents.
    """
    place = Place(Key(wallet_id, -1))
    async for compared in _compare_range(stores, place, wallet_id, settled, ask_elasticsearch=ask_elasticsearch):
        yield compared


async def _compare_range(
    stores: Stores,
    place: Place,
    last_id: str,
    settled: int | None,
    pace: Pace = full_speed,
    *,
    ask_elasticsearch: bool = True,
) -> AsyncIterator[Compared]:
    """The wallets from `place` to `last_id`; without `settled` each must be as new as its ledger."""
    while place.behind is not None:
        behind = place.behind
        page = await read_page(stores.engine, behind, last_id, PAGE_ENTRIES)
        documents = await _read_documents(stores, page, behind, last_id) if ask_elasticsearch else _Documents()
        found = await _read_others(stores, page, behind, documents, with_streams=settled is not None)
        for part in _parts(page, found, settled):
            before = place.folded
            is_same = before.wallet is not None and before.wallet.id == part.wallet_id
            compared = compare(part, before if is_same else Folded())
            place.folded = compared.folded
            yield compared
            # A page takes half a second to compare, and the process may have other work: ticks, or a page to serve.
            await asyncio.sleep(0)
        place.behind = page.end
        await pace()


async def _read_documents(stores: Stores, page: Page, behind: Key, last_id: str) -> _Documents:
    until = page.end or Key(last_id, 2**63)
    client, alias = stores.search, stores.wallets.alias
    wallets = {
        document.key[0]: document async for document in read_documents(client, alias, behind.wallet_id, until.wallet_id)
    }
    lines = await _read_behind(client, stores.statement.alias, behind, until)
    return _Documents(wallets, lines, await _read_behind(client, stores.holds.alias, behind, until))


async def _read_others(stores: Stores, page: Page, behind: Key, documents: _Documents, *, with_streams: bool) -> _Found:
    streams = {behind.wallet_id: await _read_stream(stores, page, behind)} if with_streams else {}
    ids = {*page.wallets, *documents.wallets, *documents.lines, *documents.holds, *streams}
    with postgres_errors():
        versions = await read_versions(stores.engine, ids)
    return _Found(documents, streams, versions)


async def _read_behind(client: AsyncElasticsearch, alias: str, behind: Key, until: Key) -> dict[str, list[Document]]:
    """The documents from behind one place of the ledger up to another, by wallet."""
    found = defaultdict(list)
    async for document in read_documents(client, alias, behind.wallet_id, until.wallet_id, behind):
        if document.key > until:
            break
        found[document.key[0]].append(document)
    return found


async def _read_stream(stores: Stores, page: Page, behind: Key) -> Stream:
    """The stream of the one wallet that the page is about, as far as the page goes."""
    surplus = 0 if page.end else SURPLUS_EVENTS_MAX
    events = await stores.streams.read(behind.wallet_id, behind.version + 1, len(page.entries) + surplus)
    if page.end is None or len(events) < len(page.entries):
        return Stream(events, await stores.streams.standing(behind.wallet_id))
    return Stream(events, Standing(events[-1].revision))


def _parts(page: Page, found: _Found, settled: int | None) -> list[Part]:
    entries = {id_: list(group) for id_, group in groupby(page.entries, key=attrgetter("wallet_id"))}
    documents = found.documents
    ids: Collection[str] = {
        *page.wallets,
        *entries,
        *documents.wallets,
        *documents.lines,
        *documents.holds,
        *found.streams,
    }
    return [_part(id_, entries.get(id_, []), page, found, settled) for id_ in sorted(ids)]


def _part(wallet_id: str, entries: list[Entry], page: Page, found: _Found, settled: int | None) -> Part:
    row: Wallet | None = page.wallets.get(wallet_id)
    return Part(
        wallet_id=wallet_id,
        entries=entries,
        unlisted=page.unlisted,
        is_last=page.end is None or wallet_id != page.end.wallet_id,
        row=row,
        hold_rows=page.holds,
        document=found.documents.wallets.get(wallet_id),
        lines=found.documents.lines.get(wallet_id, []),
        hold_documents=found.documents.holds.get(wallet_id, []),
        stream=found.streams.get(wallet_id),
        settled=settled if settled is not None else 2**63,
        newest=found.versions.get(wallet_id, -1),
    )
