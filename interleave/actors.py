"""Who acts in a scene besides the cores: a direct caller, and what strikes now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from esdbclient import NewEvent, StreamState

from interleave.commands import Command, Record
from interleave.core import Servers
from interleave.gates import Actor
from interleave.kurrentdb import accept
from interleave.postgres import Connection, Engine
from worker.contracts.calls import Asked
from worker.contracts.events import stream_name
from worker.errors import (
    AppendPendingError,
    NotDoneError,
    OutcomeUnknownError,
    RejectedError,
    StoresContradictError,
)
from worker.ledger.lock import LOCK_FREE_WALLETS
from worker.outbox.append_direct import DirectAppends
from worker.outbox.event_store import EventStore
from worker.repository import WalletRepository

if TYPE_CHECKING:
    from interleave.scene import _Scene

FOREIGN = "Foreign"
"""The type of an event that no command made."""
AGAIN_S = 0.5
RARE = 0.04
"""How likely it is that something strikes now, against one who may go on."""
CHURNS, CHURN_S = 8, 1.0
FROZEN_S = 20.0
LOCKED_S = (0.5, 3.0, 5.0, 9.0)


class Happening(NamedTuple):
    """Something that strikes once: what, which core, and which wallet."""

    kind: str
    core: int
    wallet: int


class Direct:
    """Calls to the repository, one after another; each again until its outcome is known."""

    def __init__(self, servers: Servers, records: Sequence[Record]) -> None:
        self.records = records
        self.actor = Actor("direct")
        self.engine: Any = Engine(servers.postgres, "direct")
        store = EventStore("", accept, servers.kurrentdb.connect)
        installation: Any = SimpleNamespace(is_known=True, refused=None)
        appends = DirectAppends(store, self.engine)
        self._wallets = WalletRepository(self.engine, store, installation, appends, "replies")
        self.is_done = False

    def start(self) -> None:
        """Begin."""
        self.actor.start(self._call_all())

    async def _call_all(self) -> None:
        for record in self.records:
            while not await self._call(record.command):  # noqa: ASYNC110 - a caller that tries again
                await asyncio.sleep(AGAIN_S)
        self.is_done = True

    async def _call(self, command: Command) -> bool:
        try:
            await ask(self._wallets, command)
        except RejectedError as error:
            # Another transaction stood in its way: nothing was done, and nothing is remembered.
            return "reason" not in error.details
        except StoresContradictError:
            return True
        except (AppendPendingError, NotDoneError, OutcomeUnknownError):
            return False
        return True


def ask(wallets: WalletRepository, command: Command) -> Coroutine[Any, Any, Any]:
    """The call that a command is."""
    fields = {_snake(name): value for name, value in command.items() if name != "commandId"}
    return wallets._ask(Asked(fields, command["commandId"]))


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def happen(scene: _Scene, happening: Happening) -> Actor:
    """Let it strike at some time of the scheduler's choice."""
    actor = Actor("chance")
    actor.start(_KINDS[happening.kind](scene, happening))
    return actor


async def _kill(scene: _Scene, what: Happening) -> None:
    async def kill() -> None:
        if not scene.cores[what.core].actor.dead:
            scene.kill_core(what.core)

    await scene.gates.call(f"kill core {what.core}", kill, weight=RARE)


async def _expel(scene: _Scene, what: Happening) -> None:
    async def expel() -> None:
        scene.kafka.group.lose(scene.cores[what.core].consumer)

    await scene.gates.call(f"expel core {what.core} from the group", expel, weight=RARE)


async def _freeze(scene: _Scene, what: Happening) -> None:
    async def freeze() -> None:
        scene.cores[what.core].actor.frozen = True

    await scene.gates.call(f"freeze core {what.core}", freeze, weight=RARE)
    core = scene.cores[what.core]
    await asyncio.sleep(FROZEN_S / 2)
    scene.kafka.group.lose(core.consumer)
    await asyncio.sleep(FROZEN_S / 2)
    core.actor.frozen = False


async def _rebalance(scene: _Scene, _what: Happening) -> None:
    async def rebalance() -> None:
        scene.kafka.group.prepare()

    await scene.gates.call("rebalance", rebalance, weight=RARE)


async def _lock(scene: _Scene, what: Happening) -> None:
    """Somebody else's transaction sits on a wallet, if nobody has it at that moment."""
    wallet = scene.wallets[what.wallet % len(scene.wallets)]

    async def lock() -> None:
        async def do() -> None:
            await session.raw.execute("BEGIN")
            await session.raw.fetch(LOCK_FREE_WALLETS, [wallet])

        session = await scene.servers.postgres.session()
        connection = Connection(scene.servers.postgres, session, "a stranger")
        try:
            await scene.gates.fly(do)
            await asyncio.sleep(LOCKED_S[(what.core + what.wallet) % len(LOCKED_S)])
        except Exception:  # noqa: BLE001, S110 - somebody has it
            pass
        finally:
            connection.terminate()

    await scene.gates.call(f"lock {scene.gates.names[wallet]}", lock, weight=RARE)


async def _churn(scene: _Scene, _what: Happening) -> None:
    """Cores lose their places in the group one after another, as two under one instance id do."""
    for turn in range(CHURNS):
        number = turn % len(scene.cores)

        async def expel(number: int = number) -> None:
            scene.kafka.group.lose(scene.cores[number].consumer)

        await scene.gates.call(f"expel core {number} from the group", expel, weight=RARE if turn == 0 else 1.0)
        await asyncio.sleep(CHURN_S)


async def _foreign(scene: _Scene, what: Happening) -> None:
    """Somebody else appends to a wallet's stream what the ledger does not have: from then on the stores contradict."""
    wallet = scene.wallets[what.wallet % len(scene.wallets)]

    async def append() -> None:
        event = NewEvent(type=FOREIGN, data=b"{}")
        client = scene.servers.kurrentdb.client
        await scene.gates.fly(
            lambda: client.append_to_stream(stream_name(wallet), current_version=StreamState.ANY, events=[event])
        )

    await scene.gates.call(f"append a foreign event to {scene.gates.names[wallet]}", append, weight=RARE)


_KINDS: dict[str, Callable[[_Scene, Happening], Coroutine[Any, Any, None]]] = {
    "kill": _kill,
    "expel": _expel,
    "freeze": _freeze,
    "rebalance": _rebalance,
    "lock": _lock,
    "foreign": _foreign,
    "churn": _churn,
}
