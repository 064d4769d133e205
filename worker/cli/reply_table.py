"""Replies as text: one as a small table, many as lines under a heading that is written once."""

from __future__ import annotations

from collections.abc import Iterator

from worker.cli.output import new_table, plain, print_table, say, show_time
from worker.contracts.money import format_money
from worker.contracts.replies import Reply, WalletState

_LINE = "{:<24}  {:<8}  {:<20}  {:<36}  {:<22}  {:<8}  {}"
HEADING = _LINE.format("time (UTC)", "status", "type", "command", "error", "replayed", "wallets after it")


def print_reply(reply: Reply, *, replayed: bool) -> None:
    """Show one reply: what became of the command, and the wallets after it."""
    again = " (its first reply, again)" if replayed else ""
    say(f"{reply.status}{again}  {reply.type}  {reply.command_id}  {show_time(reply.processed_at)}")
    if reply.error is not None:
        say(f"{reply.error.code}: {reply.error.message}")
        for name, value in reply.error.details.items():
            say(f"  {name}: {value}")
    if reply.wallets:
        right = ("version", "balance", "held", "available")
        table = new_table("", ("wallet", "version", "status", "currency", "balance", "held", "available"), right)
        for wallet in reply.wallets:
            money = map(format_money, (wallet.balance, wallet.held_balance, wallet.available_balance))
            table.add_row(*plain(wallet.wallet_id, wallet.version, wallet.status, wallet.currency, *money))
        print_table(table)


def reply_lines(reply: Reply, *, replayed: bool) -> Iterator[str]:
    """One reply as lines under `HEADING`, one for each wallet, at least one."""
    code = reply.error.code if reply.error else ""
    first, *others = [_wallet(wallet) for wallet in reply.wallets] or [""]
    time, again = show_time(reply.processed_at), "yes" if replayed else ""
    line = _LINE.format(time, reply.status, reply.type or "", reply.command_id or "unreadable", code, again, first)
    yield line.rstrip()
    for wallet in others:
        yield _LINE.format("", "", "", "", "", "", wallet)


def _wallet(wallet: WalletState) -> str:
    return f"{wallet.wallet_id}  {format_money(wallet.balance):>20} {wallet.currency}  version {wallet.version}"
