"""What the fuzzer begins with: the examples of `schemas/`, the recorded requests to a real KurrentDB, and all finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict

from fuzz.decoder import write_input
from fuzz.kurrentdb import CALLS, Frame, write_frames
from tests.integration.kurrentdb.replay import Names

ROOT = Path(__file__).parents[1]
FINDS = Path(__file__).with_name("finds")
ANSWERS = ROOT / "tests" / "integration" / "kurrentdb" / "answers.json"
EVERY_HEADER = (
    ("correlation_id", b"one"),
    ("reply_to", b"wallet.replies.a"),
    ("kafka_correlationId", bytes(range(16, 32))),
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("x-nothing", None),
)
_CALL = {name: (number, message) for number, (name, message) in enumerate(CALLS)}


def seeds(target: str) -> Iterator[tuple[str, bytes]]:
    """The inputs of `target` (`decoder` or `kurrentdb`), by name."""
    yield from _records() if target == "decoder" else _scenarios()
    for found in sorted((FINDS / target).glob("*")):
        yield found.name, found.read_bytes()


def _records() -> Iterator[tuple[str, bytes]]:
    for example in sorted((ROOT / "schemas" / "examples").rglob("*.json")):
        value = example.read_bytes()
        if b"commandId" in value:
            name = f"{example.parent.name}-{example.stem}"
            yield name, write_input((), value)
            yield f"{name}-headers", write_input(EVERY_HEADER, value)


def _scenarios() -> Iterator[tuple[str, bytes]]:
    for number, scenario in enumerate(json.loads(ANSWERS.read_text())):
        names = Names()
        names.positions.update(P=0)
        yield f"scenario-{number:03}", write_frames(list(_frames(scenario["steps"], names)))


def _frames(steps: list[Any], names: Names) -> Iterator[Frame]:
    for step in steps:
        if step["rpc"] == "Live":
            yield from _frames([step["read"] | {"rpc": "Read"}, *step["during"]], names)
        elif step["rpc"] in _CALL:
            call, message = _CALL[step["rpc"]]
            for request in step.get("requests", [step.get("request", {})]):
                yield call, ParseDict(names.fill(request), message()).SerializeToString()
        if step.get("capture"):
            names.positions[step["capture"]] = 0
