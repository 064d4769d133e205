"""A TCP proxy between a client and a server that does to their connections what a bad network does.

    async with FaultProxy("127.0.0.1", 5432) as proxy:
        ...                                     # the client connects to 127.0.0.1:proxy.port
        proxy.black_hole("client")              # from now on no answer comes back, on no connection
        proxy.heal()

It knows no protocol. Bytes are passed on in order or not at all: a connection that has lost some is reset when the
network heals, for it could only go on with a gap. Faults can be switched while connections live.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Literal, Self

End = Literal["server", "client"]

CHUNK_BYTES = 2**20
ABORTIVE_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closing sends RST instead of FIN."""


class FaultProxy:
    """Passes what comes in on 127.0.0.1:`port` on to `host`:`server_port` and back, with the faults that are on.

    `latency_s` is added to each direction; `answers_dropped` and `resets` (all of them) count what was done so far.
    """

    def __init__(self, host: str, server_port: int, *, port: int = 0) -> None:
        self.port = port
        self.latency_s = 0.0
        self.answers_dropped = 0
        self.resets = 0
        self._server = (host, server_port)
        self._deaf: frozenset[End] = frozenset()
        self._bytes_to_live: int | None = None
        self._pattern, self._every, self._seen, self._cuts = b"", 1, 0, True
        self._connections: dict[_Connection, asyncio.Task[None]] = {}

    @property
    def connections(self) -> int:
        """How many connections live."""
        return len(self._connections)

    def black_hole(self, *deaf: End) -> None:
        """Lose from now on all that goes to the `deaf` ends (none named: to both), ends of connections included."""
        self._deaf = frozenset(deaf or ("server", "client"))

    def reset_after(self, count: int) -> None:
        """Reset each connection, those that live as well, once `count` more bytes have passed through it."""
        self._bytes_to_live = count
        for connection in self._connections:
            connection.bytes_to_live = count

    def drop_answer_to(self, pattern: bytes, *, every: int = 1, cut: bool = True) -> None:
        """Let the server have what holds `pattern`, and cut the connection when it begins to answer.

        Without `cut` it stays open, and nothing more comes to the client: it waits. Done to each `every`th request that
        holds `pattern`, over all connections; what a client sends at once counts as one. The client can't know what
        became of its request.
        """
        self._pattern, self._every, self._seen, self._cuts = pattern, every, 0, cut

    def cut(self) -> None:
        """Reset every connection that lives; new ones are taken."""
        for connection in list(self._connections):
            self._reset(connection)

    def heal(self) -> None:
        """End every fault, and reset the connections that lost bytes."""
        self.latency_s, self._deaf, self._bytes_to_live, self._pattern = 0.0, frozenset(), None, b""
        for connection in list(self._connections):
            connection.bytes_to_live, connection.drops_answer = None, False
            if connection.lost_bytes:
                self._reset(connection)

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._connections.values())
        await self._listener.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_server = await asyncio.open_connection(*self._server)
        except OSError:
            _abort(writer)
            return
        connection = _Connection((reader, writer), to_server, self._bytes_to_live)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            await asyncio.gather(self._pump(connection, "server"), self._pump(connection, "client"))
        finally:
            del self._connections[connection]

    async def _pump(self, connection: _Connection, end: End) -> None:
        reader, writer = connection.way_to(end)
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                await self._pass(connection, end, chunk, writer)
            if self._hears_nothing(connection, end) and not connection.over.is_set():
                # The end of a connection is lost like its bytes: the other end believes it alive.
                connection.lost_bytes = True
                await connection.over.wait()
            connection.close()
        except ConnectionError:
            self._reset(connection)

    async def _pass(self, connection: _Connection, end: End, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        if self._hears_nothing(connection, end):
            connection.lost_bytes = True
            return
        if end == "client" and connection.drops_answer:
            self.answers_dropped += 1
            if self._cuts:
                self._reset(connection)
            else:
                connection.is_mute = connection.lost_bytes = True
            return
        if end == "server" and self._pattern:
            self._look_for_pattern(connection, chunk)
        writer.write(connection.still_alive(chunk))
        await writer.drain()
        if connection.bytes_to_live == 0:
            self._reset(connection)

    def _hears_nothing(self, connection: _Connection, end: End) -> bool:
        return end in self._deaf or (end == "client" and connection.is_mute)

    def _look_for_pattern(self, connection: _Connection, chunk: bytes) -> None:
        # A pattern may be cut in two by the chunks.
        text = connection.tail + chunk
        connection.tail = text[max(0, len(text) - len(self._pattern) + 1) :]
        if self._pattern in text:
            self._seen += 1
            connection.drops_answer = self._seen % self._every == 0

    def _reset(self, connection: _Connection) -> None:
        if not connection.over.is_set():
            self.resets += 1
            connection.reset()


class _Connection:
    """A connection through the proxy: one to the client, one to the server."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        bytes_to_live: int | None,
    ) -> None:
        self.bytes_to_live = bytes_to_live
        self.lost_bytes = False
        self.drops_answer = False
        self.is_mute = False
        self.tail = b""
        self.over = asyncio.Event()
        self._ways = {"server": (client[0], server[1]), "client": (server[0], client[1])}
        for _, writer in self._ways.values():
            # So that drain() waits until the kernel has taken the bytes.
            writer.transport.set_write_buffer_limits(0)

    def way_to(self, end: End) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return where the bytes for `end` come from and where they go."""
        return self._ways[end]

    def still_alive(self, chunk: bytes) -> bytes:
        """Count `chunk`, and return as much of it as may pass before the reset."""
        if self.bytes_to_live is None:
            return chunk
        passed = chunk[: self.bytes_to_live]
        self.bytes_to_live -= len(passed)
        return passed

    def close(self) -> None:
        """Say goodbye to both ends (FIN)."""
        self.over.set()
        for _, writer in self._ways.values():
            writer.close()

    def reset(self) -> None:
        """Break off to both ends (RST)."""
        self.over.set()
        for _, writer in self._ways.values():
            _abort(writer)


def _abort(writer: asyncio.StreamWriter) -> None:
    held = writer.get_extra_info("socket")
    if not writer.is_closing():
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE_CLOSE)
    writer.transport.abort()
