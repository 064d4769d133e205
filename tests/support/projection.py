"""What the projection's tests share: wallets' events as the worker makes them, and a KurrentDB of their own for them.

The stand-in runs as a process, on a port that it keeps over a restart; it may be paused and killed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

from esdbclient import EventStoreDBClient, StreamState
from esdbclient import NewEvent as StoredEvent

from tests.support.commands import Command
from tests.support.memory_ledger import MemoryLedger
from tests.support.received import received
from worker.errors import Unavailable
from worker.ledger.entry import Constants, Entry, NewEvent, event_id, new_event
from worker.ledger.formats import LEDGER_FORMAT
from worker.projection.document import RecordedEvent
from worker.projection.follow import EventLog
from worker.projection.index import PROJECTIONS, Projection

STARTED_AT = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
START_TIMEOUT_S = 30


class StandIn:
    """A KurrentDB stand-in of a test's own, with its log in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = f"esdb://127.0.0.1:{self._port}?Tls=false"

    async def start(self) -> None:
        """Start it, or start it again, and return once it answers."""
        command = ["-m", "devstack.kurrentdb", "--port", str(self._port), "--data", self._folder / "data"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)  # noqa: ASYNC220
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._answers():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let it fall silent with its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def append(self, events: Sequence[NewEvent]) -> None:
        """Append `events`, all of one wallet, behind those before them."""
        stored = [
            StoredEvent(
                type=event.type,
                data=event.data,
                metadata=json.dumps(event.properties).encode(),
                id=UUID(event.event_id),
            )
            for event in events
        ]
        self.append_stored(f"wallet-{events[0].wallet_id}", stored)

    def append_stored(self, stream: str, events: Sequence[StoredEvent]) -> None:
        """Append anything to `stream`."""
        client = EventStoreDBClient(self.uri)
        try:
            client.append_to_stream(stream, current_version=StreamState.ANY, events=list(events))
        finally:
            client.close()

    async def _answers(self) -> bool:
        try:
            async with EventLog.connect(self.uri) as events:
                await events.last_event()
        except Unavailable:
            return False
        return True


def wallet_events(amounts: Sequence[str], *, first: int = 0, wallet_id: str | None = None, **facts) -> list[NewEvent]:
    """A wallet opened with the first of `amounts` and credited with the others, from version `first` on.

    `facts` overwrite the entry's other fields: `metadata` and `wallet_metadata` are JSON text.
    """
    wallet_id = wallet_id or str(uuid4())
    constants = Constants("owner-1", "USD", STARTED_AT, facts.pop("wallet_metadata", "{}"))
    entries = [
        _entry(wallet_id, version, Decimal(amount), sum(map(Decimal, amounts[: version + 1]), Decimal(0)), facts)
        for version, amount in enumerate(amounts)
    ]
    return [new_event(entry, constants) for entry in entries[first:]]


def _entry(wallet_id: str, version: int, amount: Decimal, balance: Decimal, facts: dict[str, object]) -> Entry:
    command_id = str(uuid4())
    plain = dict.fromkeys(Entry._fields) | {
        "wallet_id": wallet_id,
        "version": version,
        "event_id": event_id(command_id, 0),
        "event_type": "WalletCredited" if version else "WalletCreated",
        "command_id": command_id,
        "amount": amount,
        "balance": balance,
        "held_balance": Decimal(0),
        "status": "ACTIVE",
        "occurred_at": STARTED_AT + timedelta(microseconds=version),
        "format": LEDGER_FORMAT,
    }
    return Entry(**(plain | facts))


def decided(ledger: MemoryLedger, *commands: Command) -> list[NewEvent]:
    """The events of `commands`, which `ledger` accepts: those of one wallet, as they stand behind one another."""
    outcomes = ledger.run([received(command) for command in commands], STARTED_AT)
    assert all(outcome.entries for outcome in outcomes)
    return [event for outcome in outcomes for event in outcome.events]


def as_recorded(events: Sequence[NewEvent], commit_position: int = 0) -> list[RecordedEvent]:
    """`events` as KurrentDB gives them back, from `commit_position` on."""
    return [
        RecordedEvent(
            event.event_id,
            event.type,
            f"wallet-{event.wallet_id}",
            event.version,
            commit_position + place,
            event.data,
            json.dumps(event.properties).encode(),
        )
        for place, event in enumerate(events)
    ]


def under_other_aliases(prefix: str) -> tuple[Projection, ...]:
    """The projections under aliases of a test's own."""
    return tuple(dataclasses.replace(one, alias=f"{prefix}-{one.alias}") for one in PROJECTIONS)
