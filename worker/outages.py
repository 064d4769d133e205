"""Say once that a server is lost, and once that it is back, however many in this process wait for it.

Whoever needs a server and does not get an answer says so here, under its own name for itself, and again when it has
its answer. The first one that misses a server is one line, `server_lost`; the last one that has it again is another,
`server_back`, with how long it took. One table a process: a person who reads the log counts servers, not waiters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Outage:
    since: float
    waiting: set[object] = field(default_factory=set)


_outages: dict[str, _Outage] = {}


def say_lost(server: str, waiter: object, error: object, since: float | None = None) -> None:
    """`waiter` misses `server`, because of `error`, `since` a time of `time.monotonic` (now); may be said again."""
    if server not in _outages:
        _outages[server] = _Outage(time.monotonic() if since is None else since)
        log.warning("server_lost", server=server, error=str(error))
    _outages[server].waiting.add(waiter)


def say_back(server: str, waiter: object) -> None:
    """`waiter` has `server` again, if it ever missed it."""
    outage = _leave(server, waiter)
    if outage is not None:
        log.info("server_back", server=server, outage_s=round(time.monotonic() - outage.since, 3))


def stop_waiting(server: str, waiter: object) -> None:
    """`waiter` no longer asks for `server`, whatever became of it."""
    _leave(server, waiter)


def _leave(server: str, waiter: object) -> _Outage | None:
    """Take `waiter` off the list; the outage that is over by that, None where others wait on or nobody did."""
    outage = _outages.get(server)
    if outage is None or waiter not in outage.waiting:
        return None
    outage.waiting.remove(waiter)
    return None if outage.waiting else _outages.pop(server)
