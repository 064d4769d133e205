"""Kafka's own partitioner, which remembers what it reckoned: in Python its hash costs more than the rest of a send."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from aiokafka.partitioner import DefaultPartitioner, murmur2

KEYS_REMEMBERED = 50_000
REMEMBERED_BYTES_MAX = 64
"""A wallet's id has 36 bytes; whoever sends longer keys must not fill the memory with them."""


class Partitioner(DefaultPartitioner):  # type: ignore[misc]
    """What aiokafka's producers take as `partitioner`: the same partition for each key as without it."""

    def __call__(self, key: bytes | None, all_partitions: list[int], available: list[int]) -> int:
        """The partition for `key`, of those in `all_partitions`; without a key, one of `available` by chance."""
        if key is None or len(key) > REMEMBERED_BYTES_MAX:
            return cast(int, super().__call__(key, all_partitions, available))
        return all_partitions[(_hash(key) & 0x7FFFFFFF) % len(all_partitions)]


@lru_cache(maxsize=KEYS_REMEMBERED)
def _hash(key: bytes) -> int:
    return cast(int, murmur2(key))
