"""`docker-compose.yml`, held to what the processes need; no Docker engine is needed for that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.process import STOP_DEADLINE_S
from worker.settings import Settings

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


@pytest.mark.parametrize("process", sorted(PROCESSES))
def test_a_process_is_not_started_for_ever_against_what_refuses_it(process):
    """A wrong password that is tried without an end may lock the account."""
    assert re.fullmatch(r"on-failure:\d+", SERVICES[process]["restart"])


@pytest.mark.parametrize("process", sorted(PROCESSES))
def test_every_process_can_run_more_than_once(process):
    """`--scale worker=2`: a port of the machine that is fixed could be had by one of them only."""
    assert [re.fullmatch(r"127\.0\.0\.1::\d+", port) is not None for port in SERVICES[process]["ports"]] == [True]


@pytest.mark.parametrize("server", sorted(SERVICES.keys() - PROCESSES))
def test_servers_get_none_of_wallexs_variables(server):
    """Neither from a file, nor from the shell (a name without a value): some take them for options of their own."""
    told = SERVICES[server].get("environment", {})

    assert "env_file" not in SERVICES[server]
    assert not {name.lower() for name in told} & Settings.model_fields.keys()
    assert None not in told.values()


def test_the_servers_fit_the_machine():
    """Postgres has shared memory for parallel joins; KurrentDB's image, made for amd64 alone, runs anywhere."""
    assert SERVICES["postgres"]["shm_size"] == "1gb"
    assert SERVICES["kurrentdb"]["platform"] == "linux/amd64"
