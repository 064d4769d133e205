"""Decide what happens to a wallet itself: suspend, reactivate, close, and its metadata."""

from __future__ import annotations

import orjson

from worker.contracts.commands import CloseWalletPart, ReactivateWalletPart, SuspendWalletPart, UpdateMetadataPart
from worker.contracts.fields import METADATA_BYTES_MAX
from worker.contracts.status import WalletStatus
from worker.domain import rejections as no
from worker.domain.checks import at_other_version, closed
from worker.domain.decide_money import Decision
from worker.domain.facts import WalletClosed, WalletMetadataUpdated, WalletReactivated, WalletSuspended
from worker.domain.merge_patch import merge_patch
from worker.domain.wallet import Book


def suspend_wallet(part: SuspendWalletPart, book: Book) -> Decision:
    """Suspend; where it is so already nothing happens, and that is accepted."""
    wallet = book.wallets.get(part.wallet_id)
    if wallet is None:
        return no.wallet_not_found(part.wallet_id)
    happens = () if wallet.status is WalletStatus.SUSPENDED else (WalletSuspended(wallet.id, part.reason),)
    return at_other_version(part, wallet) or closed(wallet) or happens


def reactivate_wallet(part: ReactivateWalletPart, book: Book) -> Decision:
    """Lift a suspension; where there is none nothing happens, and that is accepted."""
    wallet = book.wallets.get(part.wallet_id)
    if wallet is None:
        return no.wallet_not_found(part.wallet_id)
    happens = () if wallet.status is WalletStatus.ACTIVE else (WalletReactivated(wallet.id, part.reason),)
    return at_other_version(part, wallet) or closed(wallet) or happens


def close_wallet(part: CloseWalletPart, book: Book) -> Decision:
    """Close a wallet that holds nothing and reserves nothing, active or suspended."""
    wallet = book.wallets.get(part.wallet_id)
    if wallet is None:
        return no.wallet_not_found(part.wallet_id)
    empty = not wallet.balance and not wallet.held_balance
    return (
        at_other_version(part, wallet)
        or closed(wallet)
        or (None if empty else no.wallet_not_empty(wallet))
        or (WalletClosed(wallet.id),)
    )


def update_metadata(part: UpdateMetadataPart, book: Book) -> Decision:
    """Merge into the wallet's metadata, objects in it too; a null removes its key."""
    wallet = book.wallets.get(part.wallet_id)
    if wallet is None:
        return no.wallet_not_found(part.wallet_id)
    refused = at_other_version(part, wallet) or closed(wallet)
    if refused is not None:
        return refused
    text = orjson.dumps(merge_patch(orjson.loads(wallet.metadata), part.metadata))
    if len(text) > METADATA_BYTES_MAX:
        return no.metadata_too_large(wallet, len(text), METADATA_BYTES_MAX)
    return (WalletMetadataUpdated(wallet.id, text.decode()),)
