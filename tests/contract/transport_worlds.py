"""The worlds in which the Transport port's contract is tested, and a service to test it with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from dolmen.runtime.http_transport import HttpTransport
from dolmen.runtime.transport import Incoming, IncomingBody, Listener, Outgoing, Transport
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_transport import SimTransport

PIECE = 256 * 1024
MORE_THAN_FITS = 64 * 1024 * 1024
"""More bytes than buffers between sender and receiver ever hold."""


class World(Protocol):
    """A network with a server and a client process on it."""

    host: str
    """Where the server may listen."""
    stall_s: float
    """A progress deadline that is short, and still longer than any hiccup here."""

    @property
    def server(self) -> Transport: ...

    @property
    def client(self) -> Transport: ...

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a scenario on this world's event loop, then close the transports."""


class RealWorld:
    """Sockets of this machine."""

    host = "127.0.0.1"
    stall_s = 0.4

    def __init__(self) -> None:
        self.server = HttpTransport(served_stall_s=self.stall_s)
        self.client = HttpTransport()

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(self._run(scenario))

    async def _run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await scenario()
        finally:
            await self.client.close()
            await self.server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=2)
        assert not (asyncio.all_tasks() - {asyncio.current_task()}), "tasks were left behind"


class SimWorld:
    """Two processes in virtual time, each on a host of its own."""

    host = "server"
    stall_s = 0.4

    def __init__(self) -> None:
        self.network = SimNetwork(Random(1))
        self.server = SimTransport(self.network, "server", served_stall_s=self.stall_s)
        self.client = SimTransport(self.network, "client")

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        virtual_time.run(self._run(scenario))

    async def _run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await scenario()
        finally:
            await self.client.close()
            await self.server.close()
        await asyncio.sleep(2)
        assert not (asyncio.all_tasks() - {asyncio.current_task()}), "tasks were left behind"


Answer = Callable[[bytes], Awaitable[bytes]]
Exchange = Callable[[Incoming], Awaitable[Outgoing]]


async def echo(payload: bytes) -> bytes:
    return b"echo " + payload


async def return_body(incoming: Incoming) -> Outgoing:
    """Answer with the request's head, and say how many bytes came."""
    received = bytearray(incoming.body.length_bytes)
    await incoming.body.read_into(memoryview(received))
    return Outgoing(incoming.head + b" %d" % len(received))


@dataclass
class RecordingSession:
    """A session that answers as told, and remembers when it was closed."""

    answer_call: Answer
    closed_times: int = 0
    cancelled: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, payload: bytes) -> bytes:
        try:
            return await self.answer_call(payload)
        except asyncio.CancelledError:
            self.cancelled.append(payload)
            raise

    def closed(self) -> None:
        self.closed_times += 1
        self.gone.set()


@dataclass
class RecordingService:
    """A service made of functions, which remembers its sessions."""

    answer_call: Answer = echo
    answer_exchange: Exchange = return_body
    sessions: list[RecordingSession] = field(default_factory=list)
    peer_hosts: list[str] = field(default_factory=list)

    def open_session(self, peer_host: str) -> RecordingSession:
        self.peer_hosts.append(peer_host)
        session = RecordingSession(self.answer_call)
        self.sessions.append(session)
        return session

    async def exchange(self, incoming: Incoming) -> Outgoing:
        return await self.answer_exchange(incoming)


async def serve(world: World, answer: Exchange) -> Listener:
    return await world.server.listen(RecordingService(answer_exchange=answer), world.host, 0)


async def read(body: IncomingBody, length_bytes: int | None = None) -> bytes:
    received = bytearray(body.length_bytes if length_bytes is None else length_bytes)
    await body.read_into(memoryview(received))
    return bytes(received)


async def pieces_of(data: bytes, piece_bytes: int = PIECE) -> AsyncIterator[memoryview]:
    """Yield `data` piece by piece out of one buffer that is filled again and again."""
    buffer = bytearray(piece_bytes)
    for start in range(0, len(data), piece_bytes):
        piece = data[start : start + piece_bytes]
        buffer[: len(piece)] = piece
        yield memoryview(buffer)[: len(piece)]


def patterned(length_bytes: int) -> bytes:
    """Bytes in which no piece looks like another."""
    return b"".join(i.to_bytes(8, "big") for i in range(length_bytes // 8 + 1))[:length_bytes]
