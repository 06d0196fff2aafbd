"""The port to the network: control connections and bulk exchanges.

A *control connection* carries calls, many in flight, each one bytes message in and one out. A *bulk
exchange* is one head and one streamed body in each direction; the peer may answer before the end of
the request's body, fall silent, or break off. The real implementation is `http_transport`
(connections that HTTP opens and leaves), the simulated one
`dolmen.simulation.sim_transport`; one contract suite runs against both. Whatever goes wrong on the
way is `PeerLost`, with the peer's address in its message; a port that is taken, or an address that
is not ours, is `StartRefused`.

No call waits for ever: each has a deadline, and bodies have a progress deadline (no byte accepted
or received for so long), because a peer that is stopped keeps its connections open.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from dolmen.protocol.checksums import Buffer
from dolmen.runtime.metrics import Status

PIECE_BYTES = 1024 * 1024
"""Bodies travel in pieces of at most this size; it bounds what one stream holds in memory."""


@dataclass(frozen=True)
class Body:
    """Bytes to send: their exact number, and the pieces, each of at most PIECE_BYTES (advice).

    A piece may be overwritten once the next one is asked for. Pieces with an `aclose` are closed
    when nobody asks for any more, also if nobody ever did. Pieces that can be iterated again (an
    iterable that is not its own iterator, see `body_of`) let a request that failed on a pooled
    connection before any answer be repeated once on a new one, before the peer is blamed (rule 20).
    """

    length_bytes: int
    pieces: AsyncIterable[Buffer]


class RepeatablePieces:
    """Pieces that stay in memory, so that they can be sent again."""

    def __init__(self, pieces: Sequence[Buffer]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        for piece in self._pieces:
            yield piece


def body_of(*pieces: Buffer) -> Body:
    """Return a body of bytes that are in memory; they must stay as they are until it is sent."""
    return Body(sum(len(piece) for piece in pieces), RepeatablePieces(pieces))


class IncomingBody(Protocol):
    """Bytes that arrive. Reading is what makes the sender go on (backpressure)."""

    length_bytes: int

    async def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` whole with the next bytes; PeerLost if the body ends or stalls before."""

    async def skip(self) -> None:
        """Read and drop the rest, within the body's progress deadline."""


@dataclass(frozen=True)
class Incoming:
    """A bulk exchange as the server sees it."""

    head: bytes
    body: IncomingBody
    peer_host: str


@dataclass(frozen=True)
class Outgoing:
    """What the server answers to it."""

    head: bytes
    body: Body | None = None


class Session(Protocol):
    """The server's side of one control connection."""

    def answer(self, payload: bytes) -> bytes | Awaitable[bytes]:
        """Return the reply to one call, or what to await for it if it waits for something.

        Calls of one connection run concurrently.
        """

    def closed(self) -> None:
        """The connection is gone; calls still running have been cancelled. Called once."""


class Service(Protocol):
    """What listens on an address."""

    def open_session(self, peer_host: str) -> Session:
        """A control connection has been opened from `peer_host`."""

    async def exchange(self, incoming: Incoming) -> Outgoing:
        """Answer one bulk exchange.

        While its body is still coming, the loss of the peer shows in reading it; after that it
        cancels this. A body that is left unread when this returns ends the connection.
        """


class Listener(Protocol):
    """A service that listens."""

    address: str

    async def close(self) -> None:
        """Stop listening, let running exchanges end for a moment, close all connections."""

    def abort(self) -> None:
        """Stop at once: reset all connections, cancel all calls; as if the process were killed."""


class Connection(Protocol):
    """The client's side of one control connection."""

    async def call(self, payload: bytes, timeout_s: float) -> bytes:
        """Send one call and return its reply. PeerLost: broken, or no reply within `timeout_s`.

        A call given up locally does not disturb the others on the connection.
        """

    async def wait_closed(self) -> None:
        """Return when the connection is gone."""

    async def close(self) -> None:
        """Close it; calls in flight end with PeerLost."""


class BlockingConnection(Protocol):
    """The client's side of a control connection for threads that wait, one at a time."""

    def call(self, payload: bytes, timeout_s: float) -> bytes:
        """Send one call and return its reply. PeerLost: broken, or no reply within `timeout_s`; and
        then this connection is of no more use."""

    def close(self) -> None:
        """Close it. Idempotent."""


@dataclass(frozen=True)
class Answered:
    """The reply to a bulk exchange, while its body is read."""

    head: bytes
    body: IncomingBody


class Transport(Protocol):
    """How a process talks: one per process (or per simulated process)."""

    async def listen(
        self, service: Service, host: str, port: int, status: Status | None = None
    ) -> Listener:
        """Listen; port 0 takes any free one. StartRefused if the port is taken.

        `status` is shown to whoever asks for it there, where people can ask (HTTP).
        """

    async def connect(self, address: str, timeout_s: float) -> Connection:
        """Open a control connection. PeerLost if nobody answers within `timeout_s`."""

    def exchange(
        self, address: str, head: bytes, body: Body | None = None, *, stall_s: float = 30.0
    ) -> AbstractAsyncContextManager[Answered]:
        """Start a bulk exchange; entered when the reply's head has arrived.

        `stall_s` is the progress deadline of both bodies and of the wait for the reply after the
        request's body was sent. An early reply ends the sending. Connections are pooled per
        address.
        """

    async def close(self) -> None:
        """Close connections, those in use and those pooled; listeners close by themselves."""

    def abort(self) -> None:
        """Reset every connection and listener at once; as if the process were killed."""
