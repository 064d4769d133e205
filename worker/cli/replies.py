"""`wallex replies`: the reply topic as a table, oldest first, or as it grows.

Streams: nothing is held but what Kafka sends at a time. Records that are no replies are passed over and counted.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import orjson
import typer
from aiokafka import ConsumerRecord

from worker.cli.output import fail, print_json, quiet_clients, say
from worker.cli.reply_table import HEADING, reply_lines
from worker.cli.reply_topic import KafkaAway, is_replayed, kafka_errors, open_consumer, read_reply
from worker.cli.topic_reader import read_topic
from worker.contracts.replies import Reply
from worker.settings import Settings

Follow = Annotated[bool, typer.Option("--follow", help="Go on with what comes, until interrupted.")]
Status = Annotated[
    Literal["accepted", "rejected"] | None, typer.Option("--status", help="Only these.", show_default=False)
]
WalletId = Annotated[str | None, typer.Option("--wallet", help="Only those that name it.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object a line, with `replayed` added.")]


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("replies")(replies)


def replies(follow: Follow = False, status: Status = None, wallet: WalletId = None, as_json: AsJson = False) -> None:
    """Read REPLY_TOPIC from its beginning to its present end."""
    settings = Settings.load()
    quiet_clients(settings)
    try:
        asyncio.run(_show(settings, _Filter(status, wallet), follow=follow, as_json=as_json))
    except KafkaAway as error:
        fail(str(error), 1)


class _Filter:
    """Which replies are wanted."""

    def __init__(self, status: str | None, wallet_id: str | None) -> None:
        self._status, self._wallet_id = status, wallet_id.lower() if wallet_id else None

    def wants(self, reply: Reply, key: bytes | None) -> bool:
        """Whether `reply`, under the key of its command, is one of them."""
        if self._status is not None and reply.status != self._status:
            return False
        return self._wallet_id is None or self._wallet_id in _wallets(reply, key)


def _wallets(reply: Reply, key: bytes | None) -> set[str]:
    """The wallets that the reply is about: one that does not exist stands in the details, or is the key."""
    named = {wallet.wallet_id for wallet in reply.wallets} | {(key or b"").decode(errors="replace")}
    return named | ({str(reply.error.details.get("walletId"))} if reply.error else set())


async def _show(settings: Settings, filter_: _Filter, *, follow: bool, as_json: bool) -> None:
    foreign = 0
    async with open_consumer(settings) as consumer:
        if not as_json:
            say(HEADING)
        with kafka_errors(settings):
            async for record in read_topic(consumer, settings.reply_topic, follow=follow):
                reply = read_reply(record.value)
                if reply is None:
                    foreign += 1
                elif filter_.wants(reply, record.key):
                    _print(record, reply, as_json=as_json)
    if foreign:
        say(f"wallex: passed over {foreign} records of {settings.reply_topic} that are no replies", err=True)


def _print(record: ConsumerRecord, reply: Reply, *, as_json: bool) -> None:
    if as_json:
        print_json(orjson.loads(record.value) | {"replayed": is_replayed(record)})
        return
    for line in reply_lines(reply, replayed=is_replayed(record)):
        say(line)
