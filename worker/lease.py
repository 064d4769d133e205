"""A lease in Redis: of several processes that could do a work, one does it, and another takes over when that one dies.

It saves work, and nothing more: no correctness may depend on it. Redis may be off, flushed, or lie; so whatever runs
under a lease must be harmless when it runs twice at once, and may not rely on running at all unless something else sees
to it. Where Redis does not answer the work goes on *without* a lease, in each process, until Redis is back. A process
that Redis refuses at its first question was started with a wrong `REDIS_URL`, and is told so; later the work goes on.

`number` grows with each change of hands (a fencing number). A flushed Redis begins again with 1, so nothing may ever be
refused because of it: it is there for the people who read logs. Log: `lease_taken`, `lease_elsewhere`,
`lease_unavailable`, each once when it becomes so.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, LockNotOwnedError, NoPermissionError, RedisError

from worker.cancellation import is_asked_for
from worker.errors import not_trusted
from worker.outages import say_back, say_lost, stop_waiting
from worker.settings import Settings

LEASE_S = 5.0
"""How long a holder that died keeps others waiting."""
ASK_EVERY_S = 1.0
ANSWER_S = 1.0
"""How long Redis may take for an answer before it counts as away."""
KEY_PREFIX = "wallex:lease:"

Work = Callable[[], Coroutine[Any, Any, None]]

log = structlog.get_logger(__name__)


class Standing(Enum):
    """What Redis last said about the lease; the value is the log line's `event`."""

    TAKEN = "lease_taken"
    ELSEWHERE = "lease_elsewhere"
    UNAVAILABLE = "lease_unavailable"


class Lease:
    """The lease `name`: the processes that give the same name take turns, so it names what the work acts on."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        self._redis = Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            # A connection that died while nobody used it is replaced; anything else is asked again a second later.
            retry=Retry(NoBackoff(), 1),
        )
        self._lock = self._redis.lock(KEY_PREFIX + name, timeout=LEASE_S, blocking=False, thread_local=False)
        self._held = False
        self._number: int | None = None
        self.standing: Standing | None = None
        """None until Redis was asked, and once the lease is given back."""

    @property
    def granted(self) -> bool:
        """Whether the work may run here: the lease is ours, or Redis cannot say whose it is."""
        return self.standing in {Standing.TAKEN, Standing.UNAVAILABLE}

    @property
    def number(self) -> int | None:
        """The fencing number under which the lease is ours; None where it is not, or where nobody can say."""
        return self._number if self.standing is Standing.TAKEN else None

    async def hold(self, work: Work) -> None:
        """Run `work()` whenever it is granted here, and cancel it at most `ASK_EVERY_S` after it no longer is.

        Returns when `work` returns and raises what it raises; waits for as long as another process holds the lease.
        `Fatal`: Redis refuses this process.
        Cancel it to stop: the lease is then given back, so that the next one need not wait until it runs out.
        """
        async with self._redis:
            try:
                while True:
                    if await self._run_while_granted(work):
                        return
                    await asyncio.sleep(ASK_EVERY_S)
            finally:
                await self._give_back()

    async def _run_while_granted(self, work: Work) -> bool:
        """Run `work` until it returns (True), or until it is not granted (any more)."""
        if not await self._ask():
            return False
        running = asyncio.create_task(work(), name=f"under lease {self.name}")
        try:
            while not running.done() and await self._ask():
                await asyncio.wait({running}, timeout=ASK_EVERY_S)
        finally:
            finished = not running.cancel()
            await asyncio.wait({running})
        if not running.cancelled():
            running.result()
        return finished

    async def _ask(self) -> bool:
        """Renew or take the lease; whether the work is granted now."""
        try:
            standing = await self._renew_or_take()
            say_back("redis", self)
        except (RedisError, OSError, TimeoutError) as error:
            if self.standing is None and _is_refusal(error):
                text = f"{type(error).__name__}: {error}"
                raise not_trusted("Redis", text, "the user, password, host and ssl_ca_certs of REDIS_URL") from error
            standing = Standing.UNAVAILABLE
            say_lost("redis", self, f"{type(error).__name__}: {error}")
        _heed_cancellation()
        if standing is not self.standing:
            self.standing = standing
            say = log.warning if standing is Standing.UNAVAILABLE else log.info
            say(standing.value, lease=self.name, number=self.number)
        return self.granted

    async def _renew_or_take(self) -> Standing:
        if not (self._held and await self._renew()):
            self._held, self._number = await self._lock.acquire(), None
        if not self._held:
            return Standing.ELSEWHERE
        if self._number is None:
            self._number = int(await self._redis.incr(f"{KEY_PREFIX}{self.name}:number"))
        return Standing.TAKEN

    async def _renew(self) -> bool:
        try:
            return await self._lock.reacquire()
        except LockNotOwnedError:
            # It ran out while this process or Redis slept, or Redis was flushed.
            return False

    async def _give_back(self) -> None:
        held, self._held, self.standing = self._held, False, None
        stop_waiting("redis", self)
        if not held:
            return
        try:
            await self._lock.release()
        except (RedisError, OSError, TimeoutError) as error:
            log.info("lease_not_given_back", lease=self.name, runs_out_in_s=LEASE_S, error=type(error).__name__)


def _heed_cancellation() -> None:
    """Raise the cancellation of this task that an answer from Redis came together with.

    redis-py writes under `asyncio.wait_for`, which before Python 3.12 loses one that comes in just then: a scheduler
    that was asked to stop at that moment would hold its lease for ever.
    """
    if is_asked_for():
        raise asyncio.CancelledError


def _is_refusal(error: BaseException) -> bool:
    """Whether Redis refuses our credentials or rights, or its certificate does not verify."""
    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError):
        return True
    # redis-py wraps what the socket raised.
    cause = error.__cause__ or error.__context__
    return isinstance(error, ssl.SSLCertVerificationError) or (cause is not None and _is_refusal(cause))
