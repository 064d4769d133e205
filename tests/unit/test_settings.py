"""The environment: what is taken, what is refused and in which words, and that no secret ever shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from worker.settings import Settings, SettingsError, redact_uri

SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "wallex",
    "KAFKA_SASL_PASSWORD": "k4fka",
}


def refused(environment: dict[str, str]) -> str:
    """The error line of an environment that must be refused."""
    with pytest.raises(SettingsError) as refusal:
        Settings.load(environment)
    return str(refusal.value)


def test_an_empty_environment_gives_the_contracts_defaults():
    """The defaults are the contract's own, so that a machine with five local servers needs no variable."""
    settings = Settings.load({})

    assert (settings.db_host, settings.db_port, settings.db_name) == ("localhost", 5432, "wallex")
    assert (settings.db_username, settings.db_password.get_secret_value()) == ("postgres", "postgres")
    assert not (settings.db_sync or settings.db_logging or settings.db_run_migrations or settings.db_ssl)
    assert settings.kafka_bootstrap_servers == "localhost:9092"
    assert settings.kafka_group_id == "wallex-worker"
    assert settings.kurrentdb_uri.get_secret_value() == "esdb://localhost:2113?Tls=false"
    assert settings.elasticsearch_url.get_secret_value() == "http://localhost:9200"
    assert settings.redis_url.get_secret_value() == "redis://localhost:6379/0"
    assert settings.command_topics == ("wallet.commands",)
    assert settings.reply_topic == "wallet.replies"
    assert settings.reply_topic_pattern.pattern == r"^wallet\.replies(\..+)?$"
    assert (settings.schedule_topic, settings.dlq_topic) == ("wallet.schedule", "wallet.commands.dlq")
    assert (settings.kafka_replication_factor, settings.max_command_bytes) == (1, 65536)
    assert (settings.http_port, settings.log_level, settings.environment) == (None, "INFO", "development")


def test_values_come_from_the_variables_in_capitals():
    """Each field is its variable's name in small letters; lists are separated by commas."""
    settings = Settings.load(
        {**SASL, "DB_PORT": "6000", "DB_SSL": "true", "COMMAND_TOPICS": "a, b", "HTTP_PORT": "0", "LOG_LEVEL": "debug"}
    )

    assert (settings.db_port, settings.db_ssl, settings.http_port) == (6000, True, 0)
    assert settings.command_topics == ("a", "b")
    assert settings.log_level == "DEBUG"
    assert settings.kafka_sasl_mechanism == "SCRAM-SHA-512"


def test_an_empty_variable_is_not_set():
    """`NAME=` in a compose file means the default, not an empty host."""
    assert Settings.load({"DB_HOST": "", "KAFKA_GROUP_INSTANCE_ID": ""}) == Settings.load({})


@pytest.mark.parametrize("discover", ["", "+discover"])
def test_kurrentdb_goes_by_either_of_its_names(discover):
    """Its own pages say `kurrentdb://`; the client knows the earlier name."""
    settings = Settings.load({"KURRENTDB_URI": f"kurrentdb{discover}://kurrentdb:secret@host:2113?tls=true"})

    assert settings.kurrentdb_uri.get_secret_value() == f"esdb{discover}://kurrentdb:secret@host:2113?tls=true"


def test_a_password_may_be_quoted():
    """Who chose it is not asked for its form."""
    assert Settings.load({"DB_PASSWORD": "'pass'"}).db_password.get_secret_value() == "'pass'"


def test_settings_do_not_change():
    """What was checked at the start stays as it was checked."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load({}).db_port = 1


def test_every_wrong_variable_is_named_in_one_line():
    """One start tells all that is wrong, and what was expected."""
    line = refused({"DB_PORT": "abc", "HTTP_PORT": "70000", "DB_SYNC": "perhaps", "LOG_LEVEL": "loud"})

    assert "\n" not in line
    for name in ("DB_PORT='abc': expected", "HTTP_PORT='70000': expected", "DB_SYNC='perhaps': expected", "LOG_LEVEL"):
        assert name in line


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DB_SYNC": "true", "ENVIRONMENT": "Production"}, "DB_SYNC is refused when ENVIRONMENT=production"),
        ({"DB_SYNC": "true", "DB_RUN_MIGRATIONS": "true"}, "DB_SYNC and DB_RUN_MIGRATIONS"),
        ({"DB_SSL_CA": "/nowhere/ca.pem"}, "DB_SSL_CA='/nowhere/ca.pem': expected the path of a file"),
        ({"DB_PORT": "0"}, "DB_PORT='0'"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "one:9092,two"}, "expected host:port"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_PASSWORD is missing"),
        ({**SASL, "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "KAFKA_SASL_PASSWORD is set, but"),
        ({"KAFKA_SSL_CAFILE": __file__}, "KAFKA_SSL_CAFILE is set, but KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
        ({"KAFKA_SASL_MECHANISM": "MAGIC"}, "KAFKA_SASL_MECHANISM='MAGIC': expected 'PLAIN'"),
        ({"KAFKA_REPLICATION_FACTOR": "0"}, "KAFKA_REPLICATION_FACTOR='0'"),
        ({"KURRENTDB_URI": "http://localhost:2113"}, "KURRENTDB_URI: expected a URI that begins with kurrentdb://"),
        ({"ELASTICSEARCH_URL": "localhost:9200"}, "ELASTICSEARCH_URL: expected a URI that begins with http://"),
        ({"REDIS_URL": "redis://"}, "REDIS_URL: expected a URI that begins with redis://"),
        ({"COMMAND_TOPICS": "good,not good"}, "COMMAND_TOPICS='not good': expected a Kafka topic name"),
        ({"COMMAND_TOPICS": "a,,b"}, "COMMAND_TOPICS='': expected a Kafka topic name"),
        ({"DLQ_TOPIC": ".."}, "DLQ_TOPIC='..': expected a Kafka topic name"),
        ({"REPLY_TOPIC": "x" * 250}, "expected a Kafka topic name"),
        ({"COMMAND_TOPICS": "a,a"}, "COMMAND_TOPICS names 'a', which another use has"),
        ({"REPLY_TOPIC": "wallet.commands"}, "REPLY_TOPIC names 'wallet.commands', which another use has"),
        ({"REPLY_TOPIC_PATTERN": "("}, "REPLY_TOPIC_PATTERN='(': expected a regular expression"),
        ({"REPLY_TOPIC_PATTERN": r"replies\..+"}, "REPLY_TOPIC_PATTERN='replies\\\\..+' does not match the whole of"),
        ({"REPLY_TOPIC": "answers"}, "does not match the whole of REPLY_TOPIC='answers'"),
        ({"REPLY_TOPIC_PATTERN": r"'^wallet\.replies(\..+)?$'"}, "(\\..+)?$': expected no quotes"),
        ({"KAFKA_GROUP_ID": '"mine"', "DLQ_TOPIC": "'dead'"}, 'KAFKA_GROUP_ID="mine": expected no quotes, '),
        ({"KURRENTDB_URI": "'esdb://localhost:2113'"}, "KURRENTDB_URI: expected a URI that begins with kurrentdb://"),
        ({"REPLY_TOPIC_PATTERN": r"wallet\..+"}, "REPLY_TOPIC_PATTERN matches 'wallet.commands' of COMMAND_TOPICS"),
        ({"MAX_COMMAND_BYTES": "1000000"}, "MAX_COMMAND_BYTES='1000000'"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(environment, said):
    """Found at the start, not at the first record: which variable, and what was expected instead."""
    line = refused(environment)

    assert said in line
    assert "\n" not in line


SECRETS = {
    **SASL,
    "DB_PASSWORD": "s3cret-db",
    "DB_MIGRATION_PASSWORD": "s3cret-migration",
    "KAFKA_SASL_PASSWORD": "s3cret-kafka",
    "KURRENTDB_URI": "esdb://admin:s3cret-kurrent@host:2113?Tls=false",
    "ELASTICSEARCH_URL": "https://elastic:s3cret-elastic@host:9200",
    "REDIS_URL": "redis://:s3cret/re@dis@host:6379/0",
}


def test_secrets_do_not_show():
    """Neither `repr` nor `str` of the settings, nor of one of them, holds a password."""
    settings = Settings.load(SECRETS)

    shown = f"{settings!r} {settings} {settings.kurrentdb_uri} {settings.redis_url!r} {settings.model_dump_json()}"

    assert not re.search("s3cret|re@dis", shown)
    assert "esdb://***@host:2113" in shown


def test_errors_do_not_show_secrets():
    """A wrong value beside them, or in their own variable, must not bring them into the log."""
    line = refused({**SECRETS, "REDIS_URL": "http://:s3cret-redis@host", "DB_PORT": "x"})

    assert "s3cret" not in line
    with pytest.raises(SettingsError) as refusal:
        Settings.load({**SECRETS, "DB_PORT": "x"})
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://user:pass@host/0", "redis://***@host/0"),
        ("redis://:p@ss/wo:rd@host/0", "redis://***@host/0"),
        ("redis://host/0?password=pass&db=1", "redis://host/0?password=***&db=1"),
    ],
)
def test_a_uri_is_shown_without_its_password(uri, shown):
    """The host is what a reader of the log needs; the user's part goes as a whole."""
    assert redact_uri(uri) == shown


def test_the_migrator_is_the_runtime_user_unless_named():
    """DB_MIGRATION_USERNAME and DB_MIGRATION_PASSWORD each default to the runtime's."""
    alone = Settings.load({"DB_USERNAME": "runtime", "DB_PASSWORD": "r"}).as_migrator()
    named = Settings.load(
        {"DB_USERNAME": "runtime", "DB_PASSWORD": "r", "DB_MIGRATION_USERNAME": "owner"}
    ).as_migrator()

    assert (alone.db_username, alone.db_password.get_secret_value()) == ("runtime", "r")
    assert (named.db_username, named.db_password.get_secret_value()) == ("owner", "r")


def test_the_example_names_every_variable_with_its_default():
    """`.env.example` is complete, and copying it changes nothing."""
    text = (Path(__file__).parents[2] / ".env.example").read_text()
    lines = [line.partition("=") for line in text.splitlines() if line and not line.startswith("#")]
    example = {name: value.strip("'") for name, _, value in lines}

    assert example.keys() == {name.upper() for name in Settings.model_fields}
    assert Settings.load(example) == Settings.load({})
