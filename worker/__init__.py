"""Wallex, the wallet worker. The way of a command:

Kafka record ── inbox/ ──► batch ── ledger/ ──► committed ── outbox/ ──► appended, answered ── offsets committed
                decode              recall · lock · decide · persist     KurrentDB   Kafka     Kafka
                └─ undecodable ─► reply + dead letter                        │
                                                                             └── projection/ ──► Elasticsearch
"""
