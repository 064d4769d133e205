"""A stand-in for KurrentDB, for machines that cannot run the real server: its gRPC protocol over a log of our own.

It answers as a recorded KurrentDB 26.1.0 did (`tests/integration/kurrentdb` replays the recording against it), and is
not KurrentDB: one node, no security, no scavenging, no projections, no persistent subscriptions. What it does not
know it refuses with `UNIMPLEMENTED`. Its speed and durability say nothing about the real server's.

    python -m devstack.kurrentdb --host 127.0.0.1 --port 2113 --data DIR

    server → append, batch, append_records, read, subscribe_…   the calls
             └─ appends ─► writer ─► store ─► log               faults; check; number, make durable
                                     └─ index                   what is where
"""
