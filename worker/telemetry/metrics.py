"""Metrics: what a process counts and measures, under the names that `/metrics` shows.

One object a process, on a registry of its own, so that several may live in one test. Labels only ever hold what this
project names (types, codes, stages, topics, partitions): nothing that a sender chooses, for each new value is a series.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

STAGES = ("fetch", "decode", "transaction", "append", "reply", "commit")
"""The way of a batch, in order; the label of `wallex_stage_seconds`."""

BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


def new_registry() -> CollectorRegistry:
    """Return a registry that has the process's own figures (CPU, memory, open files, garbage collection) already."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class WorkerMetrics:
    """What the worker measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.commands = Counter(
            "wallex_commands",
            "Commands answered for the first time; code is empty where the status is accepted.",
            ["type", "status", "code"],
            registry=registry,
        )
        self.replayed = Counter(
            "wallex_commands_replayed",
            "Redeliveries and duplicates, answered with their first reply.",
            registry=registry,
        )
        self.batch_commands = Histogram(
            "wallex_batch_commands", "Commands in a batch.", buckets=BATCH_BUCKETS, registry=registry
        )
        self.stage_seconds = Histogram(
            "wallex_stage_seconds",
            "Time that a batch took in each stage; fetch: that Kafka took to have more.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.oldest_unanswered_seconds = Gauge(
            "wallex_oldest_unanswered_command_seconds",
            "Age of the oldest command that was fetched and not answered yet, 0 if there is none.",
            registry=registry,
        )
        self.partition_lag = Gauge(
            "wallex_partition_lag_records",
            "Records of an assigned partition from the first that is not answered to its end.",
            ["topic", "partition"],
            registry=registry,
        )
        self.partitions_paused = Gauge(
            "wallex_partitions_paused", "Partitions that wait for an operator.", registry=registry
        )
        self.dead_letters = Counter(
            "wallex_dead_letters", "Records written to the dead letter topic.", ["code"], registry=registry
        )
        self.wallets_quarantined = Gauge(
            "wallex_wallets_quarantined", "Wallets that take no commands: their stores contradict.", registry=registry
        )
        self._append(registry)
        self._expiry(registry)
        for stage in STAGES:
            self.stage_seconds.labels(stage)

    def _append(self, registry: CollectorRegistry) -> None:
        self.events_appended = Counter(
            "wallex_events_appended", "Events that KurrentDB acknowledged.", registry=registry
        )
        self.appends_refused = Counter(
            "wallex_appends_refused", "Append calls refused because a stream stands elsewhere.", registry=registry
        )
        self.appends_unknown = Counter(
            "wallex_appends_unknown", "Append calls repeated because they timed out or were cut.", registry=registry
        )
        self.events_helped = Counter(
            "wallex_events_helped",
            "Events of another worker that this one appended from the ledger.",
            registry=registry,
        )

    def _expiry(self, registry: CollectorRegistry) -> None:
        self.expiries_published = Counter(
            "wallex_expiries_published", "ExpireHold commands published for holds that were due.", registry=registry
        )
        self.expiry_lag_seconds = Gauge(
            "wallex_expiry_lag_seconds",
            "For how long the longest overdue hold has been due and still reserves money, 0 if there is none.",
            registry=registry,
        )


class SchedulerMetrics:
    """What the scheduler measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ticks = Counter("wallex_ticks_published", "Ticks published to the schedule topic.", registry=registry)
        self.lease_held = Gauge("wallex_lease_held", "1 if this process holds the lease.", ["lease"], registry=registry)
        self.lease_number = Gauge(
            "wallex_lease_number",
            "The number under which this process holds the lease, 0 if it does not.",
            ["lease"],
            registry=registry,
        )
        self._verify(registry)

    def _verify(self, registry: CollectorRegistry) -> None:
        self.verify_rounds = Counter(
            "wallex_verify_rounds",
            "Comparisons of all stores; outcome is finished, store_away or failed.",
            ["outcome"],
            registry=registry,
        )
        self.verify_repaired = Counter(
            "wallex_verify_repaired",
            "Stretches of a stream, and documents of a wallet, made up.",
            ["store"],
            registry=registry,
        )
        self.verify_contradictions = Gauge(
            "wallex_verify_contradictions", "Differences in the last round that wait for a person.", registry=registry
        )
        self.verify_round_seconds = Gauge(
            "wallex_verify_round_seconds", "How long the last finished round took, with its rests.", registry=registry
        )


class ProjectorMetrics:
    """What the projector measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("wallex_projection_events", "Events read from KurrentDB.", registry=registry)
        self.events_skipped = Counter(
            "wallex_projection_events_skipped",
            "Events in a wallet's stream that make no document; reason is unknown_type or not_ours.",
            ["reason"],
            registry=registry,
        )
        self.bulk_seconds = Histogram(
            "wallex_projection_bulk_seconds",
            "Time that a bulk took in Elasticsearch.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.commit_position = Gauge(
            "wallex_projection_commit_position",
            "Position in $all up to which documents are written.",
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "wallex_projection_lag_seconds",
            "Age of the last event that was written, 0 if caught up.",
            registry=registry,
        )
