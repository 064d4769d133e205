"""Which events of `$all` a read wants: by stream name or event type, by regular expression or prefix.

Verdicts are kept by stream or type number, so an expression is tried once on each name, not on each event.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from devstack.kurrentdb import errors
from devstack.kurrentdb.index import Index


class Filter:
    """Tells hidden, unwanted and wanted events of `$all` apart."""

    def __init__(self, index: Index, matches: Callable[[str], bool] | None = None, by_type: bool = False) -> None:
        self._index = index
        self._matches = matches
        self._numbers, self._names = (index.type_of, index.types) if by_type else (index.stream_of, index.names)
        self._verdicts: dict[int, bool] = {}

    def wants(self, ordinal: int) -> bool | None:
        """True: send it; False: considered, not sent; None: `$all` does not show it at all."""
        index = self._index
        if index.stream_of[ordinal] in index.hidden:
            return None
        if self._matches is None:
            return True
        number = self._numbers[ordinal]
        verdict = self._verdicts.get(number)
        if verdict is None:
            verdict = self._verdicts[number] = self._matches(self._names[number])
        return verdict


def read_filter(index: Index, options: Any) -> Filter:
    """The filter of a read's options; end the call where the expression is none."""
    if options.WhichOneof("filter_option") != "filter":
        return Filter(index)
    chosen = options.filter.WhichOneof("filter")
    if chosen is None:
        raise errors.unhandled()
    expression = getattr(options.filter, chosen)
    return Filter(index, _predicate(expression), by_type=chosen == "event_type")


def _predicate(expression: Any) -> Callable[[str], bool]:
    if not expression.regex:
        prefixes = tuple(expression.prefix)
        return lambda name: name.startswith(prefixes)
    try:
        pattern = re.compile(expression.regex)
    except (re.error, OverflowError, RecursionError):
        # The last two: `x{99999999999}`, and brackets in brackets.
        raise errors.unhandled() from None
    return lambda name: pattern.search(name) is not None
