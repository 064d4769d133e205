"""A scene: what is drawn for it by its seed, how it is run, and what became of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import TopicPartition

from interleave.actors import Direct, Happening, happen
from interleave.choices import Choice, Choices
from interleave.clients import TIMESTAMP_BASE_MS
from interleave.commands import Ids, Record, Story
from interleave.core import Core, Servers
from interleave.gates import Actor, Gates, Style
from interleave.judge import judge
from interleave.kafka import Kafka
from interleave.kurrentdb import KurrentDB
from interleave.postgres import Postgres
from worker.inbox.intake import TRYING_MAX

RETURN_S = 0.5
"""How long it takes until a core that died is started again."""
PAUSES_S = (0.0, 0.01, 0.5, 3.0)
FAULTS = (
    "lost before",
    "lost after",
    "conflict",
    "fails",
    "lock time-out",
    "stale",
    "breaks",
    "loses the first",
)
LOCKED = 0.15
"""So many scenes are about wallets that strangers have locked."""
CHURNED = 0.1
"""So many are about cores that lose their partitions again and again while they wait for locked wallets."""
CONTRADICTORY = 0.1
"""So many scenes have a wallet into whose stream somebody else writes."""
KINDS = ("kill", "expel", "freeze", "rebalance", "lock")


@dataclass(frozen=True)
class Spec:
    """What a scene consists of, but for ids.

    `hot` is the share of commands that are about the first wallet. `happenings` strike once each, at some time.
    """

    seed: int
    wallets: int
    partitions: int
    cores: int
    static: bool
    has_append_records: bool
    style: Style
    hot: float
    poll_sizes: tuple[int, ...]
    commands: int
    gaps: frozenset[int]
    happenings: tuple[Happening, ...]
    left_out: frozenset[int] = frozenset()
    """Places of records that are not sent."""


class Result(NamedTuple):
    """What became of a scene: what was wrong, which choices were made, and what they led to."""

    violations: Sequence[str]
    choices: Sequence[Choice]
    trace: Sequence[str]


def draw(seed: int) -> Spec:
    """The scene that a seed stands for."""
    chance = random.Random(f"scene {seed}")
    cores, partitions = chance.choice((2, 2, 3)), chance.choice((2, 2, 3, 4))
    wallets, commands = chance.randint(3, 5), chance.randint(8, 26)
    calm = chance.random() < 0.15
    faults: frozenset[str] = frozenset()
    fault_chance = 0.0
    happenings = [
        Happening(chance.choice(KINDS), chance.randrange(cores), chance.randrange(wallets))
        for _ in range(0 if calm else chance.choice((0, 1, 2, 3)))
    ]
    # A scene of few kinds of faults has more of each.
    if calm:
        pass
    elif chance.random() < 0.5:
        faults, fault_chance = frozenset(FAULTS), chance.choice((0.02, 0.05, 0.1))
    else:
        faults, fault_chance = frozenset(chance.sample(FAULTS, chance.randint(1, 2))), chance.choice((0.1, 0.25))
    if chance.random() < LOCKED:
        happenings += [Happening("lock", chance.randrange(4), chance.choice((0, 0, 1, 2))) for _ in range(3)]
        faults, fault_chance = frozenset({"lock time-out"}), 0.3
    if chance.random() < CHURNED:
        happenings = [*(Happening("lock", 3, wallet) for wallet in (0, 0, 1)), Happening("churn", 0, 0)]
        faults, fault_chance = frozenset(), 0.0
    if chance.random() < CONTRADICTORY:
        happenings.append(Happening("foreign", 0, chance.randrange(wallets)))
    return Spec(
        seed,
        wallets,
        partitions,
        cores,
        static=chance.random() < 0.5,
        has_append_records=chance.random() < 0.85,
        style=Style(faults, fault_chance, stickiness=chance.choice((0.0, 2.0, 20.0))),
        hot=chance.choice((0.0, 0.3, 0.7, 0.7)),
        poll_sizes=tuple(chance.choice((1, 3, 10, 10)) for _ in range(5)),
        commands=commands,
        gaps=frozenset(place for place in range(wallets + commands) if chance.random() < 0.05),
        happenings=tuple(happenings),
    )


@dataclass
class Stage:
    """The servers and the loop on which scenes are run, one after another."""

    gates: Gates
    postgres: Postgres
    kurrentdb: KurrentDB
    nonce: int = field(default_factory=lambda: random.SystemRandom().getrandbits(40) << 24)

    async def run(self, spec: Spec, given: Sequence[Choice] | None = None) -> Result:
        """Run a scene once, as it is drawn or by the choices that are `given`."""
        self.nonce += 1
        scene = _Scene(self, spec, Choices(spec.seed, given))
        violations = await scene.run()
        return Result(violations, scene.choices.made, list(self.gates.trace))


class _Scene:
    def __init__(self, stage: Stage, spec: Spec, choices: Choices) -> None:
        self.stage, self.spec, self.choices = stage, spec, choices
        self.gates = stage.gates
        story = story_of(spec, stage.nonce)
        self.wallets = story.wallets
        self.gates.names = story.names
        kept = [record for place, record in enumerate(story.records) if place not in spec.left_out]
        self.records = [record for record in kept if not record.direct]
        self.kafka = Kafka(self.gates.loop, spec.partitions, spec.poll_sizes, self._check_commit)
        stage.kurrentdb.begin(has_append_records=spec.has_append_records)
        self.servers = Servers(self.gates, stage.postgres, stage.kurrentdb, self.kafka)
        self.cores: list[Core] = []
        self.direct = Direct(self.servers, [record for record in kept if record.direct])
        self.sender = Actor("sender")
        self.violations: list[str] = []
        self.sent = 0
        self.calm = False

    async def run(self) -> list[str]:
        # tenacity's back-off.
        random.seed(self.spec.seed)
        over = self.gates.begin(self.choices, self.spec.style, self._is_over)
        for number in range(self.spec.cores):
            self.start_core(number)
        self.sender.start(self._send())
        self.direct.start()
        actors = [happen(self, happening) for happening in self.spec.happenings]
        try:
            await over
        except Exception as error:  # noqa: BLE001 - whatever ends it is what was found
            self.violations.append(f"{type(error).__name__}: {error}")
        await self._end([self.sender, *actors])
        if not self.violations:
            self.violations += await judge(
                self.stage.postgres, self.stage.kurrentdb, self.kafka, self.wallets, self.direct.records
            )
            if not self._may_fail() and self._has_failed():
                self.violations.append("a command got InternalError, and nothing failed")
        return self.violations

    def _may_fail(self) -> bool:
        """Whether a command may get InternalError: Postgres refused it, or processes died while they ran it."""
        kills = sum(happening.kind == "kill" for happening in self.spec.happenings)
        return "fails" in self.spec.style.faults or kills >= TRYING_MAX

    def _has_failed(self) -> bool:
        replies = self.kafka.topics["replies"][0].entries
        return any(reply is not None and b'"InternalError"' in (reply.value or b"") for reply in replies)

    def start_core(self, number: int) -> None:
        """Start a core in the place of the one that died, if one did."""
        instance = f"i{number}" if self.spec.static else ""
        core = Core(self.servers, f"core {number}", instance, self._broke)
        self.cores[number : number + 1] = [core]
        core.start()

    def kill_core(self, number: int) -> None:
        """Kill a core; another one comes in its place."""
        core = self.cores[number]
        core.die()
        loop = self.gates.loop
        if not self.spec.static:
            loop.call_later(15.0, self.kafka.group.lose, core.consumer)
        loop.call_later(RETURN_S, self.start_core, number)

    def _broke(self, core: Core, error: Exception) -> None:
        self.violations.append(f"{core.actor.name} ended: {type(error).__name__}: {error}")
        self.gates.fail(error)

    async def _send(self) -> None:
        chance = random.Random(f"sender {self.spec.seed}")
        while self.sent < len(self.records):
            for _ in range(chance.randint(1, len(self.records))):
                if self.sent < len(self.records):
                    self._send_one(self.sent, self.records[self.sent])
                    self.sent += 1
            for core in self.cores:
                core.consumer.wake()
            await asyncio.sleep(chance.choice(PAUSES_S))

    def _send_one(self, number: int, record: Record) -> None:
        log = self.kafka.topics["commands"][record.partition]
        if number in self.spec.gaps:
            log.skip()
        headers = [("correlation_id", str(number).encode())]
        if record.attempt > 1:
            headers.append(("dlq_attempt", str(record.attempt).encode()))
        now_ms = TIMESTAMP_BASE_MS + round(self.gates.loop.now * 1000)
        log.add(record.key.encode(), record.value, tuple(headers), now_ms)

    def _check_commit(self, id_: TopicPartition, offset: int) -> None:
        """No offset is committed past a record without a reply."""
        replies = self.kafka.topics["replies"][0].entries + self.kafka.topics["dlq"][0].entries
        told = {value for reply in replies if reply for name, value in reply.headers if name == "correlation_id"}
        for record in self.kafka.log(id_).entries[:offset]:
            if record is not None and record.headers[0][1] not in told:
                self.violations.append(f"{id_.partition}/{record.offset} is committed and not answered")

    def _is_over(self) -> bool:
        return self.sent == len(self.records) and self.direct.is_done and self.kafka.is_answered()

    async def _end(self, others: Sequence[Actor]) -> None:
        actors = [*others, self.direct.actor, *(core.actor for core in self.cores)]
        for core in self.cores:
            core.die()
        self.direct.engine.cut()
        for actor in actors:
            actor.die()
        self.gates.end()
        with self.gates.outside():
            while left := [task for actor in (*actors, self.stage.postgres.actor) for task in actor.tasks]:
                await asyncio.wait(left)
        self.gates.loop.drop_timers()


def story_of(spec: Spec, nonce: int = 0) -> Story:
    """The wallets and records of a scene."""
    return Story(
        random.Random(f"story {spec.seed}"),
        Ids(nonce),
        wallets=spec.wallets,
        partitions=spec.partitions,
        commands=spec.commands,
        hot=spec.hot,
    )


def count_records(spec: Spec) -> int:
    """How many records a scene has when none is left out."""
    return spec.wallets + spec.commands


def describe(spec: Spec) -> Iterator[str]:
    """What is sent in a scene, a line each."""
    story = story_of(spec)
    for place, record in enumerate(story.records):
        if place not in spec.left_out:
            text = record.value.decode()
            for id_, name in story.names.items():
                text = text.replace(id_, name)
            where = "direct call" if record.direct else f"partition {record.partition}"
            attempt = f", dlq_attempt {record.attempt}" if record.attempt > 1 else ""
            yield f"{place} ({where}, key {story.names[record.key]}{attempt}): {text}"
