"""Bodies of bulk exchanges over aiohttp: how one is sent, how one is read, each with its deadline.

aiohttp has no limit of its own on a stalled send, and its read timeout knows nothing of the sender,
so both directions carry a progress deadline here: it runs while the peer owes us something (taking
bytes, sending bytes, answering) and rests while we wait for our own source.

A piece may be a view of a buffer that its owner fills again. It is therefore handed to the kernel
whole before the next piece is asked for: the transport's write buffer has a high-water mark of
zero.
"""

import asyncio

import aiohttp
from aiohttp import http_exceptions, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from dolmen.protocol.errors import PeerLost
from dolmen.runtime.bodies import Progress, SourceFailed, send_pieces
from dolmen.runtime.transport import Body

READ_BUFFER_BYTES = 512 * 1024
"""aiohttp stops reading at twice this: 1 MiB may stand between receiving and using (rule 20)."""

SLOWEST_BYTES_PER_S = 4 * 1024
DRIPS = 10
"""A body that comes slower than this, and takes so many times the deadline for progress besides,
holds a place for nothing, though it never falls silent."""

EARLY = 0.1
"""A progress deadline may come earlier by this share of it: so it is not set anew for each arrival,
of which a fast body has thousands a second."""

HEAD_HEADER = "Dolmen-Head"
FIELD_LIMIT_BYTES = 64 * 1024
"""Longest header field accepted: a head of HEAD_LIMIT_BYTES in base64, with room to spare."""

LOST = (
    aiohttp.ClientError,
    OSError,
    web.RequestPayloadError,
    http_exceptions.HttpProcessingError,
)
"""Everything that aiohttp raises when a connection breaks or its peer talks nonsense."""


async def send_body(body: Body, writer: AbstractStreamWriter, progress: Progress) -> None:
    """Send all pieces of `body`."""
    if isinstance(writer, StreamWriter) and writer.transport is not None:
        writer.transport.set_write_buffer_limits(high=0)

    async def write(view: memoryview) -> None:
        await writer.write(view)
        await writer.drain()

    await send_pieces(body, write, progress)


class OutgoingPayload(aiohttp.Payload):
    """A request's body, sent by aiohttp in a task beside the one that waits for the reply."""

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self._body = body
        self._size = body.length_bytes
        self._progress: Progress | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self.failure: Exception | None = None
        """What the sender's own pieces raised: the caller's error, not the peer's."""

    def attempt(self, progress: Progress) -> None:
        """Prepare for (another) request under this deadline."""
        self._progress = progress

    @property
    def replayable(self) -> bool:
        """Whether the pieces can be had again: iterators give themselves, and only once."""
        return aiter(self._body.pieces) is not self._body.pieces

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        assert self._progress is not None
        self._ended.clear()
        try:
            await send_body(self._body, writer, self._progress)
        except SourceFailed as failed:
            self.failure = failed.error
            raise
        finally:
            self._ended.set()

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a streamed body is no text")

    async def ended(self) -> None:
        """Return when nobody asks for pieces any more."""
        await self._ended.wait()


class ReceivedBody:
    """The bytes of a request or reply as they arrive."""

    def __init__(
        self, content: aiohttp.StreamReader, length_bytes: int, peer: str, stall_s: float
    ) -> None:
        self.length_bytes = length_bytes
        self._content = content
        self._left = length_bytes
        self._rest = memoryview(b"")
        self._peer = peer
        self._stall_s = stall_s

    @property
    def complete(self) -> bool:
        """Whether all bytes have been read."""
        return self._left == 0

    async def read_into(self, buffer: memoryview) -> None:
        filled = 0
        wanted = len(buffer)
        loop = asyncio.get_running_loop()
        armed_s = loop.time()
        last_s = armed_s + self._stall_s * DRIPS + wanted / SLOWEST_BYTES_PER_S
        try:
            async with asyncio.timeout(self._stall_s) as deadline:
                while filled < wanted:
                    piece = await self._next_piece(wanted - filled)
                    buffer[filled : filled + len(piece)] = piece
                    filled += len(piece)
                    now_s = loop.time()
                    if now_s > armed_s + self._stall_s * EARLY:
                        armed_s = now_s
                        deadline.reschedule(min(now_s + self._stall_s, last_s))
        except TimeoutError:
            if loop.time() >= last_s:
                raise PeerLost(f"{self._peer} sent {filled} of {wanted} bytes too slowly") from None
            raise PeerLost(f"{self._peer} sent nothing for {self._stall_s:g} s") from None

    async def skip(self) -> None:
        try:
            while self._left:
                async with asyncio.timeout(self._stall_s):
                    await self._next_piece(self._left)
        except TimeoutError:
            raise PeerLost(f"{self._peer} sent nothing for {self._stall_s:g} s") from None

    async def _next_piece(self, length_max: int) -> memoryview:
        """Return at least one byte; `readchunk` hands out what arrived without joining it."""
        piece = self._rest or await self._next_arrived()
        self._rest = piece[length_max:]
        piece = piece[:length_max]
        self._left -= len(piece)
        return piece

    async def _next_arrived(self) -> memoryview:
        try:
            arrived, _ = await self._content.readchunk()
        except TimeoutError:
            raise
        except LOST as error:
            raise PeerLost(f"{self._peer} broke off in mid-body: {error}") from error
        if not arrived:
            raise PeerLost(f"{self._peer} ended a body {self._left} bytes short")
        return memoryview(arrived)
