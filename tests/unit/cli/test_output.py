"""What is shown of what a stranger wrote: a terminal acts upon none of it, and no reader is led astray."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import typer

from worker.cli.output import fail, new_table, plain, print_json, print_json_text, print_table, printable, say
from worker.cli.reply_table import print_reply, reply_lines
from worker.contracts.replies import Error, ErrorCode, Reply

HOSTILE = {
    "C0": "\x00\x07\x08\x1b[2J\x1f",
    "line breaks": "\t\n\v\f\r\x1c\x85\u2028\u2029",
    "DEL and C1": "\x7f\x80\x9b31m\x9f",
    "direction": "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    "no width": "\u00ad\u200b\u200c\u200d\u2060\ufeff\U000e0041",
    "spaces": "\u00a0\u2003\u3000",
}
ALL = "".join(HOSTILE.values())
READABLE = "Zoë [red] 日本 💰 \\x1b"


def is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_a_terminal_would_act_upon_is_escaped(text):
    """Character by character; what is escaped once stays so."""
    shown = printable(f"a{text}b")

    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert printable(shown) == shown


def test_what_can_be_read_stays_as_it_is():
    """Letters of every script, and signs."""
    assert printable(READABLE) == READABLE


def test_a_line_is_one_line(capsys):
    """On stdout or stderr."""
    say(f"owner {ALL}")
    say(f"owner {ALL}", err=True)
    with pytest.raises(typer.Exit):
        fail(f"no {ALL}", 1)

    said = capsys.readouterr()
    assert (said.out.count("\n"), said.err.count("\n")) == (1, 2)
    assert is_harmless(said.out + said.err)


@pytest.mark.parametrize("text", [*HOSTILE.values(), READABLE])
def test_json_means_the_same_and_does_nothing(text, capsys):
    """What is escaped is escaped as JSON can, so a script reads what was written."""
    content = {"ownerId": text, text: [text]}

    print_json(content)
    print_json_text(json.dumps(content, ensure_ascii=False, indent=1))

    one, *others = capsys.readouterr().out.splitlines()
    assert is_harmless(one)
    assert json.loads(one) == content
    assert json.loads("\n".join(others)) == content
    assert all(map(str.isprintable, others))


def test_a_table_shows_a_cell_and_a_title_as_text(capsys):
    """Neither as a terminal's commands nor as markup."""
    table = new_table(f"wallet [red]{ALL}", ("a", "b"))
    table.add_row(*plain(f"[red]{ALL}", None))

    print_table(table)

    out = capsys.readouterr().out
    assert is_harmless(out)
    assert out.count("[red]") == 2


def test_a_reply_that_somebody_else_wrote_is_harmless(capsys):
    """The reply topic is everybody's: message, details and type are texts of strangers."""
    error = Error(code=ErrorCode.INVALID_COMMAND, message=ALL, details={f"k{ALL}": ALL})
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    reply = Reply(command_id=None, type=ALL, status="rejected", processed_at=now, error=error, wallets=[])

    print_reply(reply, replayed=False)
    for line in reply_lines(reply, replayed=True):
        say(line)

    out = capsys.readouterr().out
    assert out.count("\n") == 4
    assert is_harmless(out)
