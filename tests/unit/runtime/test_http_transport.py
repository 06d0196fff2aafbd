"""What only the HTTP transport can get wrong: strangers, other servers, stale connections."""

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dolmen.protocol.errors import PeerLost, StartRefused
from dolmen.runtime.crowd import Reason
from dolmen.runtime.http_listener import HttpListener
from dolmen.runtime.http_transport import HttpTransport
from dolmen.runtime.transport import Incoming, Outgoing, Session
from tests.unit.runtime.hand_made_peer import with_hand_made_peer

BULK = "Connection: Upgrade\r\nUpgrade: dolmen-blocks/1\r\n"
UPGRADE = "Connection: Upgrade\r\nUpgrade: dolmen\r\n"
UPGRADED = f"GET /rpc HTTP/1.1\r\nHost: {{host}}\r\n{UPGRADE}\r\n"
BULK_UPGRADED = f"GET /blocks HTTP/1.1\r\nHost: {{host}}\r\n{BULK}\r\n"


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


@pytest.mark.parametrize("path", ["/rpc", "/blocks", "/metrics", "/", "/anything"])
def test_web_pages_and_foreign_names_are_refused_on_every_path(path: str) -> None:
    async def scenario(service: Echo, listener: HttpListener) -> None:
        upgrade = BULK if path == "/blocks" else UPGRADE
        own = f"Host: {listener.address}\r\n{upgrade}"
        foreign = f"Host: evil.example\r\n{upgrade}"
        line = f"GET {path}"
        assert await status_of(listener.address, line, foreign) == 403
        assert await status_of(listener.address, line, upgrade) in (400, 403)
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
            headers = f"Host: {host}\r\nOrigin: http://{host}\r\n{BULK}"
            assert await status_of(listener.address, "GET /blocks", headers) == 101
        headers = f"Host: 127.0.0.1\r\n{UPGRADE}"
        assert await status_of(listener.address, "GET /rpc", headers) == 101
        await service.closed_sessions.wait()

    run(scenario, "dolmen.example")


def test_requests_that_make_no_sense_get_an_error_status() -> None:
    async def scenario(service: Echo, listener: HttpListener) -> None:
        own = f"Host: {listener.address}\r\n"
        address = listener.address
        assert await status_of(address, "GET /nothing", own) == 404
        assert await status_of(address, "GET /blocks/x", own + BULK) == 404
        for path, upgrade in (("/rpc", ""), ("/rpc", BULK), ("/blocks", ""), ("/blocks", UPGRADE)):
            assert await status_of(address, f"GET {path}", own + upgrade) == 426
        assert service.exchanges == 0

    run(scenario)


@pytest.mark.parametrize("said", ["", "GET /blocks HTTP/1.1\r\nX: ", UPGRADED, BULK_UPGRADED])
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
        own = f"Host: {listener.address}\r\n{BULK}"
        assert await status_of(listener.address, "GET /blocks", own) == 101
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


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "is no daemon of Dolmen: status 503"),
        (b"HTTP/1.1 307 Go\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "status 307"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "status 200"),
        (b"HTTP/1.1 426 No\r\nContent-Length: 0\r\n\r\n", "its software is another version"),
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
