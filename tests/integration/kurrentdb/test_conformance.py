"""Answers recorded from a real KurrentDB 26.1.0, held against a server: the stand-in, or any that a URI names.

KURRENTDB_CONFORMANCE_URI='esdb://localhost:2113?Tls=false' pytest tests/integration/kurrentdb/test_conformance.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.kurrentdb.compare import Comparison
from tests.integration.kurrentdb.replay import replay

SCENARIOS = json.loads((Path(__file__).parent / "answers.json").read_text())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])
async def test_server_answers_as_recorded(scenario: dict[str, Any], conformance_target: str) -> None:
    """Every answer to every request of the scenario is the recorded one, but for what `compare` forgives and lists."""
    answers = await replay(conformance_target, scenario)

    differences = Comparison(scenario["name"]).compare(scenario["steps"], answers)

    assert differences == []
