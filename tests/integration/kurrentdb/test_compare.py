"""The comparison with the recording forgives what it lists, and nothing else."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.kurrentdb.compare import DIFFERENCES, Comparison

SCENARIOS = {
    scenario["name"]: scenario for scenario in json.loads((Path(__file__).parent / "answers.json").read_text())
}
FLIGHT = "append: the same again while the first is in flight"
HALF_CLOSE = "append: half-close with several in flight"
LIVE = "live: $all filtered, some match"
MIXTURE = "records: two streams, then the same again, then half, then half and a new one"


def answers_of(name: str) -> list[Any]:
    """The recorded answers as a server would give them: positions are numbers."""
    text = json.dumps([step["answers"] for step in SCENARIOS[name]["steps"]])
    return json.loads(re.sub(r'"P(\d+)"', lambda found: f'"{int(found[1]) * 100}"', text))


def differences(name: str, answers: list[Any]) -> list[str]:
    return Comparison(name).compare(SCENARIOS[name]["steps"], answers)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_recording_agrees_with_itself(name: str) -> None:
    """The recorded answers, sent by a server, differ in nothing."""
    assert differences(name, answers_of(name)) == []


def _refuse(answers: list[Any]) -> None:
    answers[0][0] = {"correlationId": answers[0][0]["correlationId"], "error": {"code": "ALREADY_EXISTS"}}


def _accept_refused(answers: list[Any]) -> None:
    answers[3] = [{"revisions": [{"stream": "${s}"}, {"stream": "${s2}"}], "position": "900"}]


def _swap_positions(answers: list[Any]) -> None:
    answers[0][0]["position"] = "300"
    answers[1][0]["position"] = "200"


def _move_revision(answers: list[Any]) -> None:
    answers[0][0]["revisions"][0]["revision"] = "1"


def _lose_event(answers: list[Any]) -> None:
    del answers[-1][0]["read"][2]


def _lose_live_checkpoint(answers: list[Any]) -> None:
    answers[-1][0]["read"] = [answer for answer in answers[-1][0]["read"] if "checkpoint" not in answer]


def _answer_all(answers: list[Any]) -> None:
    answers[0][:1] = answers[0][:1] * 8


def _succeed_after_copy_elsewhere(answers: list[Any]) -> None:
    answers[0][1] = {**answers[0][0], "correlationId": answers[0][1]["correlationId"]}
    answers[0][1]["success"] = {"currentRevision": "1", "position": {"commitPosition": "200"}}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("append: no stream, then the same again", _refuse),
        (MIXTURE, _accept_refused),
        (MIXTURE, _swap_positions),
        (MIXTURE, _move_revision),
        (LIVE, _lose_event),
        (LIVE, _lose_live_checkpoint),
        (HALF_CLOSE, _answer_all),
        (FLIGHT, _succeed_after_copy_elsewhere),
    ],
)
def test_a_changed_answer_is_noticed(name: str, change: Callable[[list[Any]], None]) -> None:
    """A refusal instead of a success or the reverse, another order, place or revision, something lost."""
    answers = copy.deepcopy(answers_of(name))

    change(answers)

    assert differences(name, answers) != []


def test_a_copy_in_flight_may_succeed() -> None:
    """Where the first was answered before its copy came, the copy is a plain repeat."""
    answers = answers_of(FLIGHT)
    answers[0][1] = {**answers[0][0], "correlationId": answers[0][1]["correlationId"]}

    assert differences(FLIGHT, answers) == []


def test_listed_differences_name_recorded_scenarios() -> None:
    """The list stays short and true: an entry whose scenario is gone is dead."""
    assert {scenario for scenario, _ in DIFFERENCES} <= set(SCENARIOS)
    assert len(DIFFERENCES) <= 3
