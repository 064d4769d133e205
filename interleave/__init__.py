"""Look for faults by the order in which things happen: small scenes on real servers, step by step in an order drawn.

    python -m interleave --seeds 1-2000

Two or three worker cores and a direct caller run in one event loop, on a real Postgres and the KurrentDB stand-in;
Kafka is a log in memory with the same rules (`kafka.py`, `clients.py`). Each call to a server waits at a gate
(`gates.py`) until a scheduler lets it go on, one at a time, in an order that the seed decides (`choices.py`). A call
may be let through with a fault: its answer is lost, it is refused, its core dies. Time passes only when the scheduler
lets it (`loop.py`), so nothing is ever waited for. `scene.py` says what happens, `core.py` puts a worker's parts
together, `judge.py` holds what stands in the stores in the end against what must hold. What fails is run again and made
shorter (`shrink.py`).
"""

import os

# gRPC's core writes to stderr by itself, and reads this when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
