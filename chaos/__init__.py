"""Break it on purpose: a seeded run of load and faults on real servers, judged in the end by what stands in the stores.

    python -m chaos --seed 1 --minutes 10

`schedule.py` says what happens when (pure: the same seed, the same faults), `faults/` does it, `load.py` sends commands
all the while, `conduct.py` runs the whole, `verdict.py` holds the stores against each other and against a sequential
model, `summary.py` tells what came of it.
"""

import os

# gRPC's core writes to stderr by itself that a server went away, and reads this when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
