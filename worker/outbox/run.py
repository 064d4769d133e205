"""A run: consecutive events of one wallet, to be appended to its stream at an exact revision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from worker.errors import BrokenRunError
from worker.ledger.entry import NewEvent

EVENT_OVERHEAD_BYTES = 1024
"""Counted for what an event takes besides its data: ids, stream, type, properties."""


@dataclass(frozen=True, slots=True)
class Run:
    """Events of `wallet_id` with consecutive versions. The stream must stand at `first - 1` (-1: not be there)."""

    wallet_id: str
    events: Sequence[NewEvent]

    def check_contiguous(self) -> None:
        """Raise `BrokenRunError` unless each event's version is the revision that it would get in the stream.

        Whatever builds a request calls this: an event at another revision than its version cannot be taken back.
        """
        first = self.events[0].version
        for place, event in enumerate(self.events):
            if event.version != first + place or event.wallet_id != self.wallet_id:
                raise BrokenRunError(
                    f"an event of wallet {event.wallet_id} with version {event.version} would be appended to the "
                    f"stream of {self.wallet_id} at revision {first + place}: a defect of the worker; nothing was sent"
                )

    @property
    def first(self) -> int:
        """The version of the first event."""
        return self.events[0].version

    @property
    def last(self) -> int:
        """The version of the last event."""
        return self.events[-1].version

    def after(self, revision: int) -> Run:
        """What a stream that stands at `revision` lacks of this run."""
        return Run(self.wallet_id, [event for event in self.events if event.version > revision])

    def until(self, revision: int) -> Run:
        """What a stream that stands at `revision` has of this run."""
        return Run(self.wallet_id, [event for event in self.events if event.version <= revision])

    def before(self, runs: Iterable[Run]) -> Run:
        """This run, and as much of `runs` as goes on with it."""
        behind = (event for run in runs if run.wallet_id == self.wallet_id for event in run.events)
        return Run(self.wallet_id, [*self.events, *behind])

    def proof(self) -> Run:
        """The last event alone: its success proves that all before it are there, with these ids."""
        return Run(self.wallet_id, self.events[-1:])

    def pieces(self, bytes_max: int) -> Iterator[tuple[Run, int]]:
        """The run with its size; where that is more than `bytes_max`, in pieces of which no two fit together."""
        start, size = 0, 0
        for place, event in enumerate(self.events):
            event_size = len(event.data) + EVENT_OVERHEAD_BYTES
            if size and size + event_size > bytes_max:
                yield Run(self.wallet_id, self.events[start:place]), size
                start, size = place, 0
            size += event_size
        yield (Run(self.wallet_id, self.events[start:]) if start else self), size


def runs_of(events: Iterable[NewEvent]) -> list[Run]:
    """The runs that `events` make. A wallet's events come in the order of their versions.

    A wallet has one run, or several where its versions are not consecutive: the events may be of several transactions,
    and what lies between two of them is another worker's to append.
    """
    by_wallet: dict[str, list[list[NewEvent]]] = {}
    for event in events:
        runs = by_wallet.setdefault(event.wallet_id, [])
        if runs and event.version == runs[-1][-1].version + 1:
            runs[-1].append(event)
        else:
            runs.append([event])
    return [Run(wallet_id, run) for wallet_id, runs in by_wallet.items() for run in runs]


def rounds_of(runs: Iterable[Run]) -> list[list[Run]]:
    """Split `runs` so that no wallet has two in one round; a wallet's runs keep their order from round to round."""
    rounds: list[list[Run]] = []
    seen: Counter[str] = Counter()
    for run in runs:
        if seen[run.wallet_id] == len(rounds):
            rounds.append([])
        rounds[seen[run.wallet_id]].append(run)
        seen[run.wallet_id] += 1
    return rounds
