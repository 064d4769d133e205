"""The decision: a command, the wallets as they stand and the time give facts, or a rejection.

Pure: no I/O, no clock, no ids of its own. Each check is an early return, in the contract's order of refusal ("Order of
refusal, first one wins"; the source before the target): CommandExpired, SameWallet, WalletNotFound or
WalletAlreadyExists, EventConcurrency, WalletNotActive, CurrencyMismatch, InsufficientFunds, BalanceLimitExceeded. What
comes before these (unreadable, repeated) was settled before a command gets here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import assert_never

import orjson

from worker.contracts.commands import Command, CreateWallet, CreditWallet, DebitWallet, Transfer, VersionedCommand
from worker.contracts.money import BALANCE_MAX
from worker.contracts.status import WalletStatus
from worker.domain import rejections as no
from worker.domain.facts import Fact, WalletCreated, WalletCredited, WalletDebited
from worker.domain.rejections import Rejected
from worker.domain.wallet import Wallet

Wallets = Mapping[str, Wallet]
Decision = tuple[Fact, ...] | Rejected


def decide(command: Command, wallets: Wallets, now: datetime) -> Decision:
    """What `command` does to `wallets` at `now`: the facts, in order, or why it is refused.

    `wallets` holds every wallet that the command names and that exists, as the commands before it left it.
    """
    if command.not_after is not None and now > command.not_after:
        return no.command_expired(command.not_after, now)
    match command:
        case Transfer():
            return _transfer(command, wallets)
        case CreditWallet():
            return _credit(command, wallets)
        case DebitWallet():
            return _debit(command, wallets)
        case CreateWallet():
            return _create(command, wallets)
        case _:
            assert_never(command)


def wallet_ids(command: Command) -> tuple[str, ...]:
    """The wallets that `command` names, the source before the target; each once."""
    if isinstance(command, Transfer):
        if command.from_wallet_id == command.to_wallet_id:
            return (command.from_wallet_id,)
        return command.from_wallet_id, command.to_wallet_id
    return (command.wallet_id,)


def _create(command: CreateWallet, wallets: Wallets) -> Decision:
    if command.wallet_id in wallets:
        return no.wallet_already_exists(command.wallet_id)
    metadata = orjson.dumps(command.metadata or {}).decode()
    return (WalletCreated(command.wallet_id, command.owner_id, command.currency, command.initial_balance, metadata),)


def _credit(command: CreditWallet, wallets: Wallets) -> Decision:
    wallet = wallets.get(command.wallet_id)
    if wallet is None:
        return no.wallet_not_found(command.wallet_id)
    return (
        _at_other_version(command, wallet)
        or _closed(wallet)
        or _other_currency(command.currency, wallet)
        or _over_the_limit(wallet, command.amount)
        or (WalletCredited(wallet.id, command.amount),)
    )


def _debit(command: DebitWallet, wallets: Wallets) -> Decision:
    wallet = wallets.get(command.wallet_id)
    if wallet is None:
        return no.wallet_not_found(command.wallet_id)
    return (
        _at_other_version(command, wallet)
        or _not_active(wallet)
        or _other_currency(command.currency, wallet)
        or _short(wallet, command.amount)
        or (WalletDebited(wallet.id, command.amount),)
    )


def _transfer(command: Transfer, wallets: Wallets) -> Decision:
    if command.from_wallet_id == command.to_wallet_id:
        return no.same_wallet(command.from_wallet_id)
    source, target = wallets.get(command.from_wallet_id), wallets.get(command.to_wallet_id)
    if source is None:
        return no.wallet_not_found(command.from_wallet_id)
    if target is None:
        return no.wallet_not_found(command.to_wallet_id)
    return (
        _at_other_version(command, source)
        or _not_active(source)
        or _closed(target)
        or _other_currency(command.currency, source)
        or _other_currency(source.currency, target)
        or _short(source, command.amount)
        or _over_the_limit(target, command.amount)
        or (
            WalletDebited(source.id, command.amount, target.id),
            WalletCredited(target.id, command.amount, source.id),
        )
    )


def _at_other_version(command: VersionedCommand, wallet: Wallet) -> Rejected | None:
    expected = command.expected_version
    return no.event_concurrency(wallet, expected) if expected is not None and expected != wallet.version else None


def _closed(wallet: Wallet) -> Rejected | None:
    return no.wallet_not_active(wallet) if wallet.status is WalletStatus.CLOSED else None


def _not_active(wallet: Wallet) -> Rejected | None:
    return no.wallet_not_active(wallet) if wallet.status is not WalletStatus.ACTIVE else None


def _other_currency(currency: str | None, wallet: Wallet) -> Rejected | None:
    if currency is None or currency == wallet.currency:
        return None
    return no.currency_mismatch(wallet, currency)


def _short(wallet: Wallet, amount: Decimal) -> Rejected | None:
    return no.insufficient_funds(wallet, amount) if wallet.available_balance < amount else None


def _over_the_limit(wallet: Wallet, amount: Decimal) -> Rejected | None:
    return no.balance_limit_exceeded(wallet, amount) if wallet.balance + amount > BALANCE_MAX else None
