"""Dead letters as text: many as lines under a heading, one with its headers and its value; and for a script.

Whatever a sender wrote is escaped where a terminal would act upon it.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from worker.cli.dead_letters import Letter
from worker.cli.output import printable, say, show_time
from worker.contracts.times import format_time

_LINE = "{:<10}  {:<24}  {:<22}  {:>7}  {:<9}  {:<36}  {:<36}  {:<28}  {}"
KEY_SHOWN_MAX = 36
"""Characters of a key in a list: a wallet's id. Any other may be as long as its sender liked."""

HEADING = _LINE.format(
    "letter", "time (UTC)", "code", "attempt", "truncated", "command", "key", "came from", "why"
)  # fmt: skip


def letter_line(letter: Letter) -> str:
    """One dead letter under `HEADING`."""
    return _LINE.format(
        str(letter.place),
        show_time(letter.written_at),
        printable(letter.code),
        letter.attempt,
        "yes" if letter.is_truncated else "",
        letter.command_id or "",
        _shorten(_show(letter.key)),
        printable(f"{letter.topic} {letter.partition}:{letter.offset}"),
        printable(letter.message),
    )


def print_letter(letter: Letter) -> None:
    """Show one dead letter whole: its headers, its key, and its value, as JSON with indents where it is JSON."""
    say(f"letter {letter.place}, {show_time(letter.written_at)}")
    for name, value in letter.headers:
        say(f"{printable(name)}: {_show(value)}")
    say(f"key: {_show(letter.key)}")
    say("no value" if letter.value is None else f"value, {len(letter.value)} bytes:")
    for line in _pretty(letter.value or b"").splitlines():
        say(printable(line))


def letter_as_json(letter: Letter) -> dict[str, Any]:
    """What `list` shows of a dead letter."""
    return {
        "letter": str(letter.place),
        "time": format_time(letter.written_at),
        "code": letter.code,
        "message": letter.message,
        "attempt": letter.attempt,
        "truncated": letter.is_truncated,
        "commandId": letter.command_id,
        "key": _as_json(letter.key),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
    }


def whole_letter_as_json(letter: Letter) -> dict[str, Any]:
    """All of a dead letter. Bytes are text; where they are not UTF-8, an object with their hexadecimal digits."""
    headers = [[name, _as_json(value)] for name, value in letter.headers]
    return letter_as_json(letter) | {"headers": headers, "value": _as_json(letter.value)}


def _pretty(value: bytes) -> str:
    """JSON with indents where that shows all that was sent; else, as with a key that comes twice, as it came."""
    try:
        content = orjson.loads(value)
        if _without_spaces(orjson.dumps(content)) == _without_spaces(value):
            return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        # Not JSON, or too deep to be written again.
        pass
    return value.decode(errors="backslashreplace")


def _without_spaces(text: bytes) -> bytes:
    return re.sub(rb"\s", b"", text)


def _shorten(text: str) -> str:
    return text if len(text) <= KEY_SHOWN_MAX else f"{text[: KEY_SHOWN_MAX - 1]}…"


def _show(value: bytes | None) -> str:
    return "" if value is None else printable(value.decode(errors="backslashreplace"))


def _as_json(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"hex": value.hex()}
