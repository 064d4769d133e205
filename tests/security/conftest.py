"""What the tests of security share: one stack of secure servers, a door before Elasticsearch, and a migrated database
with its two roles.

Every process of theirs runs with LOG_LEVEL=DEBUG, and no password may stand in what it says, nor in its command line.
"""

from __future__ import annotations

import base64
import gc
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.security.search_door import SearchDoor
from tests.support.secure import NAME, PASSWORDS, USER, SecureStack, secure_servers
from tests.support.workers import Worker
from worker.migration import run_migrations
from worker.settings import Settings

RUNTIME, MIGRATOR = "wallex_runtime", "wallex_migrator"
WALLEX = str(Path(sys.executable).with_name("wallex"))


@dataclass(frozen=True)
class Place:
    """`environment` lets a process into everything, but for Elasticsearch, where `search` has what does; `start` runs a
    command of `wallex` in it; `folder` has all logs.
    """

    servers: SecureStack
    search: SearchDoor
    environment: dict[str, str]
    folder: Path
    started: list[Worker] = field(default_factory=list)

    def start(self, *command: str, **environment: str) -> Worker:
        """Start `wallex …` with `environment` in place of what is right."""
        log = self.folder / f"{command[0]}-{uuid4().hex[:8]}.log"
        started = Worker({**self.environment, **environment}, log, (WALLEX, *command))
        self.started.append(started)
        assert_no_secret(started.command_line)
        return started


def assert_no_secret(text: str) -> None:
    """Fail where a password stands in `text`, whole or as it goes into HTTP's basic authentication."""
    for password in asdict(PASSWORDS).values():
        assert password not in text
        assert base64.b64encode(f"{USER}:{password}".encode()).decode() not in text


@pytest.fixture(scope="session")
def secure_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureStack]:
    """The servers."""
    with secure_servers(Path(tmp_path_factory.mktemp("secure"))) as servers:
        yield servers


@pytest.fixture(scope="session")
async def search(secure_stack: SecureStack) -> AsyncIterator[SearchDoor]:
    """The door, open: the event loop of the tests keeps it, so only a test that is a coroutine gets an answer."""
    door = SearchDoor(secure_stack)
    await door.open()
    yield door
    await door.close()


@pytest.fixture(scope="session")
async def place(
    secure_stack: SecureStack, search: SearchDoor, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    """A database that the migrator owns and has migrated, and all that a worker is told to run as the runtime role."""
    own = secure_stack.environment
    admin = await connect(own, own["DB_USERNAME"], own["DB_PASSWORD"])
    await admin.execute(f"CREATE ROLE {RUNTIME} LOGIN PASSWORD '{PASSWORDS.runtime}'")
    await admin.execute(f"CREATE ROLE {MIGRATOR} LOGIN PASSWORD '{PASSWORDS.migrator}'")
    await admin.execute(f"ALTER DATABASE {own['DB_NAME']} OWNER TO {MIGRATOR}")
    await admin.close()
    environment = own | {
        "DB_USERNAME": RUNTIME,
        "DB_PASSWORD": PASSWORDS.runtime,
        "DB_MIGRATION_USERNAME": MIGRATOR,
        "DB_MIGRATION_PASSWORD": PASSWORDS.migrator,
        "HTTP_PORT": "0",
        "LOG_LEVEL": "DEBUG",
    }
    await run_migrations(Settings.load(environment))
    yield Place(secure_stack, search, environment, tmp_path_factory.mktemp("logs"))


@pytest.fixture(autouse=True)
def no_secrets(place: Place) -> Iterator[None]:
    """After each test: look through everything that its processes said."""
    yield
    for process in place.started:
        # Where the test failed in between.
        if process.code is None:
            process.kill()
    for log in place.folder.iterdir():
        assert_no_secret(log.read_text(errors="replace"))
    # What aiokafka left open is complained of here, not in somebody else's test.
    gc.collect()


async def connect(environment: dict[str, str], user: str, password: str) -> asyncpg.Connection:
    """A connection of one role to the stack's database, with the server's certificate verified."""
    settings = Settings.load(environment)
    return await asyncpg.connect(
        host=NAME,
        port=settings.db_port,
        user=user,
        password=password,
        database=settings.db_name,
        ssl=ssl.create_default_context(cafile=str(settings.db_ssl_ca)),
    )
