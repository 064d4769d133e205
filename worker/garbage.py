"""What the garbage collector is told in processes that handle thousands of messages a second, for days.

A batch makes tens of thousands of objects, nearly all of which reference counting frees. Python's own thresholds would
have the collector look through them several times a batch, and now and then through everything that lives for ever.
"""

from __future__ import annotations

import gc

NEW_OBJECTS = 20_000
"""So many new objects before the collector looks for cycles among them."""


def tune_garbage_collection() -> None:
    """Keep the collector off what is there by now, and from running several times a batch; call it once started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
