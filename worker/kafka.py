"""How a process reaches Kafka: what every aiokafka client is given. Relies on the settings alone, for upstream too."""

from __future__ import annotations

from typing import Any

from aiokafka.helpers import create_ssl_context

from worker.settings import Settings


def connection_arguments(settings: Settings) -> dict[str, Any]:
    """What every aiokafka client of this process is given: where the brokers are and how to speak to them."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        arguments["ssl_context"] = create_ssl_context(
            cafile=str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None
        )
    if settings.kafka_security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_sasl_username
        arguments["sasl_plain_password"] = (
            settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else ""
        )
    return arguments
