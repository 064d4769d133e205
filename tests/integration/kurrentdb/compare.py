"""Hold a server's answers against the recorded ones.

Forgiven, because the real server itself varied so, or because the messages that `esdbclient` carries cannot show it:
the order of answers within one BatchAppend step; success where a copy in flight got `Timeout`; checkpoints while
catching up; what stands in `caughtUp` and a checkpoint's time; how many answers precede the end after a half-close
(at least the first, not all); a zero left out or written in AppendRecords; the wording behind `Unexpected
Read…Result:`; the gossip member's id and port. Nothing else, but for the differences listed below.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.integration.kurrentdb.replay import Json

# Differences that remain, each with its reason: a scenario, the place in its answers, and why.
DIFFERENCES = {
    ("records: properties as they come back", "customMetadata"): (
        "the order of its keys is the order in which the client's protobuf library happens to write a map"
    ),
}

TIMES = {"created", "timestamp", "timeStamp"}
POSITION = re.compile(r"P\d+")


class Comparison:
    """Collects the differences between a scenario's answers and the recorded ones."""

    def __init__(self, scenario: str) -> None:
        self._scenario = scenario
        self._is_zero_nothing = False
        self._positions: dict[int, set[int]] = {}
        self.differences: list[str] = []

    def compare(self, steps: list[Json], answers: list[list[Json]]) -> list[str]:
        """The differences, in words; none where the server answered as recorded."""
        for number, (step, actual) in enumerate(zip(steps, answers, strict=True)):
            self._step(f"step {number} {step['rpc']}", step, step["answers"], actual)
        self._check_positions()
        return self.differences

    def _step(self, where: str, step: Json, recorded: list[Json], actual: list[Json]) -> None:
        self._is_zero_nothing = step["rpc"] == "AppendRecords"
        if step["rpc"] == "BatchAppend":
            self._batch(where, step, recorded, actual)
        elif step["rpc"] == "Live":
            for inner, then, now in zip(step["during"], recorded[0]["during"], actual[0]["during"], strict=True):
                self._step(f"{where} during", inner, then, now)
            self._same(f"{where} read", _compared(recorded[0]["read"]), _compared(actual[0]["read"]))
        else:
            self._same(where, _compared(recorded), _compared(actual))

    def _batch(self, where: str, step: Json, recorded: list[Json], actual: list[Json]) -> None:
        """Answers of one BatchAppend step, matched by correlation id."""
        then, now = _by_correlation(recorded), _by_correlation(actual)
        if step["halfClose"]:
            requests = len(step["requests"])
            if not 1 <= len(actual) - 1 <= max(1, requests - 1):
                self._note(where, f"1 to {max(1, requests - 1)} answers and the end", actual)
            now = {key: answer for key, answer in now.items() if key in then}
        for copy, original in _copies(step["requests"]).items():
            if "success" in now.get(copy, {}) and "error" in then.get(copy, {}):
                then[copy] = {**then[original], "correlationId": now[copy]["correlationId"]}
        self._same(where, then, now)

    def _same(self, where: str, then: Json, now: Json) -> None:
        """Note where two parts differ; positions are held against each other at the end."""
        if isinstance(then, dict) and isinstance(now, dict):
            for key in {**then, **now}:
                self._pair(f"{where}.{key}", key, then, now)
        elif isinstance(then, list) and isinstance(now, list):
            if len(then) != len(now):
                self._note(where, f"{len(then)} of {_brief(then)}", f"{len(now)} of {_brief(now)}")
            for number, (one, other) in enumerate(zip(then, now, strict=False)):
                self._same(f"{where}[{number}]", one, other)
        elif isinstance(then, str) and POSITION.fullmatch(then) and str(now).isdecimal():
            self._positions.setdefault(int(then[1:]), set()).add(int(now))
        elif then != now and then != "*":
            self._note(where, then, now)

    def _pair(self, where: str, key: str, then: Json, now: Json) -> None:
        one, other = then.get(key), now.get(key)
        if key in TIMES and one == "T" and other:
            return
        if self._is_zero_nothing and _is_zero(one) and _is_zero(other):
            return
        if key == "details" and isinstance(one, str):
            one, other = _without_inner_error(one), _without_inner_error(str(other))
        if (self._scenario, key) in DIFFERENCES and one and other:
            one, other = json.loads(one["$b"]), json.loads(other["$b"])
        self._same(where, one, other)

    def _check_positions(self) -> None:
        """P1 < P2 < …: each stands for one position, in the same order."""
        last = -1
        for label, found in sorted(self._positions.items()):
            if len(found) > 1 or min(found) <= last:
                self._note("positions", f"P{label} after {last}", sorted(found))
            last = max(found)

    def _note(self, where: str, then: Any, now: Any) -> None:
        self.differences.append(f"{where}: recorded {_brief(then)}, got {_brief(now)}")


def _compared(answers: list[Json]) -> list[Json]:
    """A Read's answers without what is forgiven; other calls' answers pass as they are."""
    compared: list[Json] = []
    is_live = False
    for number, answer in enumerate(answers):
        if "checkpoint" in answer:
            is_last = "caughtUp" in (answers[number + 1] if number + 1 < len(answers) else {})
            if is_live or is_last:
                compared.append({"checkpoint": {**answer["checkpoint"], "timestamp": None}})
        elif "caughtUp" in answer:
            is_live = True
            compared.append({"caughtUp": {}})
        elif "members" in answer:
            compared.append({"members": [_without_address(member) for member in answer["members"]]})
        else:
            compared.append(answer)
    return compared


def _without_address(member: Json) -> Json:
    return {**member, "instanceId": None, "httpEndPoint": {**member["httpEndPoint"], "port": None}}


def _by_correlation(answers: list[Json]) -> dict[str, Json]:
    return {json.dumps(answer.get("correlationId", sorted(answer))): answer for answer in answers}


def _copies(requests: list[Json]) -> dict[str, str]:
    """Requests with the same events as an earlier one of the step: their correlation ids, and the earlier ones'."""
    first: dict[str, str] = {}
    copies = {}
    for request in requests:
        events = json.dumps([message["id"] for message in request["proposedMessages"]])
        key = json.dumps(request.get("correlationId"))
        if events in first:
            copies[key] = first[events]
        first.setdefault(events, key)
    return copies


def _without_inner_error(details: str) -> str:
    return re.sub(r"^(Unexpected \w*Result:).*", r"\1", details, flags=re.DOTALL)


def _is_zero(value: Json) -> bool:
    return value in (None, "0", 0)


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 400 else f"{text[:400]}…"
