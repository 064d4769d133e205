"""The holds of the ledger folded, entry by entry, and held against what each entry says of its hold. Pure.

The fold is `evolve_hold`, the same that made the holds. An entry carries the whole hold as it is after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from worker.audit.entry_fact import UnreadableEntry, fact_of
from worker.audit.report import NONE, Difference, Store, show
from worker.contracts.status import HoldStatus, HoldType
from worker.domain.evolve import evolve_hold
from worker.domain.facts import HoldCaptured, HoldExpired, HoldPlaced, HoldReleased
from worker.domain.wallet import Hold
from worker.ledger.entry import Entry


def hold_of(entry: Entry) -> Hold | None:
    """The hold as an entry says that it is after it; None where it says nothing that can be read."""
    if entry.hold is None:
        return None
    try:
        return _hold(entry.wallet_id, orjson.loads(entry.hold))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None


def compare_hold(entry: Entry, said: Hold, before: Hold | None) -> Iterator[Difference]:
    """Where what `entry` says of its hold is not what it makes of the active hold `before` it (None: there is none).

    That it is no entry at all is said by the fold of the wallet.
    """
    try:
        fact = fact_of(entry, "", "")
    except UnreadableEntry:
        return
    if not isinstance(fact, HoldPlaced | HoldReleased | HoldCaptured | HoldExpired):
        return
    if (before is None) != isinstance(fact, HoldPlaced):
        expected = NONE if before is not None else HoldStatus.ACTIVE
        yield _in_ledger(entry, f"hold {said.id} before it", expected, before and before.status)
        return
    for name, one, other in _unequal(evolve_hold(before, fact, entry.occurred_at), said):
        yield _in_ledger(entry, f"hold {name}", one, other)


def compare_hold_row(wallet_id: str, hold: Hold, row: Hold | None) -> Iterator[Difference]:
    """Where the row of `holds` is not what the ledger came to; None: there is no row."""
    what = f"holds row {hold.id}"
    if row is None:
        yield Difference(wallet_id, Store.POSTGRES, what, hold.status, NONE)
        return
    for name, expected, found in _unequal(hold, row):
        yield Difference(wallet_id, Store.POSTGRES, f"{what} {name}", show(expected), show(found))


def _unequal(expected: Hold, found: Hold) -> Iterator[tuple[str, object, object]]:
    for name, one, other in zip(Hold._fields, expected, found, strict=True):
        if one != other:
            yield name, one, other


def _hold(wallet_id: str, said: dict[str, Any]) -> Hold:
    return Hold(
        id=str(UUID(said["holdId"])),
        wallet_id=wallet_id,
        amount=Decimal(said["amount"]),
        captured_amount=Decimal(said["capturedAmount"]),
        status=HoldStatus(said["status"]),
        type=HoldType(said["type"]),
        reference=said.get("reference"),
        metadata=orjson.dumps(said["metadata"]).decode() if "metadata" in said else None,
        expires_at=_time(said.get("expiresAt")),
        released_at=_time(said.get("releasedAt")),
        captured_at=_time(said.get("capturedAt")),
        created_at=datetime.fromisoformat(said["createdAt"]),
        updated_at=datetime.fromisoformat(said["updatedAt"]),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _in_ledger(entry: Entry, what: str, expected: object, found: object) -> Difference:
    return Difference(entry.wallet_id, Store.POSTGRES, f"ledger {entry.version} {what}", show(expected), show(found))
