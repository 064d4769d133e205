"""What befalls the machine: other programs that want all of its cores."""

from __future__ import annotations

import asyncio
import os

from chaos.faults.fault import Fault
from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import Stage
from tests.support.busy import busy_cores


async def keep_cores_busy(_stage: Stage, _load: Load, strike: Strike) -> None:
    """An endless loop for each core, beside all that runs."""
    with busy_cores(os.cpu_count() or 1):
        await asyncio.sleep(strike.lasts_s)


FAULTS = (Fault(Kind("busy cores", "machine", ("machine",), (10.0, 25.0)), "a loop for each core", keep_cores_busy),)
