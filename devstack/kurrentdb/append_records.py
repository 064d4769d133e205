"""AppendRecords: events for many streams in one append, all or none, in the order given, each stream checked.

All of it there already is a success with the first revisions and position. Anything else must fit every check: if one
does not, nothing is written, and the refusal lists every stream that stands elsewhere, those whose events are there
included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grpc

from devstack.kurrentdb import errors, status
from devstack.kurrentdb.appends import Appends, Lost
from devstack.kurrentdb.faults import Faults
from devstack.kurrentdb.record_requests import read_checks, read_records
from devstack.kurrentdb.records import TOMBSTONE_REVISION, Proposed
from devstack.kurrentdb.writer import ANY, Check, Progress, Verdict, Writer
from worker.outbox.protos import streams_v2_pb2 as v2


@dataclass(frozen=True, slots=True)
class WrittenRecords:
    """The last revision of each stream, in the order of the request, and the last record's position."""

    revisions: Sequence[tuple[str, int]]
    position: int
    progress: Progress = Progress.NEW


class RefusedRecords(NamedTuple):
    """What stands elsewhere than its check says: check's index, stream, expected and actual state."""

    violations: Sequence[status.Violation]
    progress: Progress = Progress.SETTLED


class AppendRecordsCall:
    """The call, over one Appends."""

    def __init__(self, appends: Appends, faults: Faults) -> None:
        self._appends = appends
        self._faults = faults

    async def append_records(self, request: bytes, _context: object) -> bytes:
        """Append the request's records; end the call with a refusal that says why."""
        if not self._faults.append_records:
            raise errors.CallError(grpc.StatusCode.UNIMPLEMENTED, "Method is unimplemented.")
        message = v2.AppendRecordsRequest.FromString(request)
        events = read_records(message.records)
        checks = read_checks(message.checks)
        outcome = await self._appends.run(lambda writer: append_all(writer, events, checks))
        if outcome is Lost.CUT:
            raise errors.cut()
        if outcome is Lost.TIMEOUT:
            raise errors.CallError(
                grpc.StatusCode.DEADLINE_EXCEEDED, "Append records timed out while waiting for commit."
            )
        if isinstance(outcome, RefusedRecords):
            raise status.consistency_violation(outcome.violations)
        return _reply(outcome)


def _reply(written: WrittenRecords) -> bytes:
    revisions = [v2.StreamRevision(stream=name, revision=revision) for name, revision in written.revisions]
    return v2.AppendRecordsResponse(revisions=revisions, position=written.position).SerializeToString()


def append_all(
    writer: Writer, events: Sequence[tuple[str, Proposed]], checks: dict[str, tuple[int, int]]
) -> WrittenRecords | RefusedRecords:
    """Check and write `events`; `checks` gives for a stream the check's index and the expected state."""
    ids: dict[str, list[bytes]] = {}
    for name, event in events:
        ids.setdefault(name, []).append(event.event_id)
    found = {name: writer.check(name, checks[name][1] if name in checks else ANY, of) for name, of in ids.items()}
    violations = _violations_elsewhere(writer, checks, ids)
    if not violations and all(check.verdict is Verdict.REPEAT for check in found.values()):
        return _repeated(writer, events, found)
    for name, check in found.items():
        if check.verdict is not Verdict.WRITE:
            index, expected = checks.get(name, (-1, ANY))
            violations.append(status.Violation(index, name, expected, _actual(writer, name, expected, check)))
    if violations:
        return RefusedRecords(sorted(violations))
    position = writer.write(events)
    streams = writer.index.streams
    return WrittenRecords([(name, len(streams[name].ordinals) - 1) for name in ids], position)


def _violations_elsewhere(
    writer: Writer, checks: dict[str, tuple[int, int]], written: Iterable[str]
) -> list[status.Violation]:
    """Checks of streams that get no event, and do not hold."""
    violations = []
    for name in checks.keys() - written:
        index, expected = checks[name]
        stream = writer.index.find(name)
        actual = status.actual_state(stream.revision if stream else -1, stream is not None and stream.is_soft_deleted)
        if not status.fits(expected, actual, stream.revision if stream else -1):
            violations.append(status.Violation(index, name, expected, actual))
    return violations


def _actual(writer: Writer, name: str, expected: int, check: Check) -> int:
    stream = writer.index.find(name)
    if stream is None:
        return -1
    if stream.revision == TOMBSTONE_REVISION:
        return status.TOMBSTONED
    return status.DELETED if check.verdict is Verdict.DELETED else stream.revision


def _repeated(writer: Writer, events: Sequence[tuple[str, Proposed]], found: dict[str, Check]) -> WrittenRecords:
    revisions = [(name, writer.repeated(name, check.ordinal).revision) for name, check in found.items()]
    last = max(check.ordinal for check in found.values())
    return WrittenRecords(revisions, writer.index.positions[found[events[-1][0]].ordinal], writer.progress_of(last))
