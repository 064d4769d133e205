"""The five servers that Wallex talks to, on this machine, without Docker.

`python -m devstack up / down / status / env` on the command line, `devstack.stack.Stack` from Python (tests, demo,
bench). Postgres, Kafka, Elasticsearch and Redis are the real programs; KurrentDB is a stand-in (`devstack.kurrentdb`).
For development only: everything listens on 127.0.0.1, without encryption, with a password that everybody knows.
"""
