"""What lags made up from the ledger: events that a stream lacks, documents that are missing or old.

Only what is older than `REPAIR_AFTER_S` by Postgres's clock: anything younger may still be on its way, with whoever
committed it. A wallet in which anything contradicts is not touched at all, in no store, and Postgres never is: what is
wrong there, or in another store by more than lacking the newest, a person has to judge. Every write is one that a
worker or the projector could make at the same moment (exact revisions, external versions), so all of them may run at
once, and so may two repairs. Streams first: no document is made from an event that KurrentDB does not have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.audit.documents import find_missing
from worker.audit.part import Lacking
from worker.audit.parts import Pace, compare_wallet, full_speed
from worker.audit.report import Kind, NotRepaired, Repaired, Repairs, Report, Store
from worker.audit.stores import Stores, postgres_errors
from worker.audit.survey import Progress, Survey, no_progress, survey_stores
from worker.audit.totals import compare_hold_sums
from worker.audit.verify import SETTLE_S, conclude
from worker.database import raw_connection
from worker.outbox.run import Run
from worker.projection.bulk import make_operations, write_documents
from worker.projection.elastic import IndexLost
from worker.projection.index import PROJECTIONS, Index, Projection, find_index

REPAIR_AFTER_S = 60.0
"""The contract's ("The command line"): what is younger may be in flight."""
REPAIRING = "what lags"
REMEMBERS_DELETION = (
    "deleted a moment ago: Elasticsearch remembers its version for `index.gc_deletes`, 60 s, and takes no older one; "
    "wait, and repair again"
)
MOVED_MEANWHILE = "the stream stands elsewhere by now, or did not answer in time: repair again"

# Newest first: the walk ends at the first entry that is old enough, whatever the number of those before it. A time that
# is still to come says that the clock was ahead, and would keep the wallet from its repair until then.
READ_SETTLED = """
SELECT wallet.id::text, entry.version
FROM unnest($1::uuid[]) AS wallet(id)
CROSS JOIN LATERAL (SELECT version FROM ledger
                    WHERE wallet_id = wallet.id
                          AND (occurred_at <= clock_timestamp() - make_interval(secs => $2)
                               OR occurred_at > clock_timestamp())
                    ORDER BY version DESC LIMIT 1) AS entry
"""


@dataclass(slots=True)
class Work:
    """A comparison with repairs that has begun: what was found, and what was made up, so far."""

    survey: Survey = field(default_factory=Survey)
    repairs: Repairs = field(default_factory=Repairs)


async def verify_and_repair(
    stores: Stores,
    progress: Progress = no_progress,
    settle_s: float = SETTLE_S,
    older_than_s: float = REPAIR_AFTER_S,
    pace: Pace = full_speed,
    *,
    work: Work | None = None,
) -> Report:
    """Compare all stores, make up what lags, and report what then still differs. `Unavailable` where one is away.

    `work` holds how far it has come: given up, it goes on from there. Repaired is before anything is added up, which in
    a large database takes longest.
    """
    work = work or Work()
    survey, repairs = work.survey, work.repairs
    await survey_stores(stores, survey, progress, pace)
    holds_differ = await compare_hold_sums(stores.engine, survey.suspects)
    wrong = {difference.wallet_id for difference in [*survey.differences, *holds_differ]}
    repairs.left = [_contradictory(wallet_id) for wallet_id in sorted(survey.suspects & wrong)]
    await repair_wallets(stores, sorted(survey.suspects - wrong), progress, older_than_s, repairs)
    return await conclude(stores, survey, progress, settle_s, repairs)


async def repair_wallets(
    stores: Stores, wallet_ids: Collection[str], progress: Progress, older_than_s: float, repairs: Repairs
) -> None:
    """Make up what the stores lack of these wallets, one wallet after another; `repairs` is told of each."""
    if not wallet_ids:
        return
    await stores.refresh()
    indices = [await _find(stores, projection) for projection in stores.projections]
    settled = await _read_settled(stores.engine, wallet_ids, older_than_s)
    for done, wallet_id in enumerate(wallet_ids, 1):
        if wallet_id in settled:
            await _repair_wallet(stores, indices, wallet_id, settled[wallet_id], repairs)
        progress(REPAIRING, done, len(wallet_ids))


async def _repair_wallet(
    stores: Stores, indices: Sequence[Index], wallet_id: str, settled: int, repairs: Repairs
) -> None:
    """Make up what the stores lack of a wallet up to the version `settled`, unless anything in it contradicts."""
    parts = compare_wallet(stores, wallet_id, settled)
    kinds = {difference.kind async for part in parts for difference in part.differences}
    if kinds == {Kind.LAGS, Kind.CONTRADICTS}:
        repairs.left.append(_contradictory(wallet_id))
    if kinds != {Kind.LAGS}:
        return
    async for part in compare_wallet(stores, wallet_id, settled):
        if not await _append(stores, wallet_id, part.lacking, repairs):
            break
        await _write(stores, indices, wallet_id, part.lacking, repairs)


def _contradictory(wallet_id: str) -> NotRepaired:
    return NotRepaired(wallet_id, None, "all that lags", "something in this wallet contradicts: nothing is touched")


async def _append(stores: Stores, wallet_id: str, lacking: Lacking, repairs: Repairs) -> bool:
    """Append what the stream lacks; False where it stands elsewhere by now: the next look says what became of it."""
    if lacking.events:
        run = Run(wallet_id, lacking.events)
        appended = await stores.appends.append([run])
        what = f"revisions {run.first} to {run.last}"
        if appended.unwritten or appended.unknown:
            repairs.left.append(NotRepaired(wallet_id, Store.KURRENTDB, what, MOVED_MEANWHILE))
            return False
        repairs.made.append(Repaired(wallet_id, Store.KURRENTDB, what))
    return True


async def _write(stores: Stores, indices: Sequence[Index], wallet_id: str, lacking: Lacking, repairs: Repairs) -> None:
    """Write the documents that are missing or old; one that was written meanwhile is newer, and stays."""
    for projection, index in zip(PROJECTIONS, indices, strict=True):
        operations = make_operations([index], lacking.documents.get(projection.alias, []))
        if not operations:
            continue
        known = await write_documents(stores.search, operations)
        if written := len(operations) - len(known):
            what = f"{projection.alias} documents: {written}"
            repairs.made.append(Repaired(wallet_id, Store.ELASTICSEARCH, what))
        for document_id in await find_missing(
            stores.search, index.projection.alias, [one.document_id for one in known]
        ):
            what = f"{projection.alias} document {document_id}"
            repairs.left.append(NotRepaired(wallet_id, Store.ELASTICSEARCH, what, REMEMBERS_DELETION))


async def _find(stores: Stores, projection: Projection) -> Index:
    index = await find_index(stores.search, projection)
    if index is None:
        raise IndexLost(f"Elasticsearch: there is no alias {projection.alias}: `wallex projector` makes it")
    return index


async def _read_settled(engine: AsyncEngine, wallet_ids: Iterable[str], older_than_s: float) -> dict[str, int]:
    """For each wallet the version of its newest entry that is older than that; wallets without one are left out.

    An entry whose time is still to come counts as old.
    """
    with postgres_errors():
        async with raw_connection(engine) as connection:
            rows = await connection.fetch(READ_SETTLED, list(wallet_ids), older_than_s)
    return {row[0]: row[1] for row in rows}
