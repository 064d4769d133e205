"""Times as they travel: RFC 3339 in UTC with six places, such as ``2026-11-22T12:00:00.000000Z``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_time(value: datetime) -> str:
    """Write an aware `value` in UTC with microseconds."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def from_milliseconds(value: int) -> datetime:
    """A Kafka timestamp (ms since 1970; -1 where there is none, which reads as 1970) as an aware time."""
    return _EPOCH + timedelta(milliseconds=max(value, 0))
