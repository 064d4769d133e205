"""`docker-compose.yml`, held to what the processes need; no Docker engine is needed for that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.process import STOP_DEADLINE_S

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())[
    "services"
]
PROCESSES = {"worker", "projector", "scheduler"}
"""Wallex's own services; the others are the five servers."""


@pytest.mark.parametrize("process", sorted(PROCESSES))
def test_nothing_is_killed_while_it_stops_by_itself(process):
    """A worker answers what it has taken, for at most `STOP_DEADLINE_S`: Docker waits for longer than that."""
    grace = re.fullmatch(r"(\d+)s", SERVICES[process]["stop_grace_period"])

    assert grace is not None and int(grace[1]) > STOP_DEADLINE_S
