"""Control connections of threads that wait, to a real listener."""

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

import pytest

from dolmen.protocol.control_messages import MESSAGE_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost
from dolmen.runtime.blocking_connection import SocketConnection, connect_blocking
from dolmen.runtime.http_transport import HttpTransport
from tests.contract.transport_worlds import Answer, RecordingService, echo

T = TypeVar("T")


def served(use: Callable[[SocketConnection], T], answer: Answer = echo) -> T:
    """Return what a thread gets out of a connection to a service that answers so."""

    def talk(address: str) -> T:
        connection = connect_blocking(address, 5)
        try:
            return use(connection)
        finally:
            connection.close()

    async def main() -> T:
        transport = HttpTransport()
        listener = await transport.listen(RecordingService(answer), "127.0.0.1", 0)
        try:
            return await asyncio.to_thread(talk, listener.address)
        finally:
            await listener.close()
            await transport.close()

    return asyncio.run(main())


def test_calls_are_answered_one_after_the_other() -> None:
    def use(connection: SocketConnection) -> list[bytes]:
        return [connection.call(b"%d" % number, 5 + number) for number in range(3)]

    assert served(use) == [b"echo 0", b"echo 1", b"echo 2"]


@pytest.mark.parametrize("length", [0, 65_523, 65_524, 65_525, MESSAGE_LIMIT_BYTES])
def test_a_reply_of_any_length_arrives_whole(length: int) -> None:
    async def answer(payload: bytes) -> bytes:
        return b"x" * length

    assert served(lambda connection: connection.call(b"", 5), answer) == b"x" * length


def test_a_message_over_the_limit_is_refused_and_not_sent() -> None:
    def use(connection: SocketConnection) -> bytes:
        with pytest.raises(InvalidRequest, match="over the limit"):
            connection.call(bytes(MESSAGE_LIMIT_BYTES + 1), 5)
        return connection.call(b"", 5)

    assert served(use) == b"echo "


def test_a_peer_that_is_silent_is_lost_in_time() -> None:
    async def never(payload: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    def use(connection: SocketConnection) -> None:
        with pytest.raises(PeerLost, match=r"did not answer within 0\.05 s"):
            connection.call(b"", 0.05)

    served(use, never)


def test_a_peer_that_fails_is_lost() -> None:
    async def fail(payload: bytes) -> bytes:
        raise asyncio.CancelledError

    def use(connection: SocketConnection) -> None:
        with pytest.raises(PeerLost, match=r"did not answer|broke"):
            connection.call(b"", 0.05)

    served(use, fail)


def answered_with(reply: bytes) -> bytes:
    """Return what a connection makes of the bytes that a peer sends after a call."""
    ours, theirs = socket.socketpair()
    with theirs:
        connection = SocketConnection(ours, "peer:1")
        theirs.sendall(reply)
        theirs.shutdown(socket.SHUT_WR)
        try:
            return connection.call(b"", 5)
        finally:
            connection.close()


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        bytes(5),
        (1).to_bytes(8) + (5).to_bytes(4) + b"four",
        (2).to_bytes(8) + (0).to_bytes(4),
        (1).to_bytes(8) + (MESSAGE_LIMIT_BYTES + 1).to_bytes(4),
    ],
    ids=["nothing", "half a head", "too little", "another's", "too much"],
)
def test_what_is_no_reply_loses_the_peer(reply: bytes) -> None:
    with pytest.raises(PeerLost, match="peer:1"):
        answered_with(reply)


def test_where_nobody_listens_nobody_is_reached() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(PeerLost, match=f"cannot connect to 127.0.0.1:{port}"):
            connect_blocking(f"127.0.0.1:{port}", 5)
