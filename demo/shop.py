"""The second chapter, through the client that upstream services import: a shop, a buyer, and what holds are for.

Each step says what its answer must be, wallets included; any other answer ends the demo.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from demo.errors import DemoError
from worker.client import Accepted, Result, WalletClient, part
from worker.settings import Settings

EXPIRES_IN = timedelta(seconds=2)


@dataclass(frozen=True)
class Step:
    """What was asked, how it was answered (a code, or empty), and the wallets as they are then."""

    what: str
    code: str
    wallets: Mapping[str, str]


@dataclass
class Shop:
    """The story so far; `expiring` is the hold that nobody captures, which ends at `expires_at`."""

    buyer: UUID = field(default_factory=uuid4)
    shop: UUID = field(default_factory=uuid4)
    authorised: UUID = field(default_factory=uuid4)
    expiring: UUID = field(default_factory=uuid4)
    expires_at: datetime = field(init=False)
    steps: list[Step] = field(default_factory=list)

    async def sell(self, environment: Mapping[str, str]) -> None:
        """From an authorisation to its capture; then an authorisation that the buyer forgets."""
        async with WalletClient(Settings.load(environment)) as wallets:
            opened = wallets.create_wallet(self.buyer, "buyer", initial_balance="100")
            await self._step("the buyer opens a wallet with 100", opened, buyer="100.0000")
            await self._step("the shop opens one, empty", wallets.create_wallet(self.shop, "shop"), shop="0.0000")
            authorised = wallets.place_hold(self.buyer, self.authorised, "60", hold_type="AUTHORIZATION")
            await self._step("the shop authorises 60", authorised, buyer="40.0000")
            overdrawn = wallets.debit(self.buyer, "50")
            await self._step("the buyer spends 50 elsewhere", overdrawn, "InsufficientFunds", buyer="40.0000")
            captured = wallets.capture_hold(self.buyer, self.authorised, "45", to_wallet_id=self.shop)
            await self._step("the shop captures 45 of the 60", captured, buyer="55.0000", shop="45.0000")
            self.expires_at = datetime.now(UTC) + EXPIRES_IN
            forgotten = wallets.place_hold(self.buyer, self.expiring, "30", expires_at=self.expires_at)
            what = f"30 more, for {EXPIRES_IN.seconds} seconds; nobody captures them"
            await self._step(what, forgotten, buyer="25.0000")

    async def wind_up(self, environment: Mapping[str, str]) -> None:
        """Once the hold has expired by itself: a group that fails, a suspension, and the end of the buyer's wallet."""
        async with WalletClient(Settings.load(environment)) as wallets:
            group = wallets.atomic(part.debit(self.shop, "10"), part.place_hold(self.shop, uuid4(), "1000"))
            what = "as one: the shop pays 10, and reserves 1,000"
            await self._step(what, group, "InsufficientFunds", shop="45.0000")
            suspended = wallets.suspend_wallet(self.buyer, reason="card reported stolen")
            await self._step("the buyer's wallet is suspended", suspended, buyer="55.0000")
            stolen = wallets.transfer(self.buyer, self.shop, "5")
            await self._step("a thief pays 5", stolen, "WalletNotActive", buyer="55.0000", shop="45.0000")
            await self._step("a refund of 10 arrives all the same", wallets.credit(self.buyer, "10"), buyer="65.0000")
            await self._step("the buyer is back", wallets.reactivate_wallet(self.buyer), buyer="65.0000")
            await self._step("and leaves", wallets.close_wallet(self.buyer), "WalletNotEmpty", buyer="65.0000")
            emptied = wallets.transfer(self.buyer, self.shop, "65")
            await self._step("so everything goes to the shop", emptied, buyer="0.0000", shop="110.0000")
            await self._step("now the wallet closes", wallets.close_wallet(self.buyer), buyer="0.0000")
            late = wallets.credit(self.buyer, "1")
            await self._step("nothing comes in any more", late, "WalletNotActive", buyer="0.0000")

    async def _step(self, what: str, asked: Awaitable[Result], code: str = "", **available: str) -> None:
        """Await the answer; DemoError unless it has this code, and these wallets have so much available."""
        answer = await asked
        names = {str(self.buyer): "buyer", str(self.shop): "shop"}
        found = {names[wallet.wallet_id]: f"{wallet.available_balance:.4f}" for wallet in answer.wallets}
        got = "" if isinstance(answer, Accepted) else str(answer.code)
        if (got, found) != (code, available):
            raise DemoError(
                f"{what}: answered {got or 'accepted'}, {found}; expected {code or 'accepted'}, {available}"
            )
        self.steps.append(Step(what, got, found))
