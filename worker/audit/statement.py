"""A wallet's statement for a period, from Elasticsearch: its lines in order, a page at a time.

A line never changes once it is written, and a wallet's lines are written in order, so pages that are read one after
another belong together however long it takes, also over a rebuild that puts another index behind the alias. Shows what
the projector has written and Elasticsearch has refreshed, about a second behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from elasticsearch import AsyncElasticsearch

from worker.contracts.events import EventType
from worker.contracts.money import ZERO
from worker.contracts.times import format_time
from worker.errors import Contradiction, Unavailable
from worker.projection.elastic import IndexLost, connect_elasticsearch, elasticsearch_errors
from worker.projection.index import STATEMENT, WALLETS, Projection
from worker.settings import Settings

PAGE_LINES = 1_000

# Elasticsearch counts nanoseconds in 64 bits, and refuses to compare with what lies outside of them.
_FIRST_TIME, _LAST_TIME = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 4, 11, tzinfo=UTC)

_SIGNS = {
    EventType.WALLET_CREATED: 1,
    EventType.WALLET_CREDITED: 1,
    EventType.WALLET_DEBITED: -1,
    EventType.HOLD_CAPTURED: -1,
}
_RESERVING = {EventType.HOLD_PLACED: 1, EventType.HOLD_RELEASED: -1, EventType.HOLD_EXPIRED: -1}


class Period(NamedTuple):
    """From `start` on, up to and without `end`; None: from the beginning, or up to now."""

    start: datetime | None = None
    end: datetime | None = None


class Line(NamedTuple):
    """A line of the statement: what an event moved or reserved, and the wallet's money after it.

    `amount` is what it added to the balance, negative where money went out, None where none moved. `reserved` is what a
    hold's event reserved, negative where it gave it free, None for all others (what a capture ends shows in `held`).
    """

    occurred_at: str
    version: int
    event_type: str
    amount: Decimal | None
    reserved: Decimal | None
    balance: Decimal
    held: Decimal
    available: Decimal
    currency: str
    counterparty_wallet_id: str | None
    hold_id: str | None
    reference: str | None
    command_id: str | None


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of all wallets. Every method raises `Unavailable` where Elasticsearch does not serve them."""

    client: AsyncElasticsearch
    wallets: Projection = WALLETS
    ledger: Projection = STATEMENT

    async def knows(self, wallet_id: str) -> bool:
        """Whether there is such a wallet: one may well have no line."""
        with _errors(self.wallets):
            found = await self.client.count(index=self.wallets.alias, query={"term": {"walletId": wallet_id}})
        return bool(found["count"])

    async def balance_before(self, wallet_id: str, start: datetime | None) -> Decimal:
        """The wallet's balance just before `start`; 0 where it had no line by then, or without a start."""
        if start is None:
            return ZERO
        last = await self._search(wallet_id, Period(end=start), "desc", None, 1)
        return Decimal(last[0]["_source"]["balance"]) if last else ZERO

    async def lines(self, wallet_id: str, period: Period) -> AsyncIterator[Line]:
        """The lines of `period` in the order of their versions. Raises `Contradiction` for one that is none of ours."""
        after: list[Any] | None = None
        while True:
            hits = await self._search(wallet_id, period, "asc", after, PAGE_LINES)
            for hit in hits:
                yield _line(hit["_id"], hit["_source"])
            if len(hits) < PAGE_LINES:
                return
            after = hits[-1]["sort"]

    async def _search(
        self, wallet_id: str, period: Period, order: str, after: list[Any] | None, size: int
    ) -> list[dict[str, Any]]:
        with _errors(self.ledger):
            answer = await self.client.search(
                index=self.ledger.alias,
                query={"bool": {"filter": [{"term": {"walletId": wallet_id}}, *_within(period)]}},
                sort=[{"version": order}],
                search_after=after,
                size=size,
                track_total_hits=False,
            )
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits


@asynccontextmanager
async def open_statements(settings: Settings) -> AsyncIterator[Statements]:
    """The statements in the Elasticsearch that `settings` name; its client is closed afterwards."""
    async with connect_elasticsearch(settings.elasticsearch_url.get_secret_value()) as client:
        yield Statements(client)


def _within(period: Period) -> Iterator[dict[str, Any]]:
    bounds = {"gte": period.start, "lt": period.end}
    range_ = {name: _countable(time) for name, time in bounds.items() if time is not None}
    if range_:
        yield {"range": {"occurredAt": range_}}


def _countable(time: datetime) -> str:
    return format_time(min(max(time, _FIRST_TIME), _LAST_TIME))


def _line(id_: str, source: dict[str, Any]) -> Line:
    try:
        event_type = EventType(source["eventType"])
        amount = Decimal(source["amount"])
        return Line(
            occurred_at=source["occurredAt"],
            version=source["version"],
            event_type=event_type,
            amount=_SIGNS[event_type] * amount if event_type in _SIGNS else None,
            reserved=_RESERVING[event_type] * amount if event_type in _RESERVING else None,
            balance=Decimal(source["balance"]),
            held=Decimal(source["heldBalance"]),
            available=Decimal(source["availableBalance"]),
            currency=source["currency"],
            counterparty_wallet_id=source["counterpartyWalletId"],
            hold_id=source["holdId"],
            reference=source["reference"],
            command_id=source["commandId"],
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise Contradiction(f"Elasticsearch: the line {id_} is not one of ours: {error!r}") from error


@contextmanager
def _errors(projection: Projection) -> Iterator[None]:
    try:
        with elasticsearch_errors():
            yield
    except IndexLost as error:
        missing = f"there is no alias {projection.alias}: `wallex projector` makes it"
        raise Unavailable(f"Elasticsearch: {missing}") from error
