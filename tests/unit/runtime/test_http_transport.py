"""What only the HTTP transport can get wrong: strangers, other servers, stale connections."""

import asyncio
import base64
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from dolmen.protocol.errors import PeerLost, StartRefused
from dolmen.runtime.crowd import Reason
from dolmen.runtime.http_listener import HttpListener
from dolmen.runtime.http_transport import HttpTransport
from dolmen.runtime.transport import Body, Incoming, Outgoing, Session, body_of

HEAD = base64.b64encode(b"head").decode()
UPGRADE = "Connection: Upgrade\r\nUpgrade: dolmen\r\n"
UPGRADED = f"GET /rpc HTTP/1.1\r\nHost: {{host}}\r\n{UPGRADE}\r\n"


class Echo:
    """A service that returns what it gets."""

    def __init__(self) -> None:
        self.exchanges = 0
        self.sessions = 0
        self.closed_sessions = asyncio.Event()

    def open_session(self, peer_host: str) -> Session:
        self.sessions += 1
        return self

    async def answer(self, payload: bytes) -> bytes:
        return payload

    def closed(self) -> None:
        self.closed_sessions.set()

    async def exchange(self, incoming: Incoming) -> Outgoing:
        self.exchanges += 1
        await incoming.body.skip()
        return Outgoing(incoming.head)


Scenario = Callable[[Echo, HttpListener], Coroutine[Any, Any, None]]


def run(scenario: Scenario, *own_hosts: str) -> None:
    async def main() -> None:
        transport = HttpTransport(own_hosts)
        service = Echo()
        listener = await transport.listen(service, "127.0.0.1", 0)
        try:
            await scenario(service, listener)
        finally:
            await listener.close()
            await transport.close()

    asyncio.run(main())


async def status_of(address: str, request_line: str, headers: str) -> int:
    """Send a request by hand and return the status of the answer."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{request_line} HTTP/1.1\r\n{headers}\r\n".encode())
    status_line = await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    await writer.wait_closed()
    return int(status_line.split()[1])


@pytest.mark.parametrize("path", ["/rpc", "/blocks/exchange", "/metrics", "/", "/anything"])
def test_web_pages_and_foreign_names_are_refused_on_every_path(path: str) -> None:
    async def scenario(service: Echo, listener: HttpListener) -> None:
        own = f"Host: {listener.address}\r\nDolmen-Head: {HEAD}\r\n{UPGRADE}"
        foreign = f"Host: evil.example\r\nDolmen-Head: {HEAD}\r\n{UPGRADE}"
        line = f"GET {path}"
        assert await status_of(listener.address, line, foreign) == 403
        assert await status_of(listener.address, line, UPGRADE) in (400, 403)
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"):
            headers = f"{own}Origin: {origin}\r\n"
            assert await status_of(listener.address, line, headers) == 403
        assert service.exchanges == service.sessions == 0

    run(scenario)


def test_own_names_and_the_own_origin_are_welcome() -> None:
    async def scenario(service: Echo, listener: HttpListener) -> None:
        port = listener.address.rpartition(":")[2]
        names = ("127.0.0.1", "localhost", "LOCALHOST", "dolmen.example", socket.gethostname())
        for host in (*names, *(f"{name}:{port}" for name in names)):
            headers = f"Host: {host}\r\nOrigin: http://{host}\r\nDolmen-Head: {HEAD}\r\n"
            assert await status_of(listener.address, "GET /blocks/exchange", headers) == 200
        headers = f"Host: 127.0.0.1\r\n{UPGRADE}"
        assert await status_of(listener.address, "GET /rpc", headers) == 101
        await service.closed_sessions.wait()

    run(scenario, "dolmen.example")


def test_requests_that_make_no_sense_get_an_error_status() -> None:
    async def scenario(service: Echo, listener: HttpListener) -> None:
        own = f"Host: {listener.address}\r\n"
        address = listener.address
        assert await status_of(address, "GET /nothing", own) == 404
        assert await status_of(address, "POST /blocks/x", own) == 405
        assert await status_of(address, "GET /rpc", own) == 426
        assert await status_of(address, "GET /blocks/x", own + "Dolmen-Head: %%%\r\n") == 400
        chunked = own + "Transfer-Encoding: chunked\r\n"
        assert await status_of(address, "PUT /blocks/x", chunked) == 411
        assert service.exchanges == 0

    run(scenario)


@pytest.mark.parametrize("said", ["", "GET /blocks/x HTTP/1.1\r\nX: ", UPGRADED])
def test_whoever_only_holds_a_connection_is_closed(said: str) -> None:
    async def scenario(service: Echo, listener: HttpListener) -> None:
        listener.crowd.limits = dataclasses.replace(listener.crowd.limits, fresh_s=0.05)
        host, _, port = listener.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said.format(host=host).encode())
        with contextlib.suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 60)
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
        assert listener.crowd.resets[Reason.SILENT] == 1

    run(scenario)


def test_a_newcomer_is_served_when_all_places_are_taken_by_silent_ones() -> None:
    async def scenario(service: Echo, listener: HttpListener) -> None:
        listener.crowd.limits = dataclasses.replace(listener.crowd.limits, connections=5)
        host, _, port = listener.address.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(10)]
        own = f"Host: {listener.address}\r\nDolmen-Head: {HEAD}\r\n"
        assert await status_of(listener.address, "GET /blocks/exchange", own) == 200
        for _, writer in silent:
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.wait_closed()
        assert listener.crowd.resets[Reason.CROWDED] == 6

    run(scenario)


def test_a_message_that_announces_too_much_ends_the_connection() -> None:
    async def scenario(service: Echo, listener: HttpListener) -> None:
        host, _, port = listener.address.rpartition(":")
        for frame in (bytes(8) + b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n"):
            service.closed_sessions.clear()
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /rpc HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(frame)
            await asyncio.wait_for(service.closed_sessions.wait(), 60)
            writer.close()
            await writer.wait_closed()

    run(scenario)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def with_hand_made_peer(
    handler: Handler, scenario: Callable[[HttpTransport, str], Coroutine[Any, Any, None]]
) -> None:
    """Run a scenario with a server that treats each connection as `handler` says."""
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async def main() -> None:
        transport = HttpTransport()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            await scenario(transport, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        finally:
            await transport.close()
            server.close()
            await asyncio.wait(served, timeout=60)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "status 503 without being a datanode"),
        (b"HTTP/1.1 307 Go\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "status 307"),
        (b"HTTP/1.1 200 OK\r\nDolmen-Head: %%\r\nContent-Length: 0\r\n\r\n", "status 200"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"", "127.0.0.1"),
    ],
)
def test_a_server_that_is_no_datanode_is_a_lost_peer(answer: bytes, told: str) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async def scenario(transport: HttpTransport, address: str) -> None:
        with pytest.raises(PeerLost, match=told):
            async with transport.exchange(address, b"head", stall_s=5):
                pass
        with pytest.raises(PeerLost, match=address):
            await transport.connect(address, 5)

    with_hand_made_peer(handler, scenario)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request with its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().splitlines():
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.partition(b":")[2]))
    return b""


ANSWER = f"HTTP/1.1 200 OK\r\nDolmen-Head: {HEAD}\r\nContent-Length: 0\r\n\r\n".encode()


def test_a_request_lost_on_a_pooled_connection_is_repeated_if_its_body_can_be() -> None:
    bodies: list[bytes] = []
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request per connection, and drop the connection when the second has come."""
        nonlocal connections
        connections += 1
        bodies.append(await read_request(reader))
        writer.write(ANSWER)
        await reader.read(1)

    async def scenario(transport: HttpTransport, address: str) -> None:
        for body in (body_of(b"one"), body_of(b"two", b" and three"), None):
            async with transport.exchange(address, b"head", body) as answered:
                assert answered.head == b"head"
        assert bodies == [b"one", b"two and three", b""]
        assert connections == 3

        async def once() -> AsyncIterator[bytes]:
            yield b"four"

        with pytest.raises(PeerLost, match=address):
            async with transport.exchange(address, b"head", Body(4, once())):
                pass

    with_hand_made_peer(handler, scenario)


def test_exchanges_one_after_the_other_share_a_connection() -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(ANSWER.replace(b"Length: 0", b"Length: 4") + b"body")

    async def scenario(transport: HttpTransport, address: str) -> None:
        for body in (None, body_of(b"some"), body_of(bytes(3_000_000)), None):
            async with transport.exchange(address, b"head", body) as answered:
                received = bytearray(4)
                await answered.body.read_into(memoryview(received))
                assert received == b"body"
        assert connections == 1

    with_hand_made_peer(handler, scenario)


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_peer_that_went_away_is_no_event_and_a_source_that_failed_is_one(
    is_gone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(service: Echo, listener: HttpListener) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"some"
            if not is_gone:
                raise PeerLost("whom the bytes come from is lost")
            [handler] = listener._http.connections
            assert handler.transport is not None
            handler.transport.abort()
            yield b"more"

        async def answer(incoming: Incoming) -> Outgoing:
            return Outgoing(b"head", Body(8, pieces()))

        service.exchange = answer  # type: ignore[method-assign]
        transport = HttpTransport()
        async with transport.exchange(listener.address, b"head") as answered:
            with pytest.raises(PeerLost):
                await answered.body.read_into(memoryview(bytearray(8)))
        await transport.close()

    run(scenario)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (not is_gone)


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    async def main() -> None:
        transport = HttpTransport()
        with pytest.raises(StartRefused, match=r"192\.0\.2\.1 is not an address of this machine"):
            await transport.listen(Echo(), "192.0.2.1", 0)

    asyncio.run(main())


def test_ipv6_addresses_work() -> None:
    async def main() -> None:
        transport = HttpTransport()
        listener = await transport.listen(Echo(), "::1", 0)
        assert listener.address.startswith("[::1]:")
        connection = await transport.connect(listener.address, 5)
        assert await connection.call(b"x", 5) == b"x"
        await connection.close()
        async with transport.exchange(listener.address, b"head") as answered:
            assert answered.head == b"head"
        await listener.close()
        await transport.close()

    asyncio.run(main())


def test_a_peer_that_accepts_and_says_nothing_is_lost_in_time() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario(transport: HttpTransport, address: str) -> None:
        with pytest.raises(PeerLost, match=f"{address} did not answer within 0.1 s"):
            await transport.connect(address, 0.1)
        with pytest.raises(PeerLost, match=f"{address} made no progress for 0.1 s"):
            async with transport.exchange(address, b"head", stall_s=0.1):
                pass

    with_hand_made_peer(handler, scenario)
