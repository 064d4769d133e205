"""Questions to Elasticsearch, as a back office would ask them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from elasticsearch import Elasticsearch

from demo.errors import StalledError

CATCH_UP_S = 120.0
POLL_S = 0.25


def wait_for_lines(client: Elasticsearch, lines: int, look: Callable[[], None]) -> float:
    """Wait until the statement has `lines` lines; return how many seconds it took."""
    began = time.monotonic()
    while True:
        client.indices.refresh(index="wallet-ledger")
        found = client.count(index="wallet-ledger")["count"]
        if found >= lines:
            return time.monotonic() - began
        if time.monotonic() - began > CATCH_UP_S:
            raise StalledError("projector", f"Elasticsearch has {found} of {lines} lines after {CATCH_UP_S:.0f} s")
        look()
        time.sleep(POLL_S)


def wait_for_hold(client: Elasticsearch, hold_id: str, status: str, look: Callable[[], None]) -> dict[str, Any]:
    """Wait until a hold is in that status, and return its document."""
    began = time.monotonic()
    while True:
        client.indices.refresh(index="wallet-holds")
        found = _documents(client.search(index="wallet-holds", query={"term": {"holdId": hold_id}}))
        if found and found[0]["status"] == status:
            return found[0]
        if time.monotonic() - began > CATCH_UP_S:
            raise StalledError("scheduler", f"the hold is not {status} after {CATCH_UP_S:.0f} s: {found}")
        look()
        time.sleep(POLL_S)


def richest(client: Elasticsearch, currency: str, count: int) -> list[dict[str, Any]]:
    """The `count` wallets of `currency` with the highest balances."""
    client.indices.refresh(index="wallets")
    return _documents(
        client.search(
            index="wallets",
            query={"term": {"currency": currency}},
            sort=[{"balanceMinor": "desc"}, {"walletId": "asc"}],
            size=count,
        )
    )


def statement(client: Elasticsearch, wallet_id: str, count: int) -> list[dict[str, Any]]:
    """The last `count` lines of a wallet's statement, the newest first."""
    return _documents(
        client.search(
            index="wallet-ledger", query={"term": {"walletId": wallet_id}}, sort=[{"version": "desc"}], size=count
        )
    )


def _documents(found: Any) -> list[dict[str, Any]]:
    return [hit["_source"] for hit in found["hits"]["hits"]]
