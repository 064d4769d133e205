"""The partition of a key: Kafka's own choice, remembered or not."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from worker.outbox.partitioner import REMEMBERED_BYTES_MAX, Partitioner


@given(keys=st.lists(st.binary(max_size=2 * REMEMBERED_BYTES_MAX), max_size=20), count=st.integers(1, 20))
def test_every_key_goes_where_kafkas_own_clients_send_it(keys, count):
    """Commands and replies of a wallet stay in order, whoever else writes them."""
    partitions = list(range(count))

    ours = [Partitioner()(key, partitions, partitions) for key in [*keys, *keys]]

    assert ours == [DefaultPartitioner()(key, partitions, partitions) for key in [*keys, *keys]]


def test_a_record_without_a_key_goes_to_a_partition_that_takes_it():
    """Where nothing orders it, it goes where it can be written."""
    assert Partitioner()(None, [0, 1, 2], [1]) == 1
