"""What a command's JSON says and its parsed value does not: a key that comes twice, a number that comes back altered.

Parsers keep the last of two equal keys and round a number to the nearest float, both in silence. A sender whose amount
stands there twice, or whose metadata holds an id of 20 digits with a fraction, is told so instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import orjson

REPEATED = "the key stands there twice"
ALTERED = "metadata holds numbers that come back as they went in: integers of 64 bits, fractions of about 16 digits"

_COLONS_BEHIND_SPACE = (b" :", b"\n:", b"\r:", b"\t:")


class Inexact(NamedTuple):
    """Where in a command, by the keys and indices that lead there, and why it is refused."""

    path: tuple[str | int, ...]
    reason: str


class _Repeating(dict[str, Any]):
    """An object with `key` in it more than once."""

    key: str


class _Altered(str):
    """A number as it was written, which would come back as another one."""

    __slots__ = ()


def is_surely_exact(text: bytes, keys: int) -> bool:
    """Whether `text`, in which `keys` different keys were read, has no further one: a cheap test that may say no.

    Each key has a colon, behind its quote or behind white space; a text may have more of them.
    """
    if text.count(b":") == keys:
        return True
    return text.count(b'":') == keys and not any(colon in text for colon in _COLONS_BEHIND_SPACE)


def find_inexact(text: bytes | str) -> Inexact | None:
    """The first key that comes twice, anywhere in the command `text`, or number in its metadata that is not kept.

    `text` is valid JSON that is not too deep to be read.
    """
    found: list[object] = []

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) == len(pairs):
            return content
        repeating = _Repeating(content)
        repeating.key = _first_repeated(name for name, _ in pairs)
        found.append(repeating)
        return repeating

    def read_number(number: str) -> object:
        if _is_kept(number):
            return 0
        altered = _Altered(number)
        found.append(altered)
        return altered

    content = json.loads(text, object_pairs_hook=read_object, parse_float=read_number, parse_int=read_number)
    # Seldom anything is found, and only then it matters where.
    return next(_walk(content, ()), None) if found else None


def _first_repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise ValueError("no name comes twice")


def _walk(value: object, path: tuple[str | int, ...]) -> Iterator[Inexact]:
    if isinstance(value, _Repeating):
        yield Inexact((*path, value.key), REPEATED)
    if isinstance(value, _Altered) and _in_metadata(path):
        yield Inexact(path, ALTERED)
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))


def _in_metadata(path: tuple[str | int, ...]) -> bool:
    """Numbers elsewhere are amounts and versions, which have rules of their own."""
    return path[:1] == ("metadata",) or (path[:1] == ("commands",) and path[2:3] == ("metadata",))


def _is_kept(number: str) -> bool:
    """Whether a number's value comes back exactly: `1.50` does, as 1.5."""
    try:
        again = orjson.dumps(orjson.loads(number)).decode()
        return again == number or Decimal(number) == Decimal(again)
    except (orjson.JSONDecodeError, InvalidOperation):
        # Beyond what a float, or even `Decimal`, holds.
        return False
