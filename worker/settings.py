"""The environment, read once into a frozen `Settings`; its names are the contract's ("Environment").

What `Settings.load` returns can be relied on: every value is parsed, in range, and agrees with the others. What it
refuses, it refuses in one line that names each variable. An empty value means that the variable is not set. Nothing
else is read: no `.env` file, no folder of secrets. Passwords, also those inside URIs, never show in `repr`, `str`,
an error or a log line; `get_secret_value()` gives them to the one client that needs them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Secret,
    SecretStr,
    ValidationError,
    model_validator,
)

# What HTTP_PORT is when nothing is said, so that the three processes can share a machine.
HTTP_HOST = "0.0.0.0"  # noqa: S104 -- probes and scrapers come from outside; the pages show no command and no wallet
WORKER_HTTP_PORT = 8080
PROJECTOR_HTTP_PORT = 8081
SCHEDULER_HTTP_PORT = 8082

# A dead letter carries at most this much of a record, so a command may not be larger.
COMMAND_BYTES_CEILING = 512 * 1024

VALUE_SHOWN_MAX = 80
"""Characters of a wrong value that an error repeats."""

# Kafka's own rule (org.apache.kafka.common.internals.Topic): letters, digits, `.`, `_`, `-`, at most 249 of them.
TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


class SettingsError(Exception):
    """The environment is not usable; the message is one line that names each wrong variable."""


class SecretUri(Secret[str]):
    """A URI that shows without its password: `str` and `repr` are safe to log, `get_secret_value()` is not."""

    def _display(self) -> str:
        return redact_uri(self.get_secret_value())


def redact_uri(uri: str) -> str:
    """Replace what stands before the last `@`, and the value of each `password=`, with `***`.

    Up to the *last* `@`, since an unescaped `@` or `/` in a password would otherwise let its tail through.
    """
    without_user = re.sub(r"://.*@", "://***@", uri, flags=re.DOTALL)
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", without_user)


def _uri(*schemes: str) -> Callable[[SecretUri], SecretUri]:
    expected = f"expected a URI that begins with {' or '.join(f'{scheme}://' for scheme in schemes)} and names a host"
    pattern = re.compile(rf"({'|'.join(map(re.escape, schemes))})://(.*@)?[^/?@\s]+", flags=re.DOTALL)

    def check(uri: SecretUri) -> SecretUri:
        if not pattern.match(uri.get_secret_value()):
            raise ValueError(expected)
        return uri

    return check


def _for_esdbclient(uri: SecretUri) -> SecretUri:
    """`esdbclient` knows the scheme by KurrentDB's earlier name only."""
    return SecretUri(re.sub(r"^kurrentdb", "esdb", uri.get_secret_value()))


def _topic(name: str) -> str:
    if not TOPIC_NAME.fullmatch(name) or name in {".", ".."}:
        raise ValueError("expected a Kafka topic name: 1 to 249 letters, digits, '.', '_' or '-'")
    return name


def _file(path: Path) -> Path:
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise ValueError("expected the path of a file that can be read")
    return path


def _bootstrap_servers(text: str) -> str:
    servers = [server.strip() for server in text.split(",")]
    if not all(re.fullmatch(r"\S+:\d{1,5}", server) for server in servers):
        raise ValueError("expected host:port, or several separated by commas")
    return ",".join(servers)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"expected a regular expression, but {error}") from error


def _split(text: Any) -> Any:
    return [part.strip() for part in text.split(",")] if isinstance(text, str) else text


Port = Annotated[int, Field(ge=1, le=65535)]
Topic = Annotated[str, AfterValidator(_topic)]
ReadableFile = Annotated[Path, AfterValidator(_file)]
Upper = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class Settings(BaseModel):
    """Every setting of every process; the environment's name of a field is its own in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    db_host: str = "localhost"
    db_port: Port = 5432
    db_username: str = "postgres"
    db_password: SecretStr = SecretStr("postgres")
    db_name: str = "wallex"
    db_sync: bool = False
    db_logging: bool = False
    db_run_migrations: bool = False
    db_ssl: bool = False
    db_ssl_ca: ReadableFile | None = None
    db_migration_username: str | None = None
    db_migration_password: SecretStr | None = None

    kafka_bootstrap_servers: Annotated[str, AfterValidator(_bootstrap_servers)] = "localhost:9092"
    kafka_security_protocol: Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Upper] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], Upper] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: ReadableFile | None = None
    kafka_group_id: str = "wallex-worker"
    kafka_group_instance_id: str | None = None
    kafka_replication_factor: Annotated[int, Field(ge=1, le=32767)] = 1

    kurrentdb_uri: Annotated[
        SecretUri,
        AfterValidator(_uri("kurrentdb", "kurrentdb+discover", "esdb", "esdb+discover")),
        AfterValidator(_for_esdbclient),
    ] = SecretUri("esdb://localhost:2113?Tls=false")
    elasticsearch_url: Annotated[SecretUri, AfterValidator(_uri("http", "https"))] = SecretUri("http://localhost:9200")
    redis_url: Annotated[SecretUri, AfterValidator(_uri("redis", "rediss"))] = SecretUri("redis://localhost:6379/0")

    command_topics: Annotated[tuple[Topic, ...], BeforeValidator(_split)] = ("wallet.commands",)
    reply_topic: Topic = "wallet.replies"
    reply_topic_pattern: Annotated[re.Pattern[str], BeforeValidator(_pattern)] = re.compile(r"^wallet\.replies(\..+)?$")
    """A `reply_to` is allowed if this matches the whole of it (`fullmatch`), as it does of `reply_topic`."""
    schedule_topic: Topic = "wallet.schedule"
    dlq_topic: Topic = "wallet.commands.dlq"
    max_command_bytes: Annotated[int, Field(ge=1, le=COMMAND_BYTES_CEILING)] = 64 * 1024

    verify_background: bool = True
    """Whether the scheduler compares the stores all the time."""
    verify_rest_per_work: Annotated[float, Field(ge=0, le=1_000)] = 3.0
    """For each second that a page of that comparison took, the stores are left alone for so many."""
    expiries_per_second: Annotated[int, Field(ge=1, le=10_000)] = 200
    """So many `ExpireHold` commands a second each worker sends at most."""

    http_host: str = HTTP_HOST
    """The address on which health and metrics are served."""
    http_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """None: the process's own default (`WORKER_HTTP_PORT` and its neighbours). 0: any free port."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], Upper] = "INFO"
    environment: Annotated[str, Lower] = "development"

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from `environment`, raising `SettingsError` with one line if any of them is wrong."""
        values = {name: environment[name.upper()] for name in cls.model_fields if environment.get(name.upper())}
        problems = [
            f"{name.upper()}={value[:VALUE_SHOWN_MAX]}: expected no quotes, which `docker run --env-file` leaves there"
            for name, value in values.items()
            if _is_quoted(value) and not _is_secret(name)
        ]
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            problems += [_explain(dict(problem)) for problem in error.errors()]
        else:
            if not problems:
                return settings
        # Raised out here: a chained ValidationError would carry the values, passwords among them.
        raise SettingsError(f"wrong settings: {'; '.join(problems)}")

    def as_migrator(self) -> Settings:
        """Return these settings with the migrator's database user in place of the runtime's."""
        username = self.db_migration_username or self.db_username
        password = self.db_migration_password or self.db_password
        return self.model_copy(update={"db_username": username, "db_password": password})

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        problems = [*self._database_problems(), *self._kafka_problems(), *self._topic_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _database_problems(self) -> list[str]:
        problems = []
        if self.db_sync and self.environment == "production":
            problems.append("DB_SYNC is refused when ENVIRONMENT=production: expected DB_RUN_MIGRATIONS instead")
        if self.db_sync and self.db_run_migrations:
            problems.append("DB_SYNC and DB_RUN_MIGRATIONS both make the tables: expected one of them")
        return problems

    def _kafka_problems(self) -> list[str]:
        protocol = self.kafka_security_protocol
        sasl = {
            "KAFKA_SASL_MECHANISM": self.kafka_sasl_mechanism,
            "KAFKA_SASL_USERNAME": self.kafka_sasl_username,
            "KAFKA_SASL_PASSWORD": self.kafka_sasl_password,
        }
        if protocol.startswith("SASL_"):
            problems = [
                f"{name} is missing, KAFKA_SECURITY_PROTOCOL={protocol} needs it" for name in sasl if not sasl[name]
            ]
        else:
            problems = [
                f"{name} is set, but KAFKA_SECURITY_PROTOCOL={protocol} has no use for it: expected SASL_SSL or "
                "SASL_PLAINTEXT"
                for name in sasl
                if sasl[name]
            ]
        if self.kafka_ssl_cafile and not protocol.endswith("SSL"):
            problems.append(
                f"KAFKA_SSL_CAFILE is set, but KAFKA_SECURITY_PROTOCOL={protocol} is not encrypted: "
                "expected SSL or SASL_SSL"
            )
        return problems

    def _topic_problems(self) -> list[str]:
        internal = [
            *(("COMMAND_TOPICS", topic) for topic in self.command_topics),
            ("SCHEDULE_TOPIC", self.schedule_topic),
            ("DLQ_TOPIC", self.dlq_topic),
        ]
        uses = [*internal, ("REPLY_TOPIC", self.reply_topic)]
        count = Counter(topic for _, topic in uses)
        problems = [
            f"{variable} names {topic!r}, which another use has: expected a topic for each use"
            for variable, topic in uses
            if count[topic] > 1
        ]
        if not self.reply_topic_pattern.fullmatch(self.reply_topic):
            problems.append(
                f"REPLY_TOPIC_PATTERN={self.reply_topic_pattern.pattern[:VALUE_SHOWN_MAX]!r} does not match the whole "
                f"of REPLY_TOPIC={self.reply_topic!r}: expected a pattern that does"
            )
        # Otherwise whoever sends a command could have its reply written where commands, ticks or dead letters are read.
        return problems + [
            f"REPLY_TOPIC_PATTERN matches {topic!r} of {variable}: expected one that matches reply topics only"
            for variable, topic in internal
            if self.reply_topic_pattern.fullmatch(topic)
        ]


def _explain(problem: dict[str, Any]) -> str:
    """Say in one line what was wrong with which variable, leaving out the value of one that may hold a secret."""
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if not problem["loc"]:
        return str(message)
    name = str(problem["loc"][0])
    shown = "" if _is_secret(name) else f"={str(problem['input'])[:VALUE_SHOWN_MAX]!r}"
    return f"{name.upper()}{shown}: {message}"


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _is_secret(name: str) -> bool:
    return "Secret" in str(Settings.model_fields[name].annotation)
