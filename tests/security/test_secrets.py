"""No secret stands in a log, an error, a `repr`, a page, a record or a command line, whatever goes wrong.

Each test looks for secrets after it has seen that what went wrong was told.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from tests.security.conftest import RUNTIME, Place, assert_no_secret
from tests.security.test_security import REFUSALS, wrong
from tests.support.commands import new_id
from tests.support.ledger import fail_one_command, foreign_transaction, until_waiting
from tests.support.outbox import any_kurrentdb
from tests.support.replies import header, read_topics
from tests.support.workers import Worker, eventually
from worker.client import Accepted, NotSent, OutcomeUnknown, Rejected, Result, WalletClient
from worker.errors import AppendPendingError, Fatal, NotDoneError
from worker.kafka import connection_arguments
from worker.outbox.event_store import EventStore
from worker.repository import WalletRepository
from worker.settings import Settings, SettingsError
from worker.telemetry.logs import TALKATIVE

# aiokafka drops a refused TLS connection without waiting for its end, and asyncio complains once the loop is gone.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CLIENT_S = 5.0
MISSED = {
    "worker": {"postgres", "kafka", "kurrentdb"},
    "projector": {"kurrentdb", "elasticsearch"},
    "scheduler": {"redis"},
}
"""Which servers each process soon misses while none is there."""

Error = TypeVar("Error", bound=Exception)


@pytest.fixture(autouse=True)
def nothing_said_here(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """After each test: look through what this process logged and printed, where nothing masks it."""
    for name in (None, *TALKATIVE):
        caplog.set_level(logging.DEBUG, logger=name)
    yield
    for record in caplog.get_records("call"):
        assert_no_secret(logging.Formatter().format(record))
    assert_no_secret("".join(capsys.readouterr()))


async def test_a_run_with_failures_says_no_secret(place, caplog):
    """Sessions are ended, a command fails in Postgres, a record cannot be read, every server goes and comes back."""
    settings, wallet_id = Settings.load(place.environment), new_id()
    worker = place.start("worker", DB_LOGGING="true")
    projector = place.start("projector", **place.search.environment())
    scheduler = place.start("scheduler")
    processes = {"worker": worker, "projector": projector, "scheduler": scheduler}
    await asyncio.gather(*(process.until_ready() for process in processes.values()))

    async with WalletClient(settings, timeout_s=CLIENT_S) as wallets, WalletRepository.open(settings) as repository:
        opened = await wallets.create_wallet(wallet_id, "owner")
        credited = await credit_while_sessions_are_ended(place, wallets, wallet_id)
        failed = await credit_that_fails(place, wallets, wallet_id)
        await publish_unreadable(settings, worker)
        await repository.credit(wallet_id, "1")
        async with stopped(place, "kafka", "kurrentdb", "redis"), place.search.closed():
            unanswered, _ = await asyncio.gather(
                raised(OutcomeUnknown, wallets.credit(wallet_id, "1")),
                raised(AppendPendingError, repository.credit(wallet_id, "1")),
            )
            async with stopped(place, "postgres"):
                await raised(NotDoneError, repository.credit(wallet_id, "1"))
                for name, process in processes.items():
                    await until_missed(process, MISSED[name])
                pages = [await read_pages(process) for process in processes.values()]
        for process in processes.values():
            await until_nothing_missed(process)
            await process.until_ready()
        answered = await wallets.send(unanswered.command)
    pages += [await read_pages(process) for process in processes.values()]
    records = [record async for record in everything_published(settings)]

    for text in (*pages, *map(repr, records), *(process.command_line for process in processes.values())):
        assert_no_secret(text)
    assert all(isinstance(one, Accepted) for one in (opened, credited, answered))
    assert isinstance(failed, Rejected)
    assert {header(record, "dlq_error_code") for record in records} >= {b"InternalError", b"InvalidCommand"}
    assert "administrator command" in worker.lines("server_lost")[0]["error"]
    assert "Traceback" in worker.lines("command_failed")[0]["exception"]
    assert any(record.name.startswith("aiokafka") for record in caplog.records)
    assert [await process.stop() for process in processes.values()] == [0, 0, 0]


async def test_a_mechanism_that_sends_the_password_itself_does_not_log_it(place, tmp_path):
    """PLAIN, with LOG_LEVEL=DEBUG; the other mechanisms send a proof."""
    scheduler = replace(place, folder=tmp_path).start("scheduler", KAFKA_SASL_MECHANISM="PLAIN")
    await scheduler.until_ready()
    code = await scheduler.stop()

    assert code == 0
    assert_no_secret(scheduler.log.read_text())


@pytest.mark.parametrize("case", ["kafka-password", "kafka-ca", "kafka-name"])
async def test_a_client_that_is_refused_has_sent_nothing_and_says_no_secret(place, case):
    """`NotSent`, at the start, and why."""

    async def enter() -> None:
        async with WalletClient(Settings.load(place.environment | wrong(place, case))):
            pass

    error = await raised(NotSent, enter())

    assert all(part in str(error) for part in REFUSALS[case])


@pytest.mark.parametrize("case", ["postgres-password", "postgres-ca", "kurrentdb-password", "kurrentdb-ca"])
async def test_a_repository_that_is_refused_says_no_secret(place, case):
    """That nothing was done, and in its cause why; with the right credentials the same command runs."""
    ids = {"wallet_id": new_id(), "owner_id": "owner", "command_id": new_id()}
    async with WalletRepository.open(Settings.load(place.environment | wrong(place, case))) as wallets:
        error = await raised(NotDoneError, wallets.create_wallet(**ids))
    async with WalletRepository.open(Settings.load(place.environment)) as wallets:
        created = await wallets.create_wallet(**ids)

    assert REFUSALS[case][0] in told(error)
    assert created.wallets[0].version == 0


def test_settings_and_their_errors_show_no_secret(place):
    """Neither `repr` nor `str`, nor the error of a wrong value beside the right ones."""
    settings = Settings.load(place.environment)
    broken = place.environment | {"DB_PORT": "none", "KURRENTDB_URI": place.environment["KURRENTDB_URI"][4:]}

    with pytest.raises(SettingsError) as refused:
        Settings.load(broken)

    told = "".join(traceback.format_exception(refused.value))
    for text in (repr(settings), str(settings), str(settings.as_migrator()), told):
        assert_no_secret(text)


async def test_a_uri_that_the_client_cannot_use_is_told_without_its_password(place):
    """esdbclient's own error repeats the URI."""
    store = EventStore(place.environment["KURRENTDB_URI"].replace("?", "/?nonsense=1&"), any_kurrentdb)

    with pytest.raises(Fatal, match=r"KURRENTDB_URI: .*NONSENSE") as refused:
        await store.is_ready()

    assert_no_secret("".join(traceback.format_exception(refused.value)))


async def credit_while_sessions_are_ended(place: Place, wallets: WalletClient, wallet_id: str) -> Result:
    """Every session of the worker is ended while the credit waits for a lock in one of them."""
    own = place.servers.environment
    async with foreign_transaction(own) as foreign:
        await foreign.execute("SELECT FROM wallets WHERE id = $1 FOR UPDATE", UUID(wallet_id))
        answer = asyncio.create_task(wallets.credit(wallet_id, "1"))
        await until_waiting(own)
        await foreign.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", RUNTIME)
    return await answer


async def credit_that_fails(place: Place, wallets: WalletClient, wallet_id: str) -> Result:
    """A trigger in Postgres raises."""
    command_id = new_id()
    async with fail_one_command(place.servers.environment, command_id):
        return await wallets.credit(wallet_id, "1", command_id=command_id)


async def publish_unreadable(settings: Settings, worker: Worker) -> None:
    """Publish a record that is no command, and wait until `worker` has answered it."""
    async with AIOKafkaProducer(**connection_arguments(settings)) as producer:
        await producer.send_and_wait(settings.command_topics[0], b"no command", b"key")
    await eventually(
        lambda: any("InvalidCommand" in line["rejected"] for line in worker.lines("batch")), "the refusal of a record"
    )


@asynccontextmanager
async def stopped(place: Place, *names: str) -> AsyncIterator[None]:
    """Stop these servers, and start them again behind the block."""
    await asyncio.to_thread(place.servers.stop, names)
    try:
        yield
    finally:
        await asyncio.to_thread(place.servers.start, names)


async def until_missed(process: Worker, servers: Collection[str]) -> None:
    """Wait until `process` has said that `servers` are lost, and not that they are back."""
    await eventually(lambda: missed(process).issuperset(servers), f"the loss of {servers}")


async def until_nothing_missed(process: Worker) -> None:
    """Wait until `process` has said of each server that it is back."""
    await eventually(lambda: not missed(process), "the return of every server")


def missed(process: Worker) -> set[str]:
    """The servers that are lost and not back by the log of `process`."""
    lost: set[str] = set()
    for event, server in process.said_of_servers():
        (lost.add if event == "server_lost" else lost.discard)(server)
    return lost


async def read_pages(process: Worker) -> str:
    """All that a process says over HTTP."""
    return "".join([(await process.page(name))[1] for name in ("livez", "readyz", "metrics")])


def everything_published(settings: Settings) -> AsyncIterator[ConsumerRecord]:
    """Every record up to where its topic ends now: commands, replies, dead letters, ticks."""
    topics = *settings.command_topics, settings.reply_topic, settings.dlq_topic, settings.schedule_topic
    return read_topics(*topics, **connection_arguments(settings))


async def raised(kind: type[Error], call: Awaitable[object]) -> Error:
    """The error of this kind that `call` raises, after its text was looked through."""
    with pytest.raises(kind) as caught:
        await call
    assert_no_secret(told(caught.value))
    return caught.value


def told(error: BaseException) -> str:
    """What a log or a terminal would show of an error and its causes, and what a debugger would."""
    return "".join(traceback.format_exception(error)) + repr(error)
