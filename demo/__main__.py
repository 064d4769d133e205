"""The acts, in order, and the exit code: 0 if every record got its one right reply and all stores agree.

1: something was not right, and the last lines say what. 130: interrupted. What was started is stopped in any case.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
from datetime import datetime
from pathlib import Path

from elasticsearch import Elasticsearch

from demo import search, show
from demo.check import Verdict, check_replies
from demo.errors import DemoError
from demo.shop import Shop
from demo.stage import OWN_FOLDER, Stage, empty_folder, migrate, servers, stage, wallex
from demo.story import KINDS, Story, unreadable
from demo.traffic import open_traffic, read_dead_letters
from devstack.errors import DevstackError

COMMANDS = 8_000
PROBLEMS_SHOWN_MAX = 10


def main() -> int:
    """Perform, and return the exit code."""
    arguments = _parser().parse_args()
    # Told to stop politely, it stops its servers as after Ctrl-C.
    # Also in the background of a shell, where Ctrl-C is ignored: either ends it cleanly.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        perform(arguments.folder, arguments.commands, arguments.seed)
    except (DemoError, DevstackError) as error:
        show.console.print(f"\n[bold red]The demo failed.[/] {error}\nLogs: {arguments.folder}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        show.console.print("\nInterrupted; everything that was started is stopped.")
        return 130
    return 0


def perform(folder: Path, commands: int, seed: int) -> None:
    """All acts on a stack in `folder`; DemoError where anything is not as it must be."""
    show.heading("Servers", "Postgres, Kafka, Elasticsearch, Redis, and a stand-in for KurrentDB; for this demo alone.")
    with servers(empty_folder(folder)) as stack:
        for name, port in ((status.server, status.port) for status in stack.status()):
            show.fact(f"{name} on port {port}")
        show.heading("Migrations", "The tables: wallets, holds, ledger, commands.")
        show.output("wallex migrate run", migrate(stack.environment()))
        show.heading(
            "Processes",
            "The worker runs the commands, the projector keeps Elasticsearch in sync, the scheduler ends holds.",
        )
        with stage(stack) as here:
            for process in here.processes:
                show.fact(f"wallex {process.command}: ready, log in {process.log}")
            _play(here, Story(seed), commands)
    show.console.print(f"\n[bold green]All is well.[/] Stopped; data and logs are in {folder}", soft_wrap=True)


def _play(here: Stage, story: Story, commands: int) -> None:
    rate, verdict = asyncio.run(_exchange(here, story, commands))
    show.heading("Replies", "Each record got one reply, and each reply is what an independent model says it must be.")
    show.replies(verdict.counted, ["CreateWallet", *KINDS])
    show.fact(f"{len(story.told):,} records, each with its one right reply; {rate:,.0f} commands a second")
    richest = _look_into_search(here, verdict)
    _sell(here)
    show.heading("One wallet", "The richest one of before, as each store has it, side by side.")
    show.output(f"wallex wallet {richest}", wallex(["wallet", richest], here.environment))
    show.heading("Verify", "Every wallet in every store, compared entry by entry, event by event.")
    show.output("wallex verify", wallex(["verify"], here.environment))


async def _exchange(here: Stage, story: Story, commands: int) -> tuple[float, Verdict]:
    """Publish the story; return the rate of its main part and the verdict; DemoError where a reply is wrong."""
    bootstrap_servers = here.environment["KAFKA_BOOTSTRAP_SERVERS"]
    async with open_traffic(bootstrap_servers, here.check) as traffic:
        openings = story.openings(commands)
        show.heading("Opening wallets", "Some in dollars, some in euro, and a treasury as full as a wallet may be.")
        with show.progress("replies", len(openings)) as answered:
            await traffic.send(openings, answered)
        business = story.business(commands)
        show.heading(
            f"Business: {len(business):,} records",
            f"Credits, debits, transfers (seed {story.seed}); among them duplicates, reused ids, rejections, rubbish.",
        )
        with show.progress("replies", len(business)) as answered:
            took = await traffic.send(business, answered)
        await traffic.read_to_end()
    await _check_dead_letters(bootstrap_servers, story)
    verdict = check_replies(story.told, traffic.replies)
    stray = traffic.replies.keys() - {record.correlation_id for record in story.told}
    verdict.problems += [f"a reply to nothing that was sent: {correlation_id!r}" for correlation_id in stray]
    if verdict.problems:
        shown = "\n".join(verdict.problems[:PROBLEMS_SHOWN_MAX])
        raise DemoError(f"{len(verdict.problems)} replies are not what they must be:\n{shown}")
    return len(business) / took, verdict


async def _check_dead_letters(bootstrap_servers: str, story: Story) -> None:
    """What could not be read must be kept, byte for byte, and nothing else."""
    expected = {record.correlation_id: record.value for record in unreadable(story.told)}
    found = await read_dead_letters(bootstrap_servers, len(expected))
    letters = {dict(letter.headers)["correlation_id"]: letter.value for letter in found}
    if letters != expected or len(found) > len(expected):
        wrong = dict(letters.items() ^ expected.items())
        raise DemoError(
            f"the dead letter topic holds {len(found)} records, expected {len(expected)}; differing: {wrong}"
        )
    show.fact(f"{len(letters)} records that could not be read are kept in the dead letter topic, as they came")


def _look_into_search(here: Stage, verdict: Verdict) -> str:
    """Find in Elasticsearch what the model expects; return the richest wallet's id."""
    with Elasticsearch(here.environment["ELASTICSEARCH_URL"]) as client:
        show.heading("Search", "The projector writes each event's outcome to Elasticsearch: wallets, and statements.")
        waited = search.wait_for_lines(client, verdict.model.events, here.check)
        show.fact(f"all {verdict.model.events:,} lines of the statements were there {waited:.1f} s later")
        found = search.richest(client, "USD", 5)
        fields = {"walletId": "wallet", "ownerId": "owner", "balance": "balance", "version": "version"}
        show.documents("the five richest wallets in dollars", found, fields)
        expected = [(wallet.id, f"{wallet.balance:.4f}") for wallet in verdict.model.richest("USD", 5)]
        if [(wallet["walletId"], wallet["balance"]) for wallet in found] != expected:
            raise DemoError(f"Elasticsearch's richest wallets are not those of the model: {expected}")
        lines = search.statement(client, found[0]["walletId"], 6)
        fields = {"version": "version", "eventType": "event", "amount": "amount", "balance": "balance"}
        show.documents("the last lines of the first one's statement", lines, {**fields, "occurredAt": "at"})
    return str(found[0]["walletId"])


def _sell(here: Stage) -> None:
    """Holds, expiry, groups and a wallet's whole life, as a shop sees them."""
    show.heading("A shop", "Holds reserve, captures pay; told through the Python client that upstream services import.")
    story = Shop()
    asyncio.run(story.sell(here.environment))
    show.steps("a shop authorises, captures a part, and waits", story.steps)
    with Elasticsearch(here.environment["ELASTICSEARCH_URL"]) as client:
        expired = search.wait_for_hold(client, str(story.expiring), "EXPIRED", here.check)
    late = (datetime.fromisoformat(expired["updatedAt"]) - story.expires_at).total_seconds()
    show.fact(f"the forgotten hold expired by itself, {late:.1f} s after its time; its 30 are available again")
    told = len(story.steps)
    asyncio.run(story.wind_up(here.environment))
    show.steps("a group fails as a whole; a wallet is suspended, and closed in the end", story.steps[told:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Show the main job, from nothing to verified.")
    parser.add_argument("--commands", type=int, default=COMMANDS, help=f"records besides the openings ({COMMANDS})")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="tell the same story again")  # noqa: S311
    parser.add_argument("--folder", type=Path, default=OWN_FOLDER, help="where its data goes (.devstack-demo)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
