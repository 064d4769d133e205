"""A group (`Atomic`): its parts are decided in order, each seeing what the ones before did; all happen, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.contracts.commands import Atomic, CreateWalletPart, Part
from worker.domain.decide import decide_part, hold_ids, too_late, wallet_ids
from worker.domain.evolve import evolve, evolve_hold
from worker.domain.facts import Fact, OfHold
from worker.domain.rejections import Rejected, in_part
from worker.domain.wallet import Book, Hold, Wallet


@dataclass(frozen=True, slots=True)
class PartOutcome:
    """What became of a part: its facts, or its rejection, and the hold that it names, as the part left it.

    In a refused group, whose parts leave nothing, the hold is as it is. A part that was not run has none of these.
    `part` has the group's reference and metadata where it had none.
    """

    part: Part
    facts: tuple[Fact, ...] = ()
    hold: Hold | None = None
    rejected: Rejected | None = None
    ran: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """What became of a group: its parts in order, and the rejection of the one that refused, with its index."""

    parts: tuple[PartOutcome, ...]
    rejected: Rejected | None


def decide_group(command: Atomic, book: Book, now: datetime) -> Group:
    """Decide all parts of `command` on `book`, which stays as it is; the first refusal refuses all."""
    parts = [_in_group(part, command) for part in command.commands]
    late = too_late(command, now)
    if late is not None:
        return Group(tuple(PartOutcome(part, ran=False) for part in parts), late)
    wallets = {id_: book.wallets[id_] for id_ in wallet_ids(command) if id_ in book.wallets}
    holds = {id_: book.holds[id_] for id_ in hold_ids(command) if id_ in book.holds}
    outcomes = []
    for index, part in enumerate(parts):
        decision = decide_part(part, Book(wallets, holds, book.quarantined), now)
        if isinstance(decision, Rejected):
            return _refuse(parts, index, decision, book)
        fold(decision, wallets, holds, now)
        outcomes.append(PartOutcome(part, decision, hold_named(part, Book(wallets, holds))))
    return Group(tuple(outcomes), None)


def _refuse(parts: Sequence[Part], index: int, rejected: Rejected, book: Book) -> Group:
    """Part number `index` refuses, so nothing happens: the holds that were asked about are as they were."""
    accepted = (PartOutcome(part, hold=hold_named(part, book)) for part in parts[:index])
    refused = PartOutcome(parts[index], hold=hold_named(parts[index], book), rejected=rejected)
    not_run = (PartOutcome(part, ran=False) for part in parts[index + 1 :])
    return Group((*accepted, refused, *not_run), in_part(rejected, index))


def _in_group(part: Part, command: Atomic) -> Part:
    """`part`, with the group's reference and metadata where it has none; what is the wallet's metadata stays so."""
    given: dict[str, object] = {}
    if part.reference is None and command.reference is not None:
        given["reference"] = command.reference
    if part.metadata is None and command.metadata is not None and not isinstance(part, CreateWalletPart):
        given["metadata"] = command.metadata
    return part.model_copy(update=given) if given else part


def fold(facts: tuple[Fact, ...], wallets: dict[str, Wallet], holds: dict[str, Hold], now: datetime) -> None:
    """Fold `facts` into `wallets` and `holds`."""
    for fact in facts:
        wallet = evolve(wallets.get(fact.wallet_id), fact, now)
        wallets[wallet.id] = wallet
        if isinstance(fact, OfHold):
            holds[fact.hold_id] = evolve_hold(holds.get(fact.hold_id), fact, wallet.updated_at)


def hold_named(part: Part, book: Book) -> Hold | None:
    """The hold that `part` names, as it stands, if it is of the part's wallet."""
    found = [book.holds[id_] for id_ in hold_ids(part) if id_ in book.holds]
    return found[0] if found and found[0].wallet_id in wallet_ids(part)[:1] else None
