"""On what a measurement was taken: a figure without its machine says nothing."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from bench.postgres import postgres_version
from devstack.maven import RESOURCES
from worker.settings import Settings

PACKAGES = (
    "aiokafka",
    "asyncpg",
    "esdbclient",
    "elasticsearch",
    "faststream",
    "grpcio",
    "orjson",
    "pydantic",
    "uvloop",
)


def describe_machine() -> dict[str, object]:
    """Time, processor, memory, load average of the last minute, and the versions of Python and packages."""
    return {
        "measured_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "load_average_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


async def server_versions(settings: Settings) -> dict[str, str]:
    """Postgres's as it says itself, those of the Java servers as they were fetched."""
    postgres = await postgres_version(settings)
    return {"Postgres": postgres, "Kafka": _fetched("kafka"), "Elasticsearch": _fetched("elasticsearch")}


def _fetched(server: str) -> str:
    pom = (RESOURCES / f"{server}.pom.xml").read_text()
    versions = re.findall(r"<dependency>.*?<version>([^<]+)</version>", pom, re.DOTALL)
    return versions[0]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
