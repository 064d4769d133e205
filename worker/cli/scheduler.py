"""`wallex scheduler`: what happens by itself, until it is told to stop.

May be killed at any time, and run more than once: under a lease in Redis one of them is active, and another takes over.
"""

from __future__ import annotations

import asyncio
import signal

import typer

from worker.audit.background import watch_stores
from worker.cli.output import fail
from worker.errors import Fatal
from worker.outbox.event_store import open_check
from worker.retry import until_available
from worker.scheduler.tick import Ticker
from worker.settings import SCHEDULER_HTTP_PORT, Settings
from worker.telemetry.health import Check, serve_health
from worker.telemetry.logs import configure_logs
from worker.telemetry.metrics import SchedulerMetrics, new_registry


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("scheduler")(scheduler)


def scheduler() -> None:
    """Publish the scheduled messages, and compare the stores slowly; several may run, one of them is active.

    Exit 1: a server refuses it, or the stores do not belong together, as one line says.
    """
    settings = Settings.load()
    configure_logs(settings.log_level)
    try:
        asyncio.run(run_scheduler(settings))
    except ExceptionGroup as group:
        refused = _first(group)
        if not isinstance(refused, Fatal):
            raise
        fail(f"the scheduler stops: {refused}", 1)


def _first(error: BaseException) -> BaseException:
    """What went wrong first, of what its tasks raise together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def run_scheduler(settings: Settings) -> None:
    """The whole process: health and metrics, and beside each other what it does, until it is told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    registry = new_registry()
    port = SCHEDULER_HTTP_PORT if settings.http_port is None else settings.http_port
    metrics = SchedulerMetrics(registry)
    ticker = Ticker(settings, metrics)
    async with (
        serve_health(host=settings.http_host, port=port, registry=registry, ready=[Check("kafka", ticker.check)]),
        asyncio.TaskGroup() as group,
    ):
        works = [group.create_task(ticker.run())]
        if settings.verify_background:
            works.append(group.create_task(_watch_own_stores(settings, metrics)))
        await stop.wait()
        for work in works:
            work.cancel()


async def _watch_own_stores(settings: Settings, metrics: SchedulerMetrics) -> None:
    """Compare the stores for ever; whether they belong together at once, for the first round begins later."""
    async with open_check(settings) as check:
        await until_available("kurrentdb", check)
    await watch_stores(settings, metrics)
