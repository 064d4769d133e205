"""Times as they travel: RFC 3339 in UTC with six places, such as ``2026-11-22T12:00:00.000000Z``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999


@lru_cache(maxsize=4096)
def format_time(value: datetime) -> str:
    """Write an aware `value` in UTC with microseconds. A batch writes the same few times thousands of times."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def from_milliseconds(value: int) -> datetime:
    """A Kafka timestamp (ms since 1970; -1 where there is none, which reads as 1970) as an aware time.

    The sender may choose any 64-bit number: what lies beyond the year 9999 reads as its end.
    """
    return _EPOCH + timedelta(milliseconds=min(max(value, 0), _LAST_MS))
