"""What every store knows of one wallet, side by side.

A look, not a judgement: `verify` holds everything against the ledger, this shows what is there. Each store is asked by
itself and at once, so one that is away does not hide the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from worker.audit.ledger_pages import Key, read_page
from worker.audit.report import Store
from worker.audit.sight import Away, Unreadable, look
from worker.audit.stores import open_postgres, postgres_errors
from worker.audit.streams import Streams
from worker.contracts.status import WalletStatus
from worker.domain.wallet import Wallet
from worker.errors import Unavailable
from worker.ledger.entry import Entry
from worker.outbox.backfill import read_versions
from worker.projection.document import read_event
from worker.projection.elastic import connect_elasticsearch, elasticsearch_errors
from worker.projection.index import WALLETS
from worker.settings import Settings

ENTRIES_SHOWN = 10

State = Wallet | Away | Unreadable | None
"""A wallet as a store has it; None: it has none."""


@dataclass(frozen=True, slots=True)
class WalletSight:
    """A wallet in each store, and its last entries in the ledger, in order."""

    states: dict[Store, State]
    entries: Sequence[Entry]

    @property
    def agrees(self) -> bool:
        """Whether the wallet is known, and every store that is not away has the same."""
        present = [state for state in self.states.values() if not isinstance(state, Away)]
        return bool(present) and isinstance(present[0], Wallet) and all(state == present[0] for state in present)


async def see_wallet(settings: Settings, wallet_id: str) -> WalletSight:
    """Ask all three stores at once."""
    booked, recorded, document = await asyncio.gather(
        look(_in_postgres(settings, wallet_id)),
        look(_in_kurrentdb(settings, wallet_id)),
        look(_in_elasticsearch(settings, wallet_id)),
    )
    row: State
    row, entries = booked if isinstance(booked, tuple) else (booked, [])
    return WalletSight({Store.POSTGRES: row, Store.KURRENTDB: recorded, Store.ELASTICSEARCH: document}, entries)


async def _in_postgres(settings: Settings, wallet_id: str) -> tuple[Wallet | None, list[Entry]]:
    async with open_postgres(settings) as engine:
        with postgres_errors():
            version = (await read_versions(engine, [wallet_id])).get(wallet_id, -1)
        page = await read_page(engine, Key(wallet_id, version - ENTRIES_SHOWN), wallet_id, ENTRIES_SHOWN)
        return page.wallets.get(wallet_id), page.entries


async def _in_kurrentdb(settings: Settings, wallet_id: str) -> State:
    """The state that the last event of the stream carries."""
    async with Streams.connect(settings.kurrentdb_uri.get_secret_value()) as streams:
        last = await streams.last(wallet_id)
    if last is None:
        return None
    data = read_event(last).data
    return _wallet(data, last.revision, data.get("walletMetadata"), data.get("occurredAt"))


async def _in_elasticsearch(settings: Settings, wallet_id: str) -> State:
    async with connect_elasticsearch(settings.elasticsearch_url.get_secret_value()) as client:
        with elasticsearch_errors():
            found = await client.options(ignore_status=404).get(index=WALLETS.alias, id=wallet_id)
    if "error" in found:
        raise Unavailable(f"Elasticsearch: there is no alias {WALLETS.alias}: `wallex projector` makes it")
    if not found["found"]:
        return None
    source = found["_source"]
    return _wallet(source, source.get("version"), source.get("metadata"), source.get("updatedAt"))


def _wallet(state: dict[str, Any], version: Any, metadata: Any, updated_at: Any) -> Wallet | Unreadable:
    """The wallet that an event or a document shows."""
    try:
        return Wallet(
            id=_text(state["walletId"]),
            owner_id=_text(state["ownerId"]),
            currency=_text(state["currency"]),
            status=WalletStatus(state["status"]),
            balance=_money(state["balance"]),
            held_balance=_money(state["heldBalance"]),
            version=version,
            metadata=orjson.dumps(metadata).decode(),
            created_at=datetime.fromisoformat(state["createdAt"]),
            updated_at=datetime.fromisoformat(updated_at),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        return Unreadable(f"{type(error).__name__}: {error}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r}, expected text")
    return value


def _money(value: Any) -> Decimal:
    amount = Decimal(value)
    if not amount.is_finite():
        raise ValueError(f"{value!r}, expected money")
    return amount
