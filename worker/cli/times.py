"""A time as it is typed: RFC 3339, such as 2026-11-22T12:00:00Z, or a date alone for its beginning in UTC.

A time without an offset is refused: whoever typed it may mean another zone than whoever reads the answer.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import typer

_is_date = re.compile(r"\d{4}-\d{2}-\d{2}").fullmatch


def read_time(text: str) -> datetime:
    """The time that was typed, in UTC; `typer.BadParameter` says what is wrong with any other text."""
    try:
        value = datetime.fromisoformat(f"{text}T00:00Z" if _is_date(text) else text)
        if value.tzinfo is not None:
            return value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        expected = (
            "expected a time such as 2026-11-22T12:00:00Z, or a date such as 2026-11-22 for its beginning in UTC."
        )
        raise typer.BadParameter(f"{text!r}: {expected}") from error
    raise typer.BadParameter(f"{text!r} has no offset, expected one: {text}Z for UTC, or {text}+01:00.")
