"""Commands as calls beside the database, on real servers: what returns is done everywhere, what raises says what is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.integration.kurrentdb.standin import start_standin
from tests.support.beside import beside, book_of, everything, lose_answer_to_commit
from tests.support.commands import create_wallet, credit, new_id, transfer
from tests.support.ledger import balances, codes, foreign_transaction, recorded, run, states
from worker import errors
from worker.contracts.calls import part
from worker.contracts.replies import ErrorCode
from worker.ledger.batch import record_failure
from worker.ledger.decide_batch import Failed
from worker.ledger.quarantine import quarantine
from worker.outbox import append_direct
from worker.outbox.run import runs_of
from worker.repository import WalletRepository

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
LARGEST = 10**14


@pytest.fixture
async def wallets(environment) -> AsyncIterator[WalletRepository]:
    async with beside(environment) as wallets:
        yield wallets


async def test_a_transfer_is_in_the_books_and_in_both_streams_when_it_returns(environment, engine, wallets):
    """Durable first: what the call returns is committed in Postgres and appended to KurrentDB."""
    a, b = new_id(), new_id()
    await wallets.create_wallet(a, "alice", initial_balance="100")
    await wallets.create_wallet(UUID(b), "bob")

    reply = await wallets.transfer(a, b, Decimal("12.5"), reference="order-1")

    assert [(w.wallet_id, str(w.balance), w.version) for w in reply.wallets] == [(a, "87.5000", 1), (b, "12.5000", 1)]
    assert await states(engine) == {a: ("87.5000", "0.0000", 1), b: ("12.5000", "0.0000", 1)}
    async with book_of(environment, engine) as book:
        assert [len(await book.stream(id_)) for id_ in (a, b)] == [2, 2]
        assert await book.differing([a, b]) == []


Prepare = Callable[[WalletRepository, str, str], Awaitable[object]]


async def nothing(_wallets: WalletRepository, _a: str, _b: str) -> None:
    """The two wallets alone."""


async def suspended(wallets: WalletRepository, a: str, _b: str) -> None:
    await wallets.suspend_wallet(a)


async def held(wallets: WalletRepository, a: str, b: str) -> None:
    await wallets.place_hold(a, _hold_of(a), "5")


async def released(wallets: WalletRepository, a: str, b: str) -> None:
    await held(wallets, a, b)
    await wallets.release_hold(a, _hold_of(a))


async def full(wallets: WalletRepository, a: str, _b: str) -> None:
    for _ in range(8):
        await wallets.credit(a, LARGEST)
    await wallets.credit(a, LARGEST - 100)


async def described(wallets: WalletRepository, a: str, _b: str) -> None:
    await wallets.update_metadata(a, {"one": "x" * 5000})


async def quarantined(wallets: WalletRepository, a: str, _b: str) -> None:
    await quarantine(wallets._engine, {a: "its stream holds other events"})


def _hold_of(wallet_id: str) -> str:
    """A hold id of the wallet's own."""
    return wallet_id[:-4] + "abcd"


REFUSED: list[tuple[type[errors.RejectedError], Prepare, Callable[..., Awaitable[object]]]] = [
    (errors.WalletNotFoundError, nothing, lambda w, a, b, **o: w.credit(new_id(), "1", **o)),
    (errors.WalletAlreadyExistsError, nothing, lambda w, a, b, **o: w.create_wallet(a, "owner", **o)),
    (errors.WalletNotActiveError, suspended, lambda w, a, b, **o: w.debit(a, "1", **o)),
    (errors.WalletNotEmptyError, nothing, lambda w, a, b, **o: w.close_wallet(a, **o)),
    (errors.InsufficientFundsError, nothing, lambda w, a, b, **o: w.transfer(a, b, "100.0001", **o)),
    (errors.InvalidAmountError, nothing, lambda w, a, b, **o: w.credit(a, "-1", **o)),
    (errors.CurrencyMismatchError, nothing, lambda w, a, b, **o: w.credit(a, "1", currency="EUR", **o)),
    (errors.SameWalletError, nothing, lambda w, a, b, **o: w.transfer(a, a, "1", **o)),
    (errors.HoldNotFoundError, nothing, lambda w, a, b, **o: w.release_hold(a, new_id(), **o)),
    (errors.HoldAlreadyExistsError, held, lambda w, a, b, **o: w.place_hold(b, _hold_of(a), "1", **o)),
    (errors.HoldNotActiveError, released, lambda w, a, b, **o: w.capture_hold(a, _hold_of(a), **o)),
    (errors.HoldExpiredError, nothing, lambda w, a, b, **o: w.place_hold(a, new_id(), "1", expires_at=LONG_AGO, **o)),
    (errors.HoldNotDueError, held, lambda w, a, b, **o: w.expire_hold(a, _hold_of(a), **o)),
    (errors.CaptureExceedsHoldError, held, lambda w, a, b, **o: w.capture_hold(a, _hold_of(a), "6", **o)),
    (errors.BalanceLimitExceededError, full, lambda w, a, b, **o: w.credit(a, "0.0001", **o)),
    (errors.MetadataTooLargeError, described, lambda w, a, b, **o: w.update_metadata(a, {"two": "x" * 5000}, **o)),
    (errors.WalletQuarantinedError, quarantined, lambda w, a, b, **o: w.transfer(b, a, "1", **o)),
    (errors.EventConcurrencyError, nothing, lambda w, a, b, **o: w.debit(a, "1", expected_version=7, **o)),
    (errors.CommandExpiredError, nothing, lambda w, a, b, **o: w.debit(a, "1", not_after=LONG_AGO, **o)),
    (errors.InvalidCommandError, nothing, lambda w, a, b, **o: w.create_wallet(new_id(), "nul \0", **o)),
]


@pytest.mark.parametrize(("error", "prepare", "call"), REFUSED, ids=[error.__name__ for error, *_ in REFUSED])
async def test_a_refusal_is_an_error_of_its_own_and_nothing_takes_effect(engine, wallets, error, prepare, call):
    """It can be caught by name, and carries the command's id, the code, a text and the details."""
    a, b, command_id = new_id(), new_id(), new_id()
    await wallets.create_wallet(a, "alice", initial_balance="100")
    await wallets.create_wallet(b, "bob")
    await prepare(wallets, a, b)
    before = await everything(engine)

    with pytest.raises(error) as raised:
        await call(wallets, a, b, command_id=command_id)

    after = await everything(engine)
    assert {**after, "commands": before["commands"]} == before
    assert (raised.value.command_id, raised.value.code) == (command_id, error.code)
    assert raised.value.message and raised.value.details
    assert command_id in str(raised.value)


async def test_an_id_that_was_used_for_something_else_is_a_conflict(engine, wallets):
    """The first meaning stands."""
    a, command_id = new_id(), new_id()
    await wallets.create_wallet(a, "alice")
    await wallets.credit(a, "1", command_id=command_id)

    with pytest.raises(errors.IdempotencyConflictError) as raised:
        await wallets.credit(a, "2", command_id=command_id)

    assert raised.value.command_id == command_id
    assert str((await balances(engine))[a][0]) == "1.0000"


async def test_a_failure_that_the_worker_stored_is_told_again(engine, wallets):
    """Only `wallex dlq replay` runs such a command again."""
    a, command_id = new_id(), new_id()
    await wallets.create_wallet(a, "alice")
    await record_failure(engine, Failed(command_id, None, b"", 1, datetime.now(UTC)))

    with pytest.raises(errors.InternalError):
        await wallets.credit(a, "1", command_id=command_id)

    assert (await balances(engine))[a][1] == 0


def test_every_code_has_its_error():
    """But the one for headers, which a direct call does not have."""
    codes_with_error = {error.code for error in errors.RejectedError.__subclasses__()}

    assert codes_with_error == set(ErrorCode) - {ErrorCode.REPLY_TOPIC_NOT_ALLOWED}
    tried = {error.code for error, *_ in REFUSED}
    assert codes_with_error - tried == {ErrorCode.IDEMPOTENCY_CONFLICT, ErrorCode.INTERNAL_ERROR}


async def test_an_amount_is_never_a_float(wallets):
    """A binary float is not money: a clear error before anything is done."""
    with pytest.raises(TypeError, match=r"never a float: 12\.5"):
        await wallets.credit(new_id(), 12.5)


async def test_a_command_id_must_be_one(wallets):
    """It says what is expected."""
    with pytest.raises(errors.InvalidCommandError, match="UUID in lower case") as raised:
        await wallets.credit(new_id(), "1", command_id="order-1")

    assert raised.value.command_id == "order-1"


async def test_a_repeat_under_the_same_id_is_harmless_here_and_over_kafka(engine, wallets):
    """Accepted or refused: the first outcome again, and one effect."""
    a, b = new_id(), new_id()
    await wallets.create_wallet(a, "alice", initial_balance="10")
    await wallets.create_wallet(b, "bob")
    paid, refused = new_id(), new_id()

    first = await wallets.transfer(a, b, "7.5", command_id=paid)
    again = await wallets.transfer(a, b, "7.50", command_id=paid)
    for _ in range(2):
        with pytest.raises(errors.InsufficientFundsError):
            await wallets.debit(a, "5", command_id=refused)
        await wallets.credit(a, "5")
    (over_kafka,) = await run(engine, {**transfer(a, b, "7.5"), "commandId": paid})

    assert again == first
    assert over_kafka.replayed
    assert {id_: str(balance) for id_, (balance, _) in (await balances(engine)).items()} == {a: "12.5000", b: "7.5000"}
    assert await recorded(engine, refused) == [(1, "InsufficientFunds")]


async def test_what_ran_over_kafka_is_repeated_here(engine, wallets):
    """The call returns the worker's reply."""
    a = new_id()
    command = credit(a, "5")
    await run(engine, create_wallet(a), command)

    reply = await wallets.credit(a, "5", command_id=command["commandId"])

    assert (reply.command_id, reply.wallets[0].version) == (command["commandId"], 1)
    assert (await balances(engine))[a][1] == 1


async def test_a_group_is_one_call(environment, engine, wallets):
    """All of its parts or none; each part is made by the method of its name."""
    a, b, hold_id = new_id(), new_id(), new_id()
    await wallets.create_wallet(a, "alice", initial_balance="10")

    reply = await wallets.atomic(
        part.create_wallet(b, "bob"), part.transfer(a, b, "5"), part.place_hold(a, hold_id, "3", reference="r")
    )
    with pytest.raises(errors.InsufficientFundsError) as raised:
        await wallets.atomic(part.credit(b, "1"), part.debit(a, "3"))

    assert [told.status for told in reply.parts or []] == ["accepted"] * 3
    assert raised.value.details["index"] == 1
    assert await states(engine) == {a: ("5.0000", "3.0000", 2), b: ("5.0000", "0.0000", 1)}
    async with book_of(environment, engine) as book:
        assert await book.differing([a, b]) == []


async def test_an_expiry_of_a_hold_that_was_placed_here_is_answered_on_the_reply_topic(engine, wallets):
    """Nobody asked over Kafka, so nobody else can be told."""
    a, hold_id = new_id(), new_id()
    await wallets.create_wallet(a, "alice", initial_balance="10")
    await wallets.place_hold(a, hold_id, "3", expires_at=datetime.now(UTC) + timedelta(hours=1))

    assert "wallet.replies" in (await everything(engine))["holds"][0]


async def test_a_wallet_that_somebody_sits_on_is_told_and_nothing_is_stored(environment, engine, wallets):
    """Try again: neither the effect nor the refusal is kept."""
    a, command_id = new_id(), new_id()
    await wallets.create_wallet(a, "alice", initial_balance="10")

    async with foreign_transaction(environment) as somebody:
        await somebody.execute("SELECT FROM wallets WHERE id = $1::uuid FOR UPDATE", a)
        with pytest.raises(errors.EventConcurrencyError):
            await wallets.debit(a, "1", command_id=command_id)
    await wallets.debit(a, "1", command_id=command_id)

    assert (await balances(engine))[a][1] == 1


async def test_two_calls_that_open_the_same_wallet_at_once(wallets):
    """Nothing is there to lock: the later one looks again, and is refused."""
    a = new_id()

    told = await asyncio.gather(*(wallets.create_wallet(a, "owner") for _ in range(4)), return_exceptions=True)

    assert sorted(type(one).__name__ for one in told) == ["Reply", *["WalletAlreadyExistsError"] * 3]


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
async def test_a_lost_answer_to_the_commit_is_unknown_and_repeated_without_harm(
    engine, wallets, monkeypatch, committed
):
    """Only a known commit is ever reported as done; the same id tells what became of it."""
    a, command_id = new_id(), new_id()
    await wallets.create_wallet(a, "alice")
    lose_answer_to_commit(monkeypatch, committed=committed)

    with pytest.raises(errors.OutcomeUnknownError) as raised:
        await wallets.credit(a, "5", command_id=command_id)
    reply = await wallets.credit(a, "5", command_id=raised.value.command_id)

    assert str(reply.wallets[0].balance) == "5.0000"
    assert (await balances(engine))[a][1] == 1


async def test_without_postgres_nothing_is_done(environment):
    """It is said that nothing took effect."""
    async with beside({**environment, "DB_PORT": "1"}) as wallets:
        with pytest.raises(errors.NotDoneError, match="Postgres is away"):
            await wallets.credit(new_id(), "1")
        with pytest.raises(errors.NotDoneError, match="Postgres is away"):
            async with wallets.transaction():
                pass


async def test_what_kurrentdb_does_not_acknowledge_is_done_and_follows_later(
    environment, engine, tmp_path, monkeypatch
):
    """AppendPending is no failure: the wallet's next event, or a repeat, brings the missing ones along."""
    standin = await start_standin(tmp_path)
    port = int(standin.target.rsplit(":", 1)[1])
    a, b = new_id(), new_id()
    async with beside(environment, standin.uri) as wallets:
        await wallets.create_wallet(a, "alice", initial_balance="10")
        await wallets.create_wallet(b, "bob")
        await standin.stop()
        monkeypatch.setattr(append_direct, "APPEND_S", 0.5)
        with capture_logs(), pytest.raises(errors.AppendPendingError) as pending:
            await wallets.transfer(a, b, "5")

        assert str(pending.value.reply.wallets[0].balance) == "5.0000"
        assert (await balances(engine))[b][1] == 1
        monkeypatch.undo()
        standin = await start_standin(tmp_path, port=port)
        with capture_logs():
            await wallets.transfer(a, b, "5", command_id=pending.value.command_id)
            await wallets.debit(a, "1")
        async with book_of({**environment, "KURRENTDB_URI": standin.uri}, engine) as book:
            assert await book.differing([a, b]) == []
            assert [len(await book.stream(id_)) for id_ in (a, b)] == [3, 2]
    await standin.stop()


async def test_the_next_event_of_a_wallet_brings_those_that_are_pending(environment, engine, monkeypatch):
    """From another process, too: the stream that stands behind is helped from the ledger."""
    a = new_id()
    async with beside(environment) as wallets, book_of(environment, engine) as book:
        await wallets.create_wallet(a, "alice")
        monkeypatch.setattr(append_direct, "APPEND_S", 0.0)
        with capture_logs(), pytest.raises(errors.AppendPendingError):
            await wallets.credit(a, "5")
        assert len(await book.stream(a)) == 1

        await book.append([await book.credit(a)])

        assert await book.differing([a]) == []


async def test_a_stream_that_holds_something_else_is_named(environment, engine, wallets):
    """It took effect in Postgres, and a person has to look: nothing more goes into that stream."""
    a, b = new_id(), new_id()
    await wallets.create_wallet(a, "alice", initial_balance="10")
    await wallets.create_wallet(b, "bob")
    async with book_of(environment, engine) as book:
        await book.append_foreign(a, 1, after=0)
        with capture_logs(), pytest.raises(errors.StoresContradictError) as raised:
            await wallets.transfer(a, b, "1")

        assert raised.value.details == {"walletIds": [a]}
        with pytest.raises(errors.RejectedError) as refused:
            await wallets.transfer(a, b, "1")
        assert refused.value.code == "WalletQuarantined"
        assert await book.differing([a, b]) == [a]
        assert len(await book.stream(a)) == 2


async def test_a_call_that_is_cancelled_after_its_commit_is_appended_all_the_same(environment, engine, monkeypatch):
    """What is done is done; closing the repository waits for the append."""
    a = new_id()
    committed, goes_on = asyncio.Event(), asyncio.Event()
    append_all = append_direct.DirectAppends._append_all

    async def held_up(self, outcome) -> None:
        committed.set()
        await goes_on.wait()
        await append_all(self, outcome)

    async with beside(environment) as wallets:
        await wallets.create_wallet(a, "alice")
        monkeypatch.setattr(append_direct.DirectAppends, "_append_all", held_up)
        call = asyncio.create_task(wallets.credit(a, "5"))
        await committed.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        goes_on.set()

    async with book_of(environment, engine) as book:
        assert len(await book.stream(a)) == 2
        assert await book.differing([a]) == []


async def test_worker_and_repository_work_on_the_same_wallets(environment, engine, wallets):
    """Each stream has every event once, in the order of the ledger, whoever appended it."""
    a, b = sorted((new_id(), new_id()))
    await wallets.create_wallet(a, "alice", initial_balance="1000")
    await wallets.create_wallet(b, "bob", initial_balance="1000")

    async def direct() -> None:
        for _ in range(25):
            await wallets.transfer(a, b, "1")

    async with book_of(environment, engine) as book:

        async def worker() -> None:
            for _ in range(10):
                outcomes = await run(engine, *(transfer(b, a) for _ in range(10)))
                assert codes(outcomes) == ["accepted"] * 10
                await book.append(runs_of(event for outcome in outcomes for event in outcome.events))

        with capture_logs():
            await asyncio.gather(worker(), direct(), direct())

        after = {id_: (str(balance), version) for id_, (balance, version) in (await balances(engine)).items()}
        assert after == {a: ("1050.0000", 150), b: ("950.0000", 150)}
        assert await book.differing([a, b]) == []
        assert [len(await book.stream(id_)) for id_ in (a, b)] == [151, 151]


async def test_calls_on_one_wallet_are_appended_in_the_order_of_their_commits(environment, engine):
    """None has to wait in KurrentDB for one that was committed before it and comes later."""
    a, b = new_id(), new_id()
    async with beside(environment) as wallets, book_of(environment, engine) as book:
        await wallets.create_wallet(a, "alice", initial_balance="1000")
        await wallets.create_wallet(b, "bob")

        with capture_logs() as log:
            replies = await asyncio.gather(*(wallets.transfer(a, b, "1") for _ in range(100)))

        assert sorted(reply.wallets[0].version for reply in replies) == list(range(1, 101))
        assert [line for line in log if line["event"] == "stream_helped"] == []
        assert await book.differing([a, b]) == []
