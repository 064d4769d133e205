"""`wallex projection …`: the read model as a whole.

A rebuild may run while everything else does, and be interrupted or killed at any time: the aliases are switched at its
very end, all at once, and what it left is taken away by the next one.
"""

from __future__ import annotations

import asyncio
import signal

import typer

from worker.cli.bars import show_bars
from worker.cli.output import fail, new_table, plain, print_table, quiet_clients, say
from worker.errors import WallexError
from worker.outbox.event_store import open_check
from worker.projection.elastic import connect_elasticsearch
from worker.projection.rebuild import Progress, Rebuilt, Replaced, rebuild
from worker.settings import Settings

COUNTS = ("documents", "alike", "changed", "newer", "gone", "added")

commands = typer.Typer(help="Build the read model anew.")


def register(app: typer.Typer) -> None:
    """Hang the commands into `app`."""
    app.add_typer(commands, name="projection")


@commands.command("rebuild")
def rebuild_all() -> None:
    """Build all indices anew from KurrentDB beside those that serve, compare them, and switch the aliases in one call.

    Searches and the projector go on meanwhile. Of two at once the later one goes on.

    Exit 0: switched, and the old indices are deleted. Exit 1: it failed, and says why; the old indices serve as before,
    unless it says otherwise.
    """
    settings = Settings.load()
    quiet_clients(settings)
    try:
        with show_bars() as progress:
            rebuilt = asyncio.run(_rebuild(settings, progress))
    except WallexError as error:
        fail(f"not rebuilt: {error}", 1)
    except asyncio.CancelledError:
        fail("stopped: what it had built is taken away", 1)
    _print(rebuilt)


async def _rebuild(settings: Settings, progress: Progress) -> Rebuilt:
    task = asyncio.current_task()
    if task:
        # As Ctrl-C does: what was made is taken away.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    uri = settings.kurrentdb_uri.get_secret_value()
    async with (
        connect_elasticsearch(settings.elasticsearch_url.get_secret_value()) as client,
        open_check(settings) as check,
    ):
        return await rebuild(client, uri, progress, check=check)


def _print(rebuilt: Rebuilt) -> None:
    table = new_table("each index against the one before it", ("before", "now", *COUNTS), right=COUNTS)
    for one in rebuilt.replaced:
        table.add_row(*plain(one.old, one.new, *(f"{count:,}" for count in _counts(one))))
    print_table(table)
    for one in rebuilt.replaced:
        if one.comparison.fields:
            say(f"fields that changed in {one.alias}: {', '.join(sorted(one.comparison.fields))}")
    rate = rebuilt.followed / rebuilt.following_s
    say(
        f"rebuilt from {rebuilt.events:,} events in {rebuilt.seconds:.1f} s ({rate:,.0f} events/s while catching up); "
        "the aliases are switched, the old indices deleted"
    )


def _counts(one: Replaced) -> tuple[int, ...]:
    found = one.comparison
    return one.documents, found.alike, found.changed, found.newer, found.gone, one.added
