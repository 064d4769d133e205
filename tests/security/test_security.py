"""Who has the right password and certificate is served; with a wrong one a process stops, and says so in one line.

Kafka, Postgres, Redis and Elasticsearch are the real ones; KurrentDB is the stand-in, behind the real client. Before
Elasticsearch stands a door of ours, since its own security is not published for this machine.
"""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from devstack.servers import postgres
from tests.security.conftest import RUNTIME, Place, assert_no_secret, connect
from tests.support.command_line import wallex
from tests.support.commands import new_id
from tests.support.secure import NAME, PASSWORDS, USER, kurrentdb_uri, redis_url
from worker.client import Accepted, NotSent, WalletClient
from worker.repository import WalletRepository
from worker.settings import Settings

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
        "elasticsearch-password": place.search.environment(PASSWORDS.wrong),
        "elasticsearch-name": place.search.environment(host=WRONG_NAME),
        "elasticsearch-ca": {"SSL_CERT_FILE": str(foreign)},
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
    "elasticsearch-password": ("security_exception", "ELASTICSEARCH_URL"),
    "elasticsearch-name": ("IP address mismatch", "ELASTICSEARCH_URL"),
    "elasticsearch-ca": ("certificate verify failed", "SSL_CERT_FILE"),
}


async def users_of_postgres(place: Place) -> set[str]:
    """The roles of all our connections, each of which must be encrypted."""
    admin = await connect(place.environment, postgres.USER, postgres.PASSWORD)
    try:
        found = await admin.fetch(
            "SELECT usename, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) "
            "WHERE application_name LIKE 'wallex%'"
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


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
async def test_each_mechanism_is_understood(place, mechanism):
    """Beside SCRAM-SHA-512, which all others use."""
    settings = Settings.load(place.environment | {"KAFKA_SASL_MECHANISM": mechanism})

    with pytest.raises(NotSent, match="there is no topic nowhere"):
        async with WalletClient(settings.model_copy(update={"command_topics": ("nowhere",)})):
            pass


@pytest.mark.parametrize(
    ("command", "code", "case"),
    [
        *(("worker", 70, case) for case in REFUSALS if case.startswith(("kafka", "postgres", "kurrentdb"))),
        *(("scheduler", 1, case) for case in REFUSALS if case.startswith(("kafka", "redis"))),
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


async def test_a_projector_with_the_right_credentials_writes_documents(place):
    """Over TLS from KurrentDB, and over TLS to Elasticsearch; `wallex verify` finds both in order, over TLS as well."""
    environment = place.environment | place.search.environment()
    async with WalletRepository.open(Settings.load(place.environment)) as wallets:
        await wallets.create_wallet(new_id(), "owner")
    projector = place.start("projector", **place.search.environment())

    await projector.until_ready()
    verified = await asyncio.to_thread(wallex, environment, "verify", "--json")

    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.objects[0]["documents"]
    assert await projector.stop() == 0


@pytest.mark.parametrize("case", [case for case in REFUSALS if case.startswith(("elasticsearch", "kurrentdb"))])
async def test_a_projector_that_is_refused_stops_with_one_line(place, case):
    """Exit code 1, the reason, and the variable."""
    projector = place.start("projector", **place.search.environment() | wrong(place, case))

    assert await projector.ended() == 1
    (line,) = [line for line in projector.log.read_text().splitlines() if not line.startswith("{")]

    assert line.startswith("wallex: the projector stops: ")
    assert all(part in line for part in REFUSALS[case]), line
