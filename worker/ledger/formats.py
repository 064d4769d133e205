"""The format in which rows of the ledger are written, and what becomes of a row in a format that is not known here."""

from __future__ import annotations

from worker.errors import Fatal

LEDGER_FORMAT = 1
"""The format of a row that is written now, and of its event. A row is made into its event by the format that the row
has: code that differs from format to format asks for `Entry.format` (docs/architecture.md, "Adding a field")."""

LEDGER_FORMATS_KNOWN = frozenset({1})
"""The formats that can be read. A release knows a format before another release writes it."""


class NewerFormat(Fatal):
    """A later release wrote the row: what it means, and which event it is, is not known here."""

    def __init__(self, what: str, format_number: int) -> None:
        super().__init__(
            f"Postgres has {what} in format {format_number}, which a later release of Wallex has written and this one "
            "cannot read: run that release or a later one"
        )
