"""Leave a trace on a server, and find it again: what shows that data outlived a crash.

`leave_trace(server, environment, text)` writes, `find_trace(server, environment, text)` tells whether it is there;
both by the server's name, over the clients that Wallex uses.
"""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from elasticsearch import Elasticsearch
from esdbclient import EventStoreDBClient, NewEvent, StreamState

READ_S = 10.0


async def leave_trace(server: str, environment: Mapping[str, str], text: str) -> None:
    """Write `text`, acknowledged by the server."""
    await TRACES[server][0](environment, text)


async def find_trace(server: str, environment: Mapping[str, str], text: str) -> bool:
    """Tell whether `text` is there."""
    return await TRACES[server][1](environment, text)


async def _leave_in_postgres(environment: Mapping[str, str], text: str) -> None:
    connection = await _postgres(environment)
    await connection.execute("CREATE TABLE IF NOT EXISTS traces (text text)")
    await connection.execute("INSERT INTO traces VALUES ($1)", text)
    await connection.close()


async def _find_in_postgres(environment: Mapping[str, str], text: str) -> bool:
    connection = await _postgres(environment)
    found = await connection.fetchval("SELECT count(*) FROM traces WHERE text = $1", text)
    await connection.close()
    return found == 1


async def _postgres(environment: Mapping[str, str]) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=environment["DB_HOST"],
        port=int(environment["DB_PORT"]),
        user=environment["DB_USERNAME"],
        password=environment["DB_PASSWORD"],
        database=environment["DB_NAME"],
    )


async def _leave_in_kafka(environment: Mapping[str, str], text: str) -> None:
    bootstrap = environment["KAFKA_BOOTSTRAP_SERVERS"]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(f"traces-{text}", num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(f"traces-{text}", text.encode())


async def _find_in_kafka(environment: Mapping[str, str], text: str) -> bool:
    partition = TopicPartition(f"traces-{text}", 0)
    async with AIOKafkaConsumer(bootstrap_servers=environment["KAFKA_BOOTSTRAP_SERVERS"]) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning()
        records = await consumer.getmany(partition, timeout_ms=int(READ_S * 1000))
    return [record.value for record in records.get(partition, [])] == [text.encode()]


async def _leave_in_kurrentdb(environment: Mapping[str, str], text: str) -> None:
    client = EventStoreDBClient(environment["KURRENTDB_URI"])
    client.append_to_stream(
        f"traces-{text}", current_version=StreamState.NO_STREAM, events=[NewEvent("Trace", b"{}")], timeout=READ_S
    )
    client.close()


async def _find_in_kurrentdb(environment: Mapping[str, str], text: str) -> bool:
    client = EventStoreDBClient(environment["KURRENTDB_URI"])
    events = client.get_stream(f"traces-{text}", timeout=READ_S)
    client.close()
    return [event.type for event in events] == ["Trace"]


async def _leave_in_elasticsearch(environment: Mapping[str, str], text: str) -> None:
    with Elasticsearch(environment["ELASTICSEARCH_URL"]) as client:
        client.index(index="traces", id=text, document={"text": text})


async def _find_in_elasticsearch(environment: Mapping[str, str], text: str) -> bool:
    with Elasticsearch(environment["ELASTICSEARCH_URL"]) as client:
        return bool(client.exists(index="traces", id=text))


async def _leave_in_redis(environment: Mapping[str, str], text: str) -> None:
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        client.set(f"traces:{text}", text)


async def _find_in_redis(environment: Mapping[str, str], text: str) -> bool:
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        return client.get(f"traces:{text}") == text.encode()


TRACES = {
    "postgres": (_leave_in_postgres, _find_in_postgres),
    "kafka": (_leave_in_kafka, _find_in_kafka),
    "kurrentdb": (_leave_in_kurrentdb, _find_in_kurrentdb),
    "elasticsearch": (_leave_in_elasticsearch, _find_in_elasticsearch),
    "redis": (_leave_in_redis, _find_in_redis),
}
