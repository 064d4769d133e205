"""A Redis that grants every lock to everybody: each `SET … NX` succeeds, each script says yes, and nothing is kept.

It speaks enough of the protocol for redis-py's locks. What it stands for: a failover that loses keys, a clock that
jumps, a holder that slept, all the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


@asynccontextmanager
async def lying_redis(port: int = 0) -> AsyncIterator[str]:
    """Serve inside the block, on any free port where none is given; gives the URL."""
    numbers = count(1)
    clients: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(writer)
        while words := await _read_command(reader):
            writer.write(_answer(words, numbers))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        for client in clients:
            client.close()
        await server.wait_closed()


async def _read_command(reader: asyncio.StreamReader) -> list[bytes]:
    """An array of bulk strings; empty where the client has gone."""
    length = (await reader.readline())[1:]
    words = []
    for _ in range(int(length or 0)):
        size = int((await reader.readline())[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


def _answer(words: list[bytes], numbers: count[int]) -> bytes:
    """Yes, in the shape that each command has its answer in."""
    match words[0].upper():
        case b"INCR" | b"INCRBY":
            return b":%d\r\n" % next(numbers)
        case b"EVAL" | b"EVALSHA":
            return b":1\r\n"
        case b"GET":
            return b"$-1\r\n"
        case _:
            return b"+OK\r\n"
