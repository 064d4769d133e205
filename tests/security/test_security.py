"""Who has the right password and certificate is served; with a wrong one a process stops, and says so in one line.

Kafka, Postgres and Redis are the real ones; KurrentDB is the stand-in, behind the real client. Elasticsearch's security
is not published for this machine: an endpoint that answers 401 over TLS stands for it.
"""

from __future__ import annotations

import ssl
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from aiohttp import web

from devstack.servers import postgres
from tests.security.conftest import RUNTIME, Place, assert_no_secret, connect
from tests.support.command_line import wallex
from tests.support.commands import new_id
from tests.support.secure import NAME, PASSWORDS, USER, Authority, kurrentdb_uri, redis_url
from worker.client import Accepted, NotSent, WalletClient
from worker.errors import Fatal
from worker.outbox.event_store import EventStore
from worker.repository import WalletRepository
from worker.settings import Settings, SettingsError

# aiokafka drops a refused TLS connection without waiting for its end, and asyncio complains once the loop is gone.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

WRONG_NAME = "127.0.0.1"
"""The certificate is for `localhost`."""


def wrong(place: Place, case: str) -> dict[str, str]:
    """What a process is told in `case`: everything else is right."""
    authority = place.servers.authority
    ports = {name: site.port for name, site in place.servers.sites.items()}
    foreign, ca = authority.foreign_ca, authority.ca
    return {
        "kafka-password": {"KAFKA_SASL_PASSWORD": PASSWORDS.wrong},
        "kafka-ca": {"KAFKA_SSL_CAFILE": str(foreign)},
        "kafka-name": {"KAFKA_BOOTSTRAP_SERVERS": f"{WRONG_NAME}:{ports['kafka']}"},
        "postgres-password": {"DB_PASSWORD": PASSWORDS.wrong},
        "postgres-ca": {"DB_SSL_CA": str(foreign)},
        "postgres-name": {"DB_HOST": WRONG_NAME},
        "postgres-plain": {"DB_SSL": "", "DB_SSL_CA": ""},
        "kurrentdb-password": {"KURRENTDB_URI": kurrentdb_uri(ports["kurrentdb"], ca, PASSWORDS.wrong)},
        "kurrentdb-ca": {"KURRENTDB_URI": kurrentdb_uri(ports["kurrentdb"], foreign)},
        "kurrentdb-name": {"KURRENTDB_URI": kurrentdb_uri(ports["kurrentdb"], ca, host=WRONG_NAME)},
        "redis-password": {"REDIS_URL": redis_url(ports["redis"], ca, PASSWORDS.wrong)},
        "redis-ca": {"REDIS_URL": redis_url(ports["redis"], foreign)},
        "redis-name": {"REDIS_URL": redis_url(ports["redis"], ca, host=WRONG_NAME)},
    }[case]


# What the line names: the reason, and where to look.
REFUSALS = {
    "kafka-password": ("SaslAuthenticationFailed", "KAFKA_SASL_"),
    "kafka-ca": ("certificate verify failed", "KAFKA_SSL_CAFILE"),
    "kafka-name": ("IP address mismatch", "KAFKA_BOOTSTRAP_SERVERS"),
    "postgres-password": ("password authentication failed", "DB_PASSWORD"),
    "postgres-ca": ("certificate verify failed", "DB_SSL_CA"),
    "postgres-name": ("IP address mismatch", "DB_HOST"),
    "postgres-plain": ("no pg_hba.conf entry", "DB_SSL"),
    "kurrentdb-password": ("Unauthenticated", "KURRENTDB_URI"),
    "kurrentdb-ca": ("CERTIFICATE_VERIFY_FAILED", "KURRENTDB_URI"),
    "kurrentdb-name": ("not in peer certificate", "KURRENTDB_URI"),
    "redis-password": ("AuthenticationError", "REDIS_URL"),
    "redis-ca": ("certificate verify failed", "REDIS_URL"),
    "redis-name": ("IP address mismatch", "REDIS_URL"),
}


async def users_of_postgres(place: Place) -> set[str]:
    """The roles of all our connections, each of which must be encrypted."""
    admin = await connect(place.environment, postgres.USER, postgres.PASSWORD)
    try:
        found = await admin.fetch(
            "SELECT usename, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name = 'wallex'"
        )
    finally:
        await admin.close()
    assert all(row["ssl"] for row in found)
    return {row["usename"] for row in found}


async def test_a_worker_with_the_right_credentials_answers_a_command(place):
    """Over SASL_SSL, TLS to Postgres as the runtime role, and TLS to KurrentDB; the client takes the same settings."""
    worker = place.start("worker")
    await worker.assigned()

    async with WalletClient(Settings.load(place.environment)) as wallets:
        answer = await wallets.create_wallet(new_id(), "owner", initial_balance="5")
    roles = await users_of_postgres(place)

    assert isinstance(answer, Accepted)
    assert roles == {RUNTIME}
    assert await worker.stop() == 0


async def test_the_repository_takes_the_same_settings(place):
    """Code beside the database is let in by the same certificate and password."""
    async with WalletRepository.open(Settings.load(place.environment)) as wallets:
        created = await wallets.create_wallet(new_id(), "owner")

    assert created.wallets[0].version == 0


async def test_a_scheduler_with_the_right_credentials_holds_its_lease(place):
    """Redis lets the ACL user do what a lease needs, over TLS; Kafka takes the ticks."""
    scheduler = place.start("scheduler")

    await scheduler.logged("lease_taken", 2)

    assert scheduler.lines("lease_unavailable") == []
    assert await scheduler.stop() == 0


async def test_each_mechanism_of_scram_is_understood(place):
    """SHA-256 beside SHA-512."""
    settings = Settings.load(place.environment | {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"})

    with pytest.raises(NotSent, match="there is no topic nowhere"):
        async with WalletClient(settings.model_copy(update={"command_topics": ("nowhere",)})):
            pass


@pytest.mark.parametrize(
    ("command", "code", "case"),
    [
        *(("worker", 70, case) for case in REFUSALS if not case.startswith("redis")),
        *(("scheduler", 1, case) for case in REFUSALS if case.startswith(("redis", "kafka-p"))),
    ],
)
def test_a_process_that_is_refused_stops_with_one_line(place, command, code, case):
    """Beside its structured log a line with the reason and the variables, instead of the same password for ever."""
    done = wallex(place.environment | wrong(place, case), command)

    assert done.returncode == code, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith("wallex")
    assert all(part in line for part in REFUSALS[case]), line
    assert_no_secret(done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("case", "command"),
    [
        ("kafka-password", ("send", "CreditWallet", f"walletId={new_id()}", "amount=1")),
        ("kafka-ca", ("replies",)),
        ("kafka-name", ("dlq", "list")),
        ("postgres-password", ("wallet", new_id(), "--version", "1")),
        ("postgres-ca", ("verify",)),
        ("postgres-name", ("migrate", "show")),
        ("kurrentdb-password", ("verify",)),
    ],
)
def test_a_command_that_is_refused_fails_with_one_line(place, case, command):
    """Exit code above 0, and nothing but the line."""
    done = wallex(place.environment | {"LOG_LEVEL": "INFO"} | wrong(place, case), *command)

    assert done.returncode in {1, 2}
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("wallex: ")
    assert_no_secret(done.stdout + done.stderr)


async def test_a_client_that_is_refused_says_so_and_has_sent_nothing(place):
    """`NotSent`, at the start."""
    with pytest.raises(NotSent, match="KAFKA_SASL_"):
        async with WalletClient(Settings.load(place.environment | wrong(place, "kafka-password"))):
            pass


async def test_the_runtime_role_cannot_change_history_where_the_worker_runs(place):
    """Not a row of the ledger or of the commands, and no table; what else it may not, tests of the migrations say."""
    runtime = await connect(place.environment, RUNTIME, PASSWORDS.runtime)

    for statement in ("DELETE FROM ledger", "UPDATE commands SET reply = ''", "TRUNCATE wallets", "DROP TABLE holds"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"permission denied|must be owner"):
            await runtime.execute(statement)

    await runtime.close()


async def test_servers_that_are_away_are_waited_for_all_the_same(place):
    """A port where nobody listens is no refusal: the process goes on trying, and says so once."""
    ca = place.servers.authority.ca
    search = f"https://{USER}:{PASSWORDS.elasticsearch}@{NAME}:1"
    worker = place.start("worker", DB_PORT="1")
    projector = place.start("projector", ELASTICSEARCH_URL=search, KURRENTDB_URI=kurrentdb_uri(1, ca))
    scheduler = place.start("scheduler", REDIS_URL=redis_url(1, ca), KAFKA_BOOTSTRAP_SERVERS=f"{NAME}:1")

    lost = [(await one.logged("server_lost"))["server"] for one in (worker, projector)]
    missed = await scheduler.logged("lease_unavailable")

    assert lost == ["postgres", "elasticsearch"]
    assert missed["level"] == "warning"
    assert [await one.stop() for one in (worker, projector, scheduler)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("trusts", "reason"), [("SSL_CERT_FILE", "security_exception"), ("", "certificate verify failed")]
)
async def test_a_projector_that_elasticsearch_refuses_stops_with_one_line(place, trusts, reason):
    """401, and a certificate that nobody here signed: exit code 1, the reason, and the variable."""
    authority = place.servers.authority
    async with refusing_search(authority) as port:
        url = f"https://{USER}:{PASSWORDS.wrong}@{NAME}:{port}"
        projector = place.start("projector", **{"ELASTICSEARCH_URL": url, trusts or "UNUSED": str(authority.ca)})

        assert await projector.ended() == 1
        (line,) = [line for line in projector.log.read_text().splitlines() if line.startswith("wallex")]

    assert line.startswith("wallex: the projector stops: Elasticsearch: ")
    assert reason in line
    assert "ELASTICSEARCH_URL" in line


@asynccontextmanager
async def refusing_search(authority: Authority) -> AsyncIterator[int]:
    """An HTTPS endpoint that answers as Elasticsearch does to a wrong password; its port."""

    async def refuse(_request: web.Request) -> web.Response:
        error = {"type": "security_exception", "reason": "unable to authenticate user"}
        headers = {"X-Elastic-Product": "Elasticsearch"}
        return web.json_response({"error": error, "status": 401}, status=401, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.certificate, authority.key)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, WRONG_NAME, 0, ssl_context=context).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def test_settings_and_their_errors_show_no_secret(place):
    """Neither `repr` nor `str`, nor the error of a wrong value beside the right ones."""
    settings = Settings.load(place.environment)
    broken = place.environment | {"DB_PORT": "none", "KURRENTDB_URI": place.environment["KURRENTDB_URI"][4:]}

    with pytest.raises(SettingsError) as refused:
        Settings.load(broken)

    told = "".join(traceback.format_exception(refused.value))
    for text in (repr(settings), str(settings), str(settings.as_migrator()), told):
        assert_no_secret(text)


async def test_a_uri_that_the_client_cannot_use_is_told_without_its_password(place):
    """esdbclient's own error repeats the URI."""
    store = EventStore(place.environment["KURRENTDB_URI"].replace("?", "/?nonsense=1&"))

    with pytest.raises(Fatal, match=r"KURRENTDB_URI: .*NONSENSE") as refused:
        await store.is_ready()

    assert_no_secret("".join(traceback.format_exception(refused.value)))
