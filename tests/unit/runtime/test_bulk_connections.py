"""Bulk connections whose peers keep no order: stale, garbled, impatient, gone."""

import asyncio
import contextlib
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from dolmen.protocol.block_messages import HEAD_LIMIT_BYTES
from dolmen.protocol.errors import PeerLost
from dolmen.runtime.bulk_messages import FRAME
from dolmen.runtime.crowd import Doing
from dolmen.runtime.http_listener import HttpListener
from dolmen.runtime.http_transport import HttpTransport
from dolmen.runtime.transport import Body, Incoming, Outgoing, Session, body_of
from dolmen.runtime.upgrades import BULK, switching
from tests.unit.runtime.hand_made_peer import with_hand_made_peer


async def upgrade(reader: Reader, writer: Writer) -> None:
    """Answer the request that opens a bulk connection."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(switching(BULK))


async def read_request(reader: Reader) -> bytes:
    """Read one request and return its body."""
    head_bytes, body_bytes = FRAME.unpack(await reader.readexactly(FRAME.size))
    await reader.readexactly(head_bytes)
    return await reader.readexactly(body_bytes)


def message(head: bytes, body: bytes = b"") -> bytes:
    return FRAME.pack(len(head), len(body)) + head + body


def test_a_request_lost_on_a_pooled_connection_is_repeated_if_its_body_can_be() -> None:
    bodies: list[bytes] = []
    connections = 0

    async def handler(reader: Reader, writer: Writer) -> None:
        """Answer one request per connection, and drop the connection when the second has come."""
        nonlocal connections
        connections += 1
        await upgrade(reader, writer)
        bodies.append(await read_request(reader))
        writer.write(message(b"head"))
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


def test_a_request_lost_on_a_new_connection_is_not_repeated() -> None:
    connections = 0

    async def handler(reader: Reader, writer: Writer) -> None:
        nonlocal connections
        connections += 1
        await upgrade(reader, writer)
        await read_request(reader)

    async def scenario(transport: HttpTransport, address: str) -> None:
        with pytest.raises(PeerLost, match=address):
            async with transport.exchange(address, b"head", body_of(b"some")):
                pass
        assert connections == 1

    with_hand_made_peer(handler, scenario)


def test_exchanges_one_after_the_other_share_a_connection() -> None:
    connections = 0

    async def handler(reader: Reader, writer: Writer) -> None:
        nonlocal connections
        connections += 1
        await upgrade(reader, writer)
        while True:
            await read_request(reader)
            writer.write(message(b"head", b"body"))

    async def scenario(transport: HttpTransport, address: str) -> None:
        for body in (None, body_of(b"some"), body_of(bytes(3_000_000)), None):
            async with transport.exchange(address, b"head", body) as answered:
                received = bytearray(4)
                await answered.body.read_into(memoryview(received))
                assert received == b"body"
        assert connections == 1

    with_hand_made_peer(handler, scenario)


@pytest.mark.parametrize("how", ["its body is read in part", "more comes than was announced"])
def test_a_connection_that_cannot_be_gone_on_with_is_not_used_again(how: str) -> None:
    connections = 0

    async def handler(reader: Reader, writer: Writer) -> None:
        nonlocal connections
        connections += 1
        await upgrade(reader, writer)
        await read_request(reader)
        more = b"" if how.startswith("its") else message(b"nobody asked")
        writer.write(message(b"head", b"body") + more)
        await reader.read(1)

    async def scenario(transport: HttpTransport, address: str) -> None:
        for _ in range(2):
            async with transport.exchange(address, b"head") as answered:
                received = bytearray(2 if how.startswith("its") else 4)
                await answered.body.read_into(memoryview(received))
                assert received == b"body"[: len(received)]
        assert connections == 2

    with_hand_made_peer(handler, scenario)


@pytest.mark.parametrize(
    "answer",
    [
        FRAME.pack(HEAD_LIMIT_BYTES + 1, 0),
        FRAME.pack(10, 0) + b"half",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"",
    ],
)
def test_an_answer_that_makes_no_sense_is_that_of_a_lost_peer(answer: bytes) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await upgrade(reader, writer)
        await read_request(reader)
        writer.write(answer)

    async def scenario(transport: HttpTransport, address: str) -> None:
        with pytest.raises(PeerLost, match=address):
            async with transport.exchange(address, b"head", body_of(b"some")):
                pass

    with_hand_made_peer(handler, scenario)


def test_a_reply_that_ends_early_says_who_broke_off() -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await upgrade(reader, writer)
        await read_request(reader)
        writer.write(FRAME.pack(4, 10) + b"head" + b"half")

    async def scenario(transport: HttpTransport, address: str) -> None:
        async with transport.exchange(address, b"head") as answered:
            with pytest.raises(PeerLost, match=f"{address} broke off in mid-body"):
                await answered.body.skip()

    with_hand_made_peer(handler, scenario)


def test_a_body_that_drips_is_given_up_though_it_never_falls_silent() -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await upgrade(reader, writer)
        await read_request(reader)
        writer.write(FRAME.pack(0, 1000))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def scenario(transport: HttpTransport, address: str) -> None:
        async with transport.exchange(address, b"head", stall_s=0.1) as answered:
            with pytest.raises(PeerLost, match="too slowly"):
                await answered.body.skip()

    with_hand_made_peer(handler, scenario)


# ---------------------------------------------------------------- the side that serves


class Service:
    """Answers exchanges as a test says."""

    def __init__(self, answer: Callable[[Incoming], Coroutine[Any, Any, Outgoing]]) -> None:
        self._answer = answer

    def open_session(self, peer_host: str) -> Session:
        raise NotImplementedError

    async def exchange(self, incoming: Incoming) -> Outgoing:
        return await self._answer(incoming)


def serve(
    answer: Callable[[Incoming], Coroutine[Any, Any, Outgoing]],
    scenario: Callable[[HttpListener], Coroutine[Any, Any, None]],
) -> None:
    async def main() -> None:
        transport = HttpTransport()
        listener = await transport.listen(Service(answer), "127.0.0.1", 0)
        try:
            await scenario(listener)
        finally:
            await listener.close()
            await transport.close()

    asyncio.run(main())


@contextlib.asynccontextmanager
async def hand_made_client(listener: HttpListener) -> AsyncIterator[tuple[Reader, Writer]]:
    """An upgraded connection."""
    host, _, port = listener.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = ("GET /blocks HTTP/1.1", f"Host: {host}", "Connection: Upgrade", f"Upgrade: {BULK}")
    writer.write("\r\n".join((*lines, "", "")).encode())
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_requests_that_come_in_drops_are_answered_one_after_the_other() -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        received = bytearray(incoming.body.length_bytes)
        await incoming.body.read_into(memoryview(received))
        return Outgoing(incoming.head, body_of(received))

    async def scenario(listener: HttpListener) -> None:
        async with hand_made_client(listener) as (reader, writer):
            for _ in range(2):
                for byte in message(b"head", b"body"):
                    writer.write(bytes([byte]))
                    await writer.drain()
                assert await reader.readexactly(FRAME.size + 8) == message(b"head", b"body")
            assert listener.crowd.count(Doing.IDLE) == 1

    serve(answer, scenario)


def test_whoever_sends_more_than_announced_is_not_answered() -> None:
    cancelled = asyncio.Event()

    async def answer(incoming: Incoming) -> Outgoing:
        await incoming.body.skip()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        return Outgoing(b"never")

    async def scenario(listener: HttpListener) -> None:
        async with hand_made_client(listener) as (reader, writer):
            writer.write(message(b"head", b"body") + b"and more")
            await cancelled.wait()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""

    serve(answer, scenario)


def test_a_head_that_is_too_long_ends_the_connection_and_nothing_else() -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        return Outgoing(b"reply")

    async def scenario(listener: HttpListener) -> None:
        async with hand_made_client(listener) as (reader, writer):
            writer.write(FRAME.pack(HEAD_LIMIT_BYTES + 1, 0) + b"x" * 100)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        async with hand_made_client(listener) as (reader, writer):
            writer.write(message(b"head"))
            assert await reader.readexactly(FRAME.size + 5) == message(b"reply")

    serve(answer, scenario)


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_peer_that_went_away_is_no_event_and_a_source_that_failed_is_one(
    is_gone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    gone = asyncio.Event()

    async def answer(incoming: Incoming) -> Outgoing:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"some"
            if not is_gone:
                raise PeerLost("whom the bytes come from is lost")
            await gone.wait()
            for _ in range(1000):
                yield b"more"
                await asyncio.sleep(0)

        return Outgoing(b"head", Body(4004, pieces()))

    async def scenario(listener: HttpListener) -> None:
        async with hand_made_client(listener) as (reader, writer):
            writer.write(message(b"head"))
            await reader.readexactly(FRAME.size + 8)
            writer.transport.abort()
            gone.set()

    serve(answer, scenario)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (not is_gone)
