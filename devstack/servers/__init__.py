"""The five servers, one module each."""

from devstack.server import Server
from devstack.servers.elasticsearch import ELASTICSEARCH
from devstack.servers.kafka import KAFKA
from devstack.servers.kurrentdb import KURRENTDB
from devstack.servers.postgres import POSTGRES
from devstack.servers.redis import REDIS

SERVERS: dict[str, Server] = {server.name: server for server in (POSTGRES, KAFKA, KURRENTDB, ELASTICSEARCH, REDIS)}
