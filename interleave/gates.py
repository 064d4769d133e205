"""The gates before the servers, and the scheduler that lets one call after another through.

Only one call is under way at a time, but for those that wait in Postgres for a lock. Before the next one is let
through, everything that the last one's answer leads to has run. So the order of all that happens is the scheduler's
alone, and the same choices give the same run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from interleave.choices import Choices
from interleave.loop import Ready, Select, VirtualLoop

STEP_S = 1e-5
"""What a step takes: times that are compared are seldom the same."""
TIME = "time:"
"""What a line of the trace begins with that says that time passed."""
STALL_S = 0.002
"""A call that takes longer may be waiting for a lock: it is asked for."""
STEPS_MAX = 20_000
TIME_MAX_S = 900.0
TIME_WEIGHT = 0.03
"""How likely time passes while somebody could go on, against one who could."""

T = TypeVar("T")
Do = Callable[[], Awaitable[Any]]
Fault = Callable[[Do], Awaitable[Any]]


class Hangs(Exception):
    """A scene does not come to its end; who waits for what."""


@dataclass(frozen=True)
class Style:
    """How the scheduler draws: which faults strike a call that they may strike, and how likely that is.

    `stickiness` is how much likelier it is that who went on last goes on again, than that somebody else does.
    """

    faults: frozenset[str] = frozenset()
    fault_chance: float = 0.0
    stickiness: float = 0.0


@dataclass(eq=False)
class Actor:
    """Whoever makes calls: a core, a direct caller, a server by itself. A dead one makes none, a frozen one waits."""

    name: str
    dead: bool = False
    frozen: bool = False
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work`, and whatever tasks it makes, as this actor's."""
        before = _actor.set(self)
        try:
            return asyncio.get_running_loop().create_task(work)
        finally:
            _actor.reset(before)

    def die(self) -> None:
        """End as a killed process does: nothing that it still does has an effect."""
        self.dead = True
        for task in list(self.tasks):
            task.cancel()


_actor: ContextVar[Actor] = ContextVar("actor")


def current_actor() -> Actor:
    """Who runs."""
    return _actor.get()


@dataclass(eq=False)
class Waiting:
    """A call at its gate. `at_once`: it goes through before the scheduler is asked."""

    actor: Actor
    what: str
    faults: tuple[str, ...]
    weight: float
    go: asyncio.Future[str | None]


@dataclass(eq=False)
class Flight:
    """A call under way; `pid` is its session's in Postgres, where it may wait for a lock, and then is `blocked`.

    One that is `cancelled` may wait for a moment more.
    """

    pid: int | None
    blocked: bool = False
    cancelled: bool = False
    limit: asyncio.TimerHandle | None = None


class Gates:
    """All gates of one event loop. `begin` starts a scene with its choices, `end` ends it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        loop.idle = self._idle
        loop.set_task_factory(_make_task)
        self.names: dict[str, str] = {}
        self.find_blocked: Callable[[list[int]], Awaitable[set[int]]] | None = None
        self.on_blocked: Callable[[int], Awaitable[None]] | None = None
        self.lock_timeout_s = 2.0
        self._flights: dict[Flight, None] = {}
        self._check_at_once = False
        self._reset(Choices(0), Style())
        self.scheduling = False

    def begin(self, choices: Choices, style: Style, is_over: Callable[[], bool]) -> asyncio.Future[None]:
        """Start a scene at time 0; the future that is returned is done once it `is_over`, and fails where it hangs."""
        self._reset(choices, style)
        self._is_over = is_over
        self.loop.now = 0.0
        self.scheduling = True
        self.over = self.loop.create_future()
        return self.over

    def _reset(self, choices: Choices, style: Style) -> None:
        self.choices, self.style = choices, style
        self.over: asyncio.Future[None] | None = None
        self.trace: list[str] = []
        self._is_over: Callable[[], bool] = lambda: False
        self._waiting: list[Waiting] = []
        self._at_once: list[Waiting] = []
        self._last: Actor | None = None

    def end(self) -> None:
        """End the scene: whoever still lives goes on, in any order."""
        self.scheduling = False
        for flight in self._flights:
            if flight.limit is not None:
                flight.limit.cancel()
        for waiting in (*self._at_once, *self._waiting):
            if not waiting.actor.dead and not waiting.go.done():
                waiting.go.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the scene because of `error`."""
        self.scheduling = False
        if self.over is not None and not self.over.done():
            self.over.set_exception(error)

    async def call(self, what: str, do: Do, faults: Mapping[str, Fault] | None = None, weight: float = 1.0) -> Any:
        """Make a call once it is let through, with the fault that strikes it, if any."""
        faults = faults or {}
        may_strike = tuple(name for name in faults if name in self.style.faults)
        fault = await self._turn(self._waiting, what, may_strike, weight)
        return await (do() if fault is None else faults[fault](do))

    async def call_at_once(self, what: str, do: Do) -> Any:
        """Make a call that is no choice of the scheduler's: whether others come before it makes no difference."""
        await self._turn(self._at_once, what, (), 1.0)
        return await do()

    async def _turn(self, queue: list[Waiting], what: str, faults: tuple[str, ...], weight: float) -> str | None:
        actor = current_actor()
        if actor.dead:
            raise asyncio.CancelledError
        if not self.scheduling:
            return None
        waiting = Waiting(actor, what, faults, weight, self.loop.create_future())
        queue.append(waiting)
        try:
            return await waiting.go
        finally:
            if waiting in queue:
                queue.remove(waiting)

    async def fly(self, do: Callable[[], Coroutine[Any, Any, T]], pid: int | None = None) -> T:
        """Let a server do something. It does so whatever becomes of the caller."""
        flight = Flight(pid)
        self._flights[flight] = None
        task = self.loop.create_task(do(), context=Context())
        task.add_done_callback(lambda task: self._landed(flight, task))
        return await asyncio.shield(task)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Inside the block servers are used freely: nothing is ordered."""
        flight = Flight(None)
        self._flights[flight] = None
        try:
            yield
        finally:
            del self._flights[flight]

    def look_at_locks(self) -> None:
        """A transaction ended: who waited for its locks may go on."""
        for flight in self._flights:
            if flight.blocked:
                flight.blocked, self._check_at_once = False, True
                if flight.limit is not None:
                    flight.limit.cancel()

    def _landed(self, flight: Flight, task: asyncio.Task[Any]) -> None:
        del self._flights[flight]
        if flight.limit is not None:
            flight.limit.cancel()
        if not task.cancelled():
            # Looked at, for the caller may be gone.
            task.exception()

    def _idle(self, select: Select) -> Ready:
        running = [flight for flight in self._flights if not flight.blocked]
        if running:
            asked = [flight for flight in running if flight.pid is not None]
            # One that asks is a flight itself, without a pid.
            may_ask = self.scheduling and len(asked) == len(running)
            found = [] if may_ask and self._check_at_once else select(STALL_S if may_ask else None)
            if not found and may_ask:
                self._check_at_once = False
                self.loop.create_task(self.fly(lambda: self._look(asked)), context=Context())
            return found
        if self.scheduling:
            self._step()
            return []
        return select(None)

    async def _look(self, asked: list[Flight]) -> None:
        """Find out which of these flights wait for a lock."""
        assert self.find_blocked is not None
        blocked = await self.find_blocked([flight.pid for flight in asked if flight.pid is not None])
        for flight in asked:
            if flight in self._flights and flight.pid in blocked and not flight.cancelled:
                flight.blocked = True
                flight.limit = self.loop.call_later(self.lock_timeout_s, self._time_out, flight)

    def _time_out(self, flight: Flight) -> None:
        flight.blocked, flight.cancelled = False, True
        self.trace.append(f"postgres: session waited for {self.lock_timeout_s:g} s for a lock")
        self.loop.create_task(self.fly(lambda: self.on_blocked(flight.pid)), context=Context())

    def _step(self) -> None:
        """Let somebody go on, or time pass."""
        assert self.over is not None
        self.loop.now += STEP_S
        if self._at_once:
            first = min(self._at_once, key=_by_name)
            self._at_once.remove(first)
            self._release(first, 0)
            return
        if self._is_over():
            self.scheduling = False
            self.over.set_result(None)
            return
        if len(self.trace) > STEPS_MAX or self.loop.now > TIME_MAX_S:
            self._hang("it does not come to rest")
            return
        # By name, not as they came: who was let go on by the same event came in any order.
        free = sorted((waiting for waiting in self._waiting if not waiting.actor.frozen), key=_by_name)
        first = [waiting for waiting in free if waiting.weight >= 1]
        rare = [waiting for waiting in free if waiting.weight < 1]
        if not first and not self.loop.has_timer():
            self._hang("nobody can go on")
            return
        order: list[Waiting | None] = [*first, None, *rare]
        weights = [self._weight(waiting, bool(first)) for waiting in order]
        faults = [0 if waiting is None else len(waiting.faults) for waiting in order]
        place, fault = self.choices.choose(weights, faults, self.style.fault_chance)
        chosen = order[place]
        if chosen is not None:
            self._waiting.remove(chosen)
            self._last = chosen.actor
            self._release(chosen, fault)
        elif self.loop.has_timer():
            self.loop.advance()
            self.trace.append(f"{TIME} {self.loop.now:.3f} s")

    def _weight(self, waiting: Waiting | None, others: bool) -> float:
        if waiting is None:
            return TIME_WEIGHT if others else 1.0
        if waiting.actor is self._last and waiting.weight >= 1:
            return 1.0 + self.style.stickiness
        return waiting.weight

    def _release(self, waiting: Waiting, fault: int) -> None:
        name = waiting.faults[fault - 1] if fault else None
        self.trace.append(f"{waiting.actor.name}: {waiting.what}" + (f" -> {name}" if name else ""))
        waiting.go.set_result(name)

    def _hang(self, why: str) -> None:
        waits = "; ".join(f"{one.actor.name}: {one.what}" for one in self._waiting)
        self.fail(Hangs(f"{why} at {self.loop.now:.1f} s; at the gates: {waits or 'nobody'}"))


def _by_name(waiting: Waiting) -> tuple[str, str]:
    return waiting.actor.name, waiting.what


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, context: Context | None = None) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
    actor = _actor.get(None) if context is None else context.get(_actor)
    if actor is not None:
        actor.tasks.add(task)
        task.add_done_callback(actor.tasks.discard)
        if actor.dead:
            task.cancel()
    return task
