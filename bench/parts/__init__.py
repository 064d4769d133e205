"""What is measured, part by part, in the order that they run; each may be asked for alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.measurement import Measurement
from bench.parts.baseline import measure_baseline
from bench.parts.contention import measure_contention
from bench.parts.curves import measure_curves
from bench.parts.floor import measure_floor
from bench.parts.growth import measure_growth
from bench.parts.latency import measure_latency
from bench.parts.loads import measure_duplicates, measure_holds, measure_hot, measure_uniform, measure_zipf
from bench.parts.memory import measure_memory
from bench.parts.projection import measure_projection
from bench.parts.start import measure_start
from bench.parts.workers import measure_append, measure_scale
from bench.results import Row


@dataclass(frozen=True)
class Part:
    """`minutes` is about what it takes on two cores; `needs` are the parts whose figures it is compared with."""

    measure: Callable[[Measurement], Awaitable[list[Row]]]
    what: str
    minutes: float
    needs: tuple[str, ...] = ()


PARTS: Mapping[str, Part] = {
    "uniform": Part(measure_uniform, "transfers among 10,000 wallets", 0.6),
    "hot": Part(measure_hot, "credits to one wallet", 0.4),
    "baseline": Part(measure_baseline, "what a team would write first, in the worker's place", 2, ("uniform", "hot")),
    # Before there are many events: each rebuild begins with the first one.
    "projection": Part(measure_projection, "the projector: follow, rebuild, keep up", 4.5, ("uniform",)),
    "floor": Part(measure_floor, "the same rows written to Postgres alone, in batches and one by one", 1, ("uniform",)),
    "zipf": Part(measure_zipf, "transfers, few wallets busy and most not", 0.6, ("uniform",)),
    "holds": Part(measure_holds, "place holds, then capture or release them", 0.5, ("uniform",)),
    "duplicates": Part(measure_duplicates, "every transfer sent twice", 0.6, ("uniform",)),
    "contention": Part(measure_contention, "two workers on the same 100 wallets", 0.6),
    "latency": Part(measure_latency, "open loop: waiting at 25, 50 and 75 % of capacity", 1.5, ("uniform",)),
    "scale": Part(measure_scale, "1, 2 and 4 worker processes", 1, ("uniform",)),
    "append": Part(measure_append, "an append call a batch, and a server without that call", 1.2, ("uniform",)),
    "curves": Part(measure_curves, "batch size, batches in flight, partitions", 3.5, ("uniform",)),
    "start": Part(measure_start, "process start to first reply", 0.4),
    "growth": Part(measure_growth, "Postgres alone beside a million other wallets and their history", 7),
    # Last: the peaks are those of all parts.
    "memory": Part(measure_memory, "peak memory of each process; steady load with --minutes", 0.2, ("uniform", "hot")),
}


def in_order(asked: Sequence[str]) -> list[str]:
    """The parts `asked` for, all where there are none, with those that they need, in the order that they run."""
    wanted = set(asked or PARTS)
    wanted |= {need for name in wanted for need in PARTS[name].needs}
    return [name for name in PARTS if name in wanted]
