"""Decide what pays money in, out, or across."""

from __future__ import annotations

import orjson

from worker.contracts.commands import CreateWalletPart, CreditWalletPart, DebitWalletPart, TransferPart
from worker.domain import rejections as no
from worker.domain.checks import at_other_version, closed, not_active, other_currency, over_the_limit, short
from worker.domain.facts import Fact, WalletCreated, WalletCredited, WalletDebited
from worker.domain.merge_patch import merge_patch
from worker.domain.rejections import Rejected
from worker.domain.wallet import Book

Decision = tuple[Fact, ...] | Rejected


def create_wallet(part: CreateWalletPart, book: Book) -> Decision:
    """Open a wallet, unless its id is taken; its metadata is merged into none, so a null in it is dropped."""
    if part.wallet_id in book.wallets:
        return no.wallet_already_exists(part.wallet_id)
    metadata = orjson.dumps(merge_patch({}, part.metadata or {})).decode()
    return (WalletCreated(part.wallet_id, part.owner_id, part.currency, part.initial_balance, metadata),)


def credit_wallet(part: CreditWalletPart, book: Book) -> Decision:
    """Pay in; a suspended wallet takes it too."""
    wallet = book.wallets.get(part.wallet_id)
    if wallet is None:
        return no.wallet_not_found(part.wallet_id)
    return (
        at_other_version(part, wallet)
        or closed(wallet)
        or other_currency(part.currency, wallet)
        or over_the_limit(wallet, part.amount)
        or (WalletCredited(wallet.id, part.amount),)
    )


def debit_wallet(part: DebitWalletPart, book: Book) -> Decision:
    """Pay out what is available."""
    wallet = book.wallets.get(part.wallet_id)
    if wallet is None:
        return no.wallet_not_found(part.wallet_id)
    return (
        at_other_version(part, wallet)
        or not_active(wallet)
        or other_currency(part.currency, wallet)
        or short(wallet, part.amount)
        or (WalletDebited(wallet.id, part.amount),)
    )


def transfer(part: TransferPart, book: Book) -> Decision:
    """Pay from one wallet into another of the same currency."""
    if part.from_wallet_id == part.to_wallet_id:
        return no.same_wallet(part.from_wallet_id)
    source, target = book.wallets.get(part.from_wallet_id), book.wallets.get(part.to_wallet_id)
    if source is None:
        return no.wallet_not_found(part.from_wallet_id)
    if target is None:
        return no.wallet_not_found(part.to_wallet_id)
    return (
        at_other_version(part, source)
        or not_active(source)
        or closed(target)
        or other_currency(part.currency, source)
        or other_currency(source.currency, target)
        or short(source, part.amount)
        or over_the_limit(target, part.amount)
        or (WalletDebited(source.id, part.amount, target.id), WalletCredited(target.id, part.amount, source.id))
    )
