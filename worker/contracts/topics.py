"""What the topics that the worker creates have in common (contract, "Kafka topics")."""

from __future__ import annotations

PARTITIONS = 12
"""How many partitions the worker gives to a topic that it creates."""
