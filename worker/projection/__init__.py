"""The read model: KurrentDB's events followed into Elasticsearch's documents, in a process of its own."""
