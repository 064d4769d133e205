"""The fault proxy itself: what a client and a server see of each fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import FaultProxy
from tests.support.workers import eventually

SHORT_S = 0.05


class EchoServer:
    """Gives back each byte, and keeps what it took."""

    def __init__(self) -> None:
        self.taken = b""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                self.taken += chunk
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass  # a reset is what the proxy is for
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[EchoServer]:
    """A server that echoes, on a free port."""
    echo = EchoServer()
    async with await asyncio.start_server(echo.serve, "127.0.0.1") as listener:
        echo.port = listener.sockets[0].getsockname()[1]
        yield echo


@pytest.fixture
async def proxy(server: EchoServer) -> AsyncIterator[FaultProxy]:
    """A proxy before the server."""
    async with FaultProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    """A connection through the proxy."""
    opened = await Client.to(proxy)
    yield opened
    opened.close()


class Client:
    """A client of the echo server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, proxy: FaultProxy) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    def say(self, text: bytes) -> None:
        self._writer.write(text)

    async def hear(self, count: int) -> bytes:
        async with asyncio.timeout(5):
            return await self._reader.readexactly(count)

    async def ask(self, text: bytes) -> bytes:
        self.say(text)
        return await self.hear(len(text))

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(SHORT_S):
                await self._reader.read(1)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._writer.close()


async def test_without_a_fault_every_byte_passes_in_order(server, proxy, client):
    """A megabyte comes back as it was sent."""
    text = bytes(range(256)) * 4096

    assert await client.ask(text) == text

    assert server.taken == text


async def test_an_end_that_closes_is_closed_on_the_other_side(proxy, client):
    """A connection that its client leaves doesn't live on in the proxy."""
    await client.ask(b"hello")

    client.close()

    await eventually(lambda: proxy.connections == 0, "the end of the connection", 5)
    assert proxy.resets == 0


async def test_latency_is_added_in_each_direction(proxy, client):
    """A round trip takes twice the latency, on a connection that was there before."""
    await client.ask(b"quick")
    proxy.latency_s = SHORT_S
    started = asyncio.get_running_loop().time()

    await client.ask(b"slow")

    assert asyncio.get_running_loop().time() - started >= 2 * SHORT_S


async def test_a_black_hole_of_the_answers_lets_requests_through(server, proxy, client):
    """The server takes the request; the client hears nothing, and its connection stays open."""
    await client.ask(b"before")
    proxy.black_hole("client")

    client.say(b"during")

    await eventually(lambda: server.taken == b"beforeduring", "the request", 5)
    assert await client.hears_nothing()


async def test_a_black_hole_of_the_requests_keeps_them_from_the_server(server, proxy, client):
    """The server never hears of it."""
    await client.ask(b"before")
    proxy.black_hole("server")

    client.say(b"during")

    assert await client.hears_nothing()
    assert server.taken == b"before"


async def test_healing_resets_a_connection_that_lost_bytes_and_no_other(proxy, client):
    """It could only go on with a gap."""
    idle = await Client.to(proxy)
    await idle.ask(b"before")
    await client.ask(b"before")
    proxy.black_hole()
    client.say(b"during")
    assert await client.hears_nothing()

    proxy.heal()

    with pytest.raises(ConnectionResetError):
        await client.hear(1)
    assert await idle.ask(b"after") == b"after"
    idle.close()


async def test_a_black_hole_hides_that_a_client_went_away(proxy, client):
    """The server's side of the connection stays open until the network heals."""
    await client.ask(b"before")
    proxy.black_hole("server")
    client.close()
    other = await Client.to(proxy)
    assert await other.hears_nothing()
    assert proxy.connections == 2

    proxy.heal()

    await eventually(lambda: proxy.connections == 1, "the end of the connection that lost its end", 5)
    assert await other.ask(b"after") == b"after"
    other.close()


async def test_a_connection_is_reset_after_so_many_bytes(server, proxy, client):
    """Both directions count; what lies beyond the count is not passed on; a new connection has its own count."""
    proxy.reset_after(5)

    client.say(b"1234567")

    with pytest.raises(ConnectionResetError):
        await client.hear(7)
    await eventually(lambda: proxy.connections == 0, "the reset", 5)
    assert len(server.taken) <= 5
    again = await Client.to(proxy)
    assert await again.ask(b"12") == b"12"
    again.close()


async def test_the_answer_to_a_pattern_is_dropped_after_the_server_took_it(server, proxy, client):
    """The request arrives, even in pieces; the client sees a reset instead of its answer."""
    await client.ask(b"BEGIN")
    proxy.drop_answer_to(b"COMMIT")

    assert await client.ask(b"COM") == b"COM"
    client.say(b"MIT")

    with pytest.raises(ConnectionResetError):
        await client.hear(1)
    assert server.taken == b"BEGINCOMMIT"
    assert proxy.answers_dropped == 1


async def test_only_each_so_manieth_answer_is_dropped(proxy, client):
    """Every second COMMIT loses its answer."""
    proxy.drop_answer_to(b"COMMIT", every=2)

    assert await client.ask(b"COMMIT") == b"COMMIT"
    client.say(b"COMMIT")

    with pytest.raises(ConnectionResetError):
        await client.hear(1)


async def test_an_answer_vanishes_with_all_that_follows_on_its_connection(server, proxy, client):
    """The server takes everything, the client waits for ever; a connection without the pattern has its answers."""
    other = await Client.to(proxy)
    await commit_without_answer(proxy, client)

    client.say(b"more")

    await eventually(lambda: server.taken == b"COMMITmore", "the requests", 5)
    assert await client.hears_nothing()
    assert (proxy.answers_dropped, proxy.resets) == (1, 0)
    assert await other.ask(b"hello") == b"hello"
    other.close()


async def test_healing_resets_a_connection_whose_answer_vanished(proxy, client):
    """And the next one has its answer to the pattern."""
    await commit_without_answer(proxy, client)

    proxy.heal()

    with pytest.raises(ConnectionResetError):
        await client.hear(1)
    again = await Client.to(proxy)
    assert await again.ask(b"COMMIT") == b"COMMIT"
    again.close()


async def test_a_client_that_dies_while_its_answer_never_comes_is_gone_for_the_server_too(proxy, client):
    """Only what goes to the client is lost."""
    await commit_without_answer(proxy, client)

    client.close()

    await eventually(lambda: proxy.connections == 0, "the end of the connection", 5)


async def commit_without_answer(proxy: FaultProxy, client: Client) -> None:
    """Let the answer to a COMMIT vanish."""
    proxy.drop_answer_to(b"COMMIT", cut=False)
    client.say(b"COMMIT")
    await eventually(lambda: proxy.answers_dropped == 1, "the answer that vanishes", 5)


async def test_a_cut_resets_every_connection_and_takes_new_ones(proxy, client):
    """The listener stays."""
    await client.ask(b"before")

    proxy.cut()

    with pytest.raises(ConnectionResetError):
        await client.hear(1)
    again = await Client.to(proxy)
    assert await again.ask(b"after") == b"after"
    again.close()


async def test_without_a_server_connections_are_reset(unused_port_proxy):
    """A client sees at once that nobody is there."""
    client = await Client.to(unused_port_proxy)

    with pytest.raises(ConnectionResetError):
        await client.hear(1)


@pytest.fixture
async def unused_port_proxy() -> AsyncIterator[FaultProxy]:
    """A proxy before a port on which nobody listens."""
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1") as listener:
        port = listener.sockets[0].getsockname()[1]
    async with FaultProxy("127.0.0.1", port) as proxy:
        yield proxy
