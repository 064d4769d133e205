"""Logs: one JSON object a line on stderr, or readable lines where stderr is a terminal.

`event` is a short constant, what varies stands in fields; times are UTC, ISO 8601. The libraries' own lines take the
same way, the talkative ones from WARNING up, each kind of line once a minute (`repeated`: as often since). No line
carries a message's body; what looks like the user part of a URI is cut out of every line, whoever wrote it. Stdout
stays free for what a command prints.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import TextIO

import orjson
import structlog
from structlog.types import EventDict, Processor

# At INFO these write a line for each request or poll.
TALKATIVE = (
    "aiokafka",
    "aiohttp",
    "alembic",
    "elastic_transport",
    "elasticsearch",
    "faststream",
    "kafka",
)
REPEAT_S = 60.0
"""A library says the same no more often: aiokafka has a line for each attempt to reach a broker that is away."""
PASSING = frozenset({"Topic %s not found in cluster metadata", "Group Coordinator Request failed: %s"})
"""Errors of aiokafka's while a new topic, or the first group of a new broker, is being made: nothing is wrong then."""
PASSING_S = 30.0
"""What of them is still said so much later is said here as well."""
KINDS_MAX = 500
"""So many kinds of lines are told apart."""

# The user part of a URI in the middle of a line, up to its last `@`, and what follows `password=`.
SECRET = re.compile(r"""(://)[^\s"'<>]*(?=@)|(?i:(password=))[^\s"'&,)]*""")


def configure_logs(level: str, stream: TextIO | None = None) -> None:
    """Send the logs of the whole process, from `level` up, to `stream` (stderr); may be called again."""
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        _CleanFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(stream)],
        )
    )
    if level != "DEBUG":
        handler.addFilter(_Seldom())
    _replace_handlers(handler, level)


class _Seldom(logging.Filter):
    """Lets a talkative library's line pass once in `REPEAT_S`, whatever its values; `PASSING` ones later."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.split(".")[0] not in TALKATIVE:
            return True
        kind = record.name, record.levelno, str(record.msg)
        now = time.monotonic()
        # As if said before, so that it is due again once it has lasted.
        never = now - REPEAT_S + PASSING_S if record.msg in PASSING else -REPEAT_S
        said_at, repeated = self._kinds.setdefault(kind, (never, 0))
        if now - said_at < REPEAT_S:
            self._kinds[kind] = said_at, repeated + 1
            return False
        if repeated:
            record.repeated = repeated
        if len(self._kinds) >= KINDS_MAX:
            self._kinds.clear()
        self._kinds[kind] = now, 0
        return True


class _CleanFormatter(structlog.stdlib.ProcessorFormatter):
    """Cuts secrets out of the finished line, where an exception's text stands as well."""

    def format(self, record: logging.LogRecord) -> str:
        return SECRET.sub(lambda found: f"{found[1] or found[2]}***", super().format(record))


def _replace_handlers(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(level if level == "DEBUG" else max(root.level, logging.WARNING))
    for name, known in root.manager.loggerDict.items():
        # Some libraries keep their lines to themselves: what they warn of would never be seen.
        if isinstance(known, logging.Logger) and name.split(".")[0] in TALKATIVE:
            known.propagate = True


def _renderers(stream: TextIO) -> list[Processor]:
    if stream.isatty():
        # Rich's tracebacks would show local variables, and with them whatever a frame held.
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]


def _json(event: EventDict, **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()
