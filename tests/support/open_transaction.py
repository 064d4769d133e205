"""`python -m tests.support.open_transaction WALLET_ID`: a program beside the database that forgets its transaction.

It debits the wallet, writes one line, and then neither goes on nor gives up.
"""

from __future__ import annotations

import asyncio
import sys

from worker.repository import WalletRepository
from worker.settings import Settings


async def forget(wallet_id: str) -> None:
    """Leave a transaction open on `wallet_id`."""
    async with WalletRepository.open(Settings.load()) as wallets, wallets.transaction() as tx:
        await tx.debit(wallet_id, "1")
        print("open", flush=True)  # noqa: T201 - whoever started it waits for that
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(forget(sys.argv[1]))
