"""The release of a quarantined wallet, once its stores no longer contradict."""

from __future__ import annotations

from dataclasses import dataclass

from worker.audit.parts import compare_wallet
from worker.audit.report import Difference, Kind, Store
from worker.audit.stores import Stores, postgres_errors
from worker.database import passing_failures, raw_transaction
from worker.ledger.quarantine import lock_quarantined, release
from worker.outbox.backfill import read_versions


@dataclass(frozen=True, slots=True)
class Released:
    """What came of a release. `in_the_way` are the differences because of which the wallet stays quarantined."""

    was_quarantined: bool
    in_the_way: tuple[Difference, ...] = ()


async def release_wallet(stores: Stores, wallet_id: str) -> Released:
    """Release a wallet whose ledger and stream no longer contradict; raises `Unavailable` where either is away.

    Events that the stream lacks at its end are no obstacle: the next append makes them up. Elasticsearch is not asked:
    the projector follows the stream.
    """
    async with passing_failures(), raw_transaction(stores.engine) as connection:
        # Locked meanwhile: nothing may be decided on what is only being compared.
        if not await lock_quarantined(connection, wallet_id):
            return Released(was_quarantined=False)
        in_the_way = await _contradictions(stores, wallet_id)
        if not in_the_way:
            await release(connection, wallet_id)
    return Released(was_quarantined=True, in_the_way=in_the_way)


async def _contradictions(stores: Stores, wallet_id: str) -> tuple[Difference, ...]:
    with postgres_errors():
        settled = (await read_versions(stores.engine, [wallet_id])).get(wallet_id, -1)
    parts = compare_wallet(stores, wallet_id, settled, ask_elasticsearch=False)
    found = [difference async for part in parts for difference in part.differences]
    return tuple(one for one in found if one.store is not Store.ELASTICSEARCH and one.kind is Kind.CONTRADICTS)
