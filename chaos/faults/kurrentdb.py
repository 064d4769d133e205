"""What goes wrong inside KurrentDB: the stand-in's switches, set for a while."""

from __future__ import annotations

import asyncio

from chaos.faults.fault import Fault
from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import Stage


def _switched(name: str, says: str, **switches: float | bool) -> Fault:
    async def happen(stage: Stage, _load: Load, strike: Strike) -> None:
        with stage.switches.set(**switches):
            await asyncio.sleep(strike.lasts_s)

    return Fault(Kind(f"appends: {name}", "kurrentdb", ("kurrentdb",), (4.0, 10.0)), says, happen)


FAULTS = (
    _switched(
        "written, timed out", "one in four is written, and answered with a time-out", timeout_after_write_every=4
    ),
    _switched("not written, timed out", "one in four times out unwritten", timeout_before_write_every=4),
    _switched("written, cut", "one in four is written, then the call is cut", drop_after_commit_every=4),
    _switched("not written, cut", "one in four is cut unwritten", drop_before_commit_every=4),
    _switched("not ready", "`Server Is Not Ready` to every call", not_ready_s=20.0),
    _switched("one call a batch is off", "AppendRecords is not implemented any more", append_records=False),
    _switched("slow disk", "each fsync takes 200 ms longer", fsync_delay_ms=200.0),
    _switched("overtaking", "appends wait up to 300 ms by chance", append_delay_max_ms=300.0),
)
