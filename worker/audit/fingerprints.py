"""Two ways to the same events, compared without holding either: for each wallet a sum of its events' fingerprints.

The log adds, the ledger takes away; what is not 0 at the end differs. Order does not matter to a sum, so each side is
read once, in the order that is cheap for it. Memory: some 200 bytes a wallet, whatever the number of its events.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from hashlib import blake2b
from uuid import UUID

from worker.audit.compare_stream import own_properties
from worker.audit.fields import read_object, write_json
from worker.audit.streams import hidden_by
from worker.contracts.events import STREAM_PREFIX
from worker.contracts.fields import UUID_PATTERN
from worker.ledger.entry import NewEvent
from worker.projection.document import RecordedEvent
from worker.projection.follow import METADATA_PREFIX, WALLETS_AND_METADATA, EventLog

FINGERPRINT_BYTES = 16

_is_uuid = re.compile(UUID_PATTERN).fullmatch


class EventSums:
    """For each wallet, its events in the log less those of its ledger."""

    def __init__(self) -> None:
        self._sums: dict[bytes, int] = {}
        self.strangers: set[str] = set()
        """Streams named like a wallet's whose id is no UUID."""
        self._hidden: set[str] = set()
        self._position: int | None = None
        self._events = 0

    async def add_log(self, log: EventLog) -> AsyncIterator[int]:
        """Add every event that the log has by now, a batch at a time; gives the number of those read so far.

        Where the log goes away, the next call goes on behind the last batch.
        """
        last = await log.last_event(WALLETS_AND_METADATA)
        if last is None:
            return
        async with log.subscribe(self._position, WALLETS_AND_METADATA) as subscription:
            while self._position is None or self._position < last.commit_position:
                batch = await subscription.take_batch()
                for event in batch:
                    self._add_recorded(event)
                self._position = batch[-1].commit_position
                self._events += len(batch)
                yield self._events

    def subtract(self, event: NewEvent) -> None:
        """Take away an event as the ledger makes it."""
        fingerprint = _fingerprint(event.version, event.event_id, event.type, event.data, event.properties)
        self._add(_key(event.wallet_id), -fingerprint)

    def differing(self) -> set[str]:
        """The wallets whose events differ, or of whose streams the metadata hides some."""
        return {str(UUID(bytes=wallet)) for wallet in self._sums} | self._hidden

    def _note_metadata(self, wallet_id: str, event: RecordedEvent) -> None:
        """The last change of a stream's metadata counts."""
        hides = hidden_by(read_object(event.data)) is not None and _is_uuid(wallet_id)
        (self._hidden.add if hides else self._hidden.discard)(wallet_id)

    def _add_recorded(self, event: RecordedEvent) -> None:
        if event.stream.startswith(METADATA_PREFIX):
            self._note_metadata(event.stream.removeprefix(f"{METADATA_PREFIX}{STREAM_PREFIX}"), event)
            return
        wallet_id = event.stream.removeprefix(STREAM_PREFIX)
        if not _is_uuid(wallet_id):
            self.strangers.add(event.stream)
            return
        properties = own_properties(event.metadata)
        self._add(_key(wallet_id), _fingerprint(event.revision, event.id, event.type, event.data, properties))

    def _add(self, wallet: bytes, fingerprint: int) -> None:
        total = self._sums.pop(wallet, 0) + fingerprint
        if total:
            self._sums[wallet] = total


def _key(wallet_id: str) -> bytes:
    return bytes.fromhex(wallet_id.replace("-", ""))


def _fingerprint(version: int, event_id: str, type_: str, data: bytes, properties: dict[str, str]) -> int:
    head = write_json([version, event_id, type_, properties])
    return int.from_bytes(blake2b(head + data, digest_size=FINGERPRINT_BYTES).digest())
