"""What is said of topics as they are: what loses records now, what would lose them some day, what may be meant so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from worker.errors import Fatal
from worker.topics import SENT_BYTES_MAX, WEEK_MS, Topic, Use, find_limits, find_losses, find_weaknesses, judge

GOOD = {
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "retention.ms": str(WEEK_MS),
}


def topic(use: Use, /, copies: int = 3, partitions: int = 12, **configs: str) -> Topic:
    """A good topic but for what is said; `configs` with `_` for Kafka's dots."""
    kept_for_ever = {"retention.ms": "-1"} if use is Use.DEAD_LETTERS else {}
    told = {name.replace("_", "."): value for name, value in configs.items()}
    return Topic(f"a.{use.name.lower()}", use, partitions, copies, GOOD | kept_for_ever | told)


USES = list(Use)
LASTING = [use for use in Use if use is not Use.TICKS]


@pytest.mark.parametrize("use", USES)
def test_a_good_topic_has_nothing_said_of_it(use):
    """Nor has one of which the broker says nothing."""
    for one in (topic(use), replace(topic(use), configs={})):
        assert find_losses(one) + find_weaknesses(one) + find_limits(one) == []


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ({"cleanup_policy": "compact"}, "cleanup.policy=compact"),
        ({"cleanup_policy": "compact,delete"}, "cleanup.policy=compact,delete"),
        ({"max_message_bytes": "1000"}, "max.message.bytes=1000"),
    ],
)
def test_what_loses_records_now_is_refused_wherever_it_runs(use, configs, said):
    """With the topic, what it has, and the variable that could name another one."""
    with pytest.raises(Fatal) as refused:
        judge([topic(use, **configs)], is_production=False)

    assert all(part in str(refused.value) for part in (said, f"a.{use.name.lower()}", use.value))


@pytest.mark.parametrize("use", USES)
def test_a_limit_that_takes_the_largest_record_is_taken(use):
    """Kafka's own limit, of a mebibyte, is high enough for each."""
    largest = SENT_BYTES_MAX[use]

    assert find_losses(topic(use, max_message_bytes=str(largest))) == []
    assert find_losses(topic(use, max_message_bytes=str(largest - 1))) != []
    assert largest < 1_000_000


WEAK = [
    ({"copies": 1}, "one copy"),
    ({"min_insync_replicas": "1"}, "min.insync.replicas=1"),
    ({"unclean_leader_election_enable": "true"}, "unclean.leader.election.enable=true"),
    ({"retention_ms": str(WEEK_MS - 1)}, "retention.ms=604799999"),
]


@pytest.mark.parametrize("use", LASTING)
@pytest.mark.parametrize(("told", "said"), WEAK)
def test_production_refuses_what_elsewhere_is_one_line(use, told, said):
    """A broker that dies, or a week without a worker, loses what was acknowledged there."""
    weak = topic(use, **told)

    with pytest.raises(Fatal, match="ENVIRONMENT=production") as refused:
        judge([topic(Use.TICKS), weak], is_production=True)
    with capture_logs() as lines:
        judge([topic(Use.TICKS), weak], is_production=False)

    assert said in str(refused.value) and weak.name in str(refused.value)
    ((problem,),) = [line["problems"] for line in lines]
    assert said in problem and weak.name in problem
    assert [line["log_level"] for line in lines] == ["warning"]


@pytest.mark.parametrize(("told", "_said"), WEAK)
def test_ticks_may_be_lost(told, _said):
    """The next one is as good."""
    with capture_logs() as lines:
        judge([topic(Use.TICKS, **told)], is_production=True)

    assert lines == []


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (topic(Use.COMMANDS, partitions=1), "one partition"),
        (topic(Use.DEAD_LETTERS, retention_ms=str(WEEK_MS)), "letters are kept"),
    ],
)
@pytest.mark.parametrize("is_production", [True, False])
def test_what_may_be_meant_so_is_one_line_wherever_it_runs(one, said, is_production):
    """A command topic that somebody else made with one partition; dead letters that do not stay."""
    with capture_logs() as lines:
        judge([topic(Use.COMMANDS), one], is_production=is_production)

    (line,) = lines
    assert (line["event"], len(line["problems"])) == ("topics_not_as_expected", 1)
    assert said in line["problems"][0]
