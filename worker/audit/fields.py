"""Two JSON objects, field by field: where they differ, and both values as a person reads them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from worker.audit.report import NONE

_MISSING = object()
TOO_DEEP = b'"nested too deeply to be shown"'


def unequal(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The name of each field that is not the same in both, with what was expected and what was found."""
    if expected == found:
        return
    for name in [*expected, *(name for name in found if name not in expected)]:
        one, other = expected.get(name, _MISSING), found.get(name, _MISSING)
        if one != other:
            yield name, _show_json(one), _show_json(other)


def read_object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`; what is not one is shown as it is."""
    try:
        content = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError:
        content = None
    return content if isinstance(content, dict) else {"unreadable": text.decode(errors="replace")}


def _show_json(value: object) -> str:
    if value is _MISSING:
        return NONE
    return value if isinstance(value, str) else write_json(value).decode()


def write_json(value: object) -> bytes:
    """`value`, which was read as JSON, as JSON. What is nested so deeply that it cannot be written is `TOO_DEEP`."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return TOO_DEEP
