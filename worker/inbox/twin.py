"""Another process under this one's `KAFKA_GROUP_INSTANCE_ID`: Kafka gives the place in the group to whoever came last.

The one that lost it is told no more than that its member id is unknown, as after a session that ran out. Joining again
would take the place back, and so on for ever. The group tells: the place is there, under another member id.
"""

from __future__ import annotations

import os
import socket
import time

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from worker.errors import Fatal

HOST_CHARACTERS = 30
"""Postgres cuts an `application_name` after 63 bytes; the end of a pod's name tells it from others."""
UUID_CHARACTERS = 36
MEMBERS = 5
"""Where they stand in a group's description."""


def name_process() -> str:
    """A name that no other process has, nor had: host, process id, and when it started, in milliseconds."""
    return f"wallex-{socket.gethostname()[-HOST_CHARACTERS:]}-{os.getpid()}-{round(time.time() * 1000)}"


def twin_error(instance_id: str | None) -> Fatal:
    """What to say where another process has taken the place of `instance_id`."""
    return Fatal(
        f"another process runs under KAFKA_GROUP_INSTANCE_ID={instance_id}: expected one process for each id; stop one "
        "of the two, or give it another id"
    )


def is_fenced(error: BaseException) -> bool:
    """Whether Kafka refused a member because another one joined under its instance id while it joined itself.

    aiokafka has no class for it, and gives its name in the text.
    """
    return isinstance(error, KafkaError) and "FencedInstanceId" in str(error)


async def has_twin(admin: AIOKafkaAdminClient, group_id: str, instance_id: str, member_id: str) -> bool:
    """Whether another process has the place of `instance_id` in the group, in which we were `member_id`.

    False where nobody has it, as after a session that ran out, and where Kafka does not say.
    """
    try:
        described = await admin.describe_consumer_groups([group_id])
    except (KafkaError, OSError):
        return False
    members = [member[0] for answer in described for group in answer.groups for member in group[MEMBERS]]
    # A static member's id is its instance id and a UUID (KIP-345). The client id that Kafka shows is that of whoever
    # had the place first.
    return any(one[: -UUID_CHARACTERS - 1] == instance_id and one != member_id for one in members)
