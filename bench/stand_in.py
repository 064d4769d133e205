"""The stand-in's switches (`devstack/kurrentdb/faults.py`), set while it runs."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager


class FaultSwitches:
    """The switches behind the URL of its side port."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def set(self, **switches: float | bool) -> Iterator[None]:
        """Set some switches for the block; behind it they are as they were."""
        with urllib.request.urlopen(self._url) as answer:
            present = json.load(answer)
        self._put(switches)
        try:
            yield
        finally:
            self._put({name: present[name] for name in switches})

    def _put(self, switches: dict[str, float | bool]) -> None:
        body = json.dumps(switches).encode()
        with urllib.request.urlopen(urllib.request.Request(self._url, body, method="PUT")):
            return
