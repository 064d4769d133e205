"""What ends the demo with exit code 1."""

from __future__ import annotations


class DemoError(Exception):
    """Something did not happen as it must; the text says what, and what was expected."""


class StalledError(DemoError):
    """Nothing more comes from a process of ours, though it runs: `process` is its name, its log says more."""

    def __init__(self, process: str, text: str) -> None:
        super().__init__(text)
        self.process = process
