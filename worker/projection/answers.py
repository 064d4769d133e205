"""Whether the projector's servers answer, asked again and again: without work nobody else would notice.

What is lost is said once in the log, as everywhere (`worker/outages.py`), and fails `/readyz` until it answers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from worker.errors import Unavailable, WallexError
from worker.outages import say_back, say_lost, stop_waiting

ASK_EVERY_S = 5.0
ANSWER_S = 4.0
"""Together less than the ten seconds within which a lost server is noticed."""

Question = Callable[[], Awaitable[object]]


class Answers:
    """The servers of `questions`, by name; a question returns if its server answers, and raises if not."""

    def __init__(self, questions: Mapping[str, Question]) -> None:
        self._questions = questions
        self._trouble: dict[str, WallexError] = {}

    def check(self) -> None:
        """Raise what the first server that does not answer is missed for; nothing where all do."""
        for trouble in self._trouble.values():
            raise trouble

    async def keep_asking(self) -> None:
        """Ask until it is cancelled."""
        try:
            while True:
                await asyncio.sleep(ASK_EVERY_S)
                await asyncio.gather(*(self._ask(*one) for one in self._questions.items()))
        finally:
            for server in self._questions:
                stop_waiting(server, self)

    async def _ask(self, server: str, question: Question) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await question()
        except TimeoutError:
            self._miss(server, Unavailable(f"{server}: no answer within {ANSWER_S:g} s"))
        except WallexError as error:
            self._miss(server, error)
        else:
            self._trouble.pop(server, None)
            say_back(server, self)

    def _miss(self, server: str, error: WallexError) -> None:
        self._trouble[server] = error
        # What is refused is not lost: whoever has work for that server ends by it, with a line.
        if isinstance(error, Unavailable):
            say_lost(server, self, error)
