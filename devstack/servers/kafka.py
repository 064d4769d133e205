"""Kafka 4.1, one node that is broker and controller, from its published jars.

Topics are never made by accident. With the option `advertised_port=N` the broker tells its clients to come to that
port, for a proxy in between. A kill loses nothing: what was acknowledged lies in the kernel's page cache.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from devstack.errors import DevstackError
from devstack.java import QUICK, find_java
from devstack.made_once import made_once
from devstack.maven import RESOURCES, cached, fetch_jars
from devstack.server import HOST, Server, Site

POM = RESOURCES / "kafka.pom.xml"
LOGGING = RESOURCES / "kafka.log4j2.properties"
HEAP = "-Xmx512m"
ADVERTISED_PORT = "advertised_port="
REQUEST_MS = 5000


def prepare(site: Site) -> list[str]:
    """Fetch Kafka, write its settings, format its storage the first time; return the broker's command line."""
    return prepare_with({}, (), site)


def prepare_with(more_settings: Mapping[str, object], format_options: Sequence[str], site: Site) -> list[str]:
    """Do it with settings beside, or instead of, the usual ones, and with options for the format of the storage."""
    jars = cached("kafka", (POM,), lambda folder: fetch_jars(POM, folder))
    data = site.folder / "data"
    made_once(data, lambda folder: _format(jars, _write_settings(site, folder, more_settings), format_options))
    options = [option for option in site.options if not option.startswith(ADVERTISED_PORT)]
    return [*_java(jars, *options), "kafka.Kafka", str(_write_settings(site, data, more_settings))]


def check(site: Site) -> None:
    """Read the cluster's metadata from the broker, by its own port whatever it advertises."""
    check_with(bootstrap_servers=site.address)


def check_with(**connection: Any) -> None:
    """Do it over a connection that `AIOKafkaClient` makes of these arguments."""
    asyncio.run(_check(connection))


def environment(site: Site) -> dict[str, str]:
    """Return where the broker sends its clients."""
    return {"KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{_advertised_port(site)}"}


def _advertised_port(site: Site) -> int:
    for option in site.options:
        if option.startswith(ADVERTISED_PORT):
            return int(option.removeprefix(ADVERTISED_PORT))
    return site.port


def _java(jars: Path, *options: str) -> list[str]:
    return [str(find_java()), HEAP, QUICK, *options, f"-Dlog4j2.configurationFile={LOGGING}", "-cp", f"{jars}/*"]


def _write_settings(site: Site, data: Path, more: Mapping[str, object]) -> Path:
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{site.ports['controller']}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{site.address},CONTROLLER://{HOST}:{site.ports['controller']}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{_advertised_port(site)}",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        # One broker: what it keeps for itself can have one copy only.
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        # Its default of 50 partitions serves many brokers; here they would only delay each start.
        "offsets.topic.num.partitions": 1,
        # A group of one or two workers need not wait three seconds for more.
        "group.initial.rebalance.delay.ms": 0,
        **more,
    }
    file = site.folder / f"{data.name}.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return file


def _format(jars: Path, settings: Path, options: Sequence[str]) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    done = subprocess.run(
        [*_java(jars), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(settings), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    settings.unlink()
    if done.returncode:
        raise DevstackError(f"kafka: its storage could not be formatted: {(done.stderr or done.stdout).strip()}")


async def _check(connection: Mapping[str, Any]) -> None:
    client = AIOKafkaClient(**connection, request_timeout_ms=REQUEST_MS)
    try:
        await client.bootstrap()
        if client.cluster.controller is None:
            raise KafkaError("the broker knows no controller yet")
    finally:
        await client.close()


KAFKA = Server(
    name="kafka",
    port_names=("main", "controller"),
    prepare=prepare,
    check=check,
    not_ready_errors=(OSError, KafkaError),
    environment=environment,
)
