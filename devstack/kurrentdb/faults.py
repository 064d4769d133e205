"""What goes wrong on purpose: switches, all off by default, set at start or while the server runs (`control`).

Chances are drawn from one seeded generator, so a run with the same seed and the same order of calls fails alike.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Faults:
    """The switches. `…_every` N: one append in N, by chance; 1: each; 0: none. An append is one call or one request."""

    append_records: bool = True  # off: UNIMPLEMENTED, as on servers before 26.1
    not_ready_s: float = 0.0  # "Server Is Not Ready" for so long, from the start or from when it is set
    timeout_after_write_every: int = 0  # written, and answered with Timeout
    timeout_before_write_every: int = 0  # not written, and answered with Timeout
    timeout_ms: int = 2000  # how long such a Timeout takes
    drop_after_commit_every: int = 0  # written, then the call is cut
    drop_before_commit_every: int = 0  # not written, the call is cut
    append_delay_min_ms: float = 0.0  # appends wait by chance between these two before they are looked at,
    append_delay_max_ms: float = 0.0  # so that they overtake each other
    fsync_delay_ms: float = 0.0  # each fsync takes so much longer
    sigterm_grace_s: float = 0.0  # after SIGTERM go on for so long, then cut every call
    seed: int = 0
    _random: random.Random = field(init=False, repr=False)
    _ready_at: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - chance for tests, not for secrets
        self._ready_at = time.monotonic() + self.not_ready_s

    def strikes(self, one_in: int) -> bool:
        """Draw whether a fault of that frequency strikes now."""
        return one_in > 0 and self._random.random() * one_in < 1

    def append_delay_s(self) -> float:
        """Draw how long an append waits before it is looked at."""
        if not self.append_delay_max_ms:
            return 0.0
        return self._random.uniform(self.append_delay_min_ms, self.append_delay_max_ms) / 1000

    @property
    def is_ready(self) -> bool:
        return time.monotonic() >= self._ready_at

    def as_dict(self) -> dict[str, Any]:
        """The switches by name, as JSON knows them."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.init}

    def change(self, changes: dict[str, Any]) -> None:
        """Set the switches named; raise ValueError, and change none, where a name or a type is wrong."""
        kinds = {item.name: type(item.default) for item in fields(self) if item.init}
        for name, value in changes.items():
            kind = kinds.get(name)
            if kind is None:
                raise ValueError(f"no fault switch {name!r}; there are: {', '.join(kinds)}")
            fits = isinstance(value, bool) if kind is bool else _is_number(value, kind)
            if not fits:
                raise ValueError(f"{name} takes a {kind.__name__} of at least 0, not {value!r}")
        for name, value in changes.items():
            setattr(self, name, value)
        if "not_ready_s" in changes:
            self._ready_at = time.monotonic() + self.not_ready_s
        if "seed" in changes:
            self._random.seed(self.seed)


def _is_number(value: object, kind: type) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 0 and (kind is float or isinstance(value, int))
