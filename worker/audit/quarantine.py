"""What the stores have of a quarantined wallet, and its release once they agree."""

from __future__ import annotations

from dataclasses import dataclass

from worker.audit.report import Difference, Store
from worker.audit.stores import Stores
from worker.audit.verify import differences_of
from worker.database import passing_failures, raw_transaction
from worker.ledger.quarantine import lock_quarantined, release


@dataclass(frozen=True, slots=True)
class Released:
    """What came of a release. `in_the_way` are the differences because of which the wallet stays quarantined."""

    was_quarantined: bool
    in_the_way: tuple[Difference, ...] = ()


async def release_wallet(stores: Stores, wallet_id: str) -> Released:
    """Release a wallet whose ledger and stream agree; raises `Unavailable` where a store is away.

    Documents do not count: the projector follows the stream by itself.
    """
    async with passing_failures(), raw_transaction(stores.engine) as connection:
        # Locked meanwhile: nothing may be decided on what is only being compared.
        if not await lock_quarantined(connection, wallet_id):
            return Released(was_quarantined=False)
        found = await differences_of(stores, wallet_id)
        in_the_way = tuple(one for one in found if one.store is not Store.ELASTICSEARCH)
        if not in_the_way:
            await release(connection, wallet_id)
    return Released(was_quarantined=True, in_the_way=in_the_way)
