"""Messages of KurrentDB's `AppendRecords` call (26.1 and later), which `esdbclient` does not carry.

The `.proto` files are ours, written from the field numbers on the wire; the `_pb2` modules are generated from them:

    python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. worker/outbox/protos/*.proto
"""
