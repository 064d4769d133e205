"""`wallex projection rebuild` as a process: what it says, and what is left when it is stopped or killed."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.support.projecting import PATIENCE_S, a_projector, all_written, everything, indices_of, only, until
from tests.support.projection import wallet_events
from worker.projection.rebuild import rebuild


async def started(environment):
    """The command, begun."""
    wallex = Path(sys.executable).with_name("wallex")
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        wallex, "projection", "rebuild", env={**environment, "LOG_LEVEL": "WARNING"}, stdout=pipe, stderr=pipe
    )


async def interrupted_by(number, environment, elasticsearch, projections):
    """Run the command, send it a signal while its indices are half-made, and return its exit code."""
    process = await started(environment)

    async def is_building():
        return any(
            "-build" in alias for one in (await indices_of(elasticsearch, projections)).values() for alias in one
        )

    await until(is_building)
    process.send_signal(number)
    await process.communicate()
    return process.returncode


async def test_the_command_says_what_it_replaced(elasticsearch, kurrentdb, environment, contracts_aliases):
    """A row for each index with how it differs from the one before it, and one line in sum; exit 0."""
    kurrentdb.append(wallet_events(["5", "1", "1"]))

    process = await started(environment)
    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)

    assert (process.returncode, errors) == (0, b"")
    rows = [re.findall(r"[\w-]+", line) for line in output.decode().splitlines() if "000001" in line]
    assert rows == [
        ["wallets-000001", "wallets-000002", "1", "0", "0", "0", "0", "1"],
        ["wallet-ledger-000001", "wallet-ledger-000002", "3", "0", "0", "0", "0", "3"],
        ["wallet-holds-000001", "wallet-holds-000002", "0", "0", "0", "0", "0", "0"],
    ]
    assert re.search(
        r"^rebuilt from 3 events in [\d.]+ s \([\d,]+ events/s .*the aliases are switched", output.decode(), re.M
    )
    assert await indices_of(elasticsearch, contracts_aliases) == only(contracts_aliases, 2)


async def test_a_server_that_is_away_is_one_line(environment):
    """Nothing to wait for: the line names the server; exit 1."""
    process = await started(environment | {"ELASTICSEARCH_URL": "http://127.0.0.1:9"})

    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)

    assert (process.returncode, output) == (1, b"")
    assert re.fullmatch(rb"wallex: not rebuilt: Elasticsearch: .*\n", errors)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
async def test_a_rebuild_may_be_stopped_or_killed_in_its_middle(
    elasticsearch, kurrentdb, environment, contracts_aliases, number, code
):
    """What serves is as it was: stopped, it takes its own indices away; killed, the next one does."""
    for _ in range(60):
        kurrentdb.append(wallet_events(["1"] * 50))
    stop = asyncio.Event()
    projecting = asyncio.create_task(a_projector(elasticsearch, kurrentdb, contracts_aliases).run(stop))
    await all_written(elasticsearch, kurrentdb, contracts_aliases)
    before = await everything(elasticsearch, contracts_aliases)

    assert await interrupted_by(number, environment, elasticsearch, contracts_aliases) == code

    assert await everything(elasticsearch, contracts_aliases) == before
    is_alone = await indices_of(elasticsearch, contracts_aliases) == only(contracts_aliases, 1)
    assert is_alone == (number != signal.SIGKILL)
    await rebuild(elasticsearch, kurrentdb.uri, lambda *_told: None, contracts_aliases)
    stop.set()
    await projecting
    assert await everything(elasticsearch, contracts_aliases) == before
    assert len(await indices_of(elasticsearch, contracts_aliases)) == 3
