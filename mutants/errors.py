"""What ends a mutation run before it could tell anything."""

from __future__ import annotations


class MutantsError(Exception):
    """A mutant or a test run is not what it must be; the text says what, and what to do."""
