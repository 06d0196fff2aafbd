"""What is said on a bulk link: a request, its reply, the next request.

Each is a frame (length of the head, length of the body; both big-endian), the head and the body.
There is one exchange at a time, and nothing is sent ahead. Who has not received a body whole cannot
go on behind it: the connection ends with that exchange.
"""

import asyncio
import struct
from collections.abc import Callable

from dolmen.protocol.block_messages import HEAD_LIMIT_BYTES
from dolmen.protocol.errors import PeerLost
from dolmen.runtime.bodies import send_pieces
from dolmen.runtime.bulk_link import BulkLink, LinkLost
from dolmen.runtime.transport import Body, RepeatablePieces

FRAME = struct.Struct(">IQ")

TOGETHER_BYTES = 64 * 1024
"""A head and so much of its body go out in one: a small exchange is one packet each way."""

SKIP_BYTES = 256 * 1024
"""What is dropped at a time of a body that nobody wants."""

SLOWEST_BYTES_PER_S = 4 * 1024
DRIPS = 10
"""A body that comes slower than this, and takes so many times the deadline for progress besides,
holds a place for nothing, though it never falls silent."""


async def send_message(link: BulkLink, head: bytes, body: Body | None, stall_s: float) -> None:
    """Send a head and its body; SourceFailed if the body's pieces fail, LinkLost, TimeoutError."""
    sending = _Sending(link, stall_s, head, body)
    if body is not None:
        if not isinstance(body.pieces, RepeatablePieces):
            await sending.flush()  # the first piece may take its time
        await send_pieces(body, sending.write, sending)
    await sending.flush()


class _Sending:
    """A message on its way; the beginning waits for what fits into the same packet."""

    def __init__(self, link: BulkLink, stall_s: float, head: bytes, body: Body | None) -> None:
        self._link = link
        self._stall_s = stall_s
        self._unsent = FRAME.pack(len(head), body.length_bytes if body is not None else 0) + head

    def expect(self) -> None:
        self._link.expect(self._stall_s)

    def rest(self) -> None:
        self._link.rest()

    async def write(self, piece: memoryview) -> None:
        """Send a piece, or keep it for `flush`."""
        if self._unsent and len(self._unsent) + len(piece) <= TOGETHER_BYTES:
            self._unsent += piece
            return
        await self.flush()
        await self._link.send(piece)

    async def flush(self) -> None:
        """Send what was kept."""
        unsent, self._unsent = self._unsent, b""
        if unsent:
            self.expect()
            await self._link.send(unsent)


async def receive_head(
    link: BulkLink, announced: Callable[[int], None] = lambda length_bytes: None
) -> tuple[bytes, int]:
    """Return the next head, and the length of the body behind it; LinkLost, TimeoutError.

    `announced` hears how long the head is before room is made for it.
    """
    frame = bytearray(FRAME.size)
    await link.fill(memoryview(frame))
    head_bytes, body_bytes = FRAME.unpack(frame)
    if head_bytes > HEAD_LIMIT_BYTES:
        raise LinkLost("what came makes no sense")
    announced(head_bytes)
    head = bytearray(head_bytes)
    await link.fill(memoryview(head))
    return bytes(head), body_bytes


class ReceivedBody:
    """The bytes of a request or reply as they arrive; an `IncomingBody`.

    `ended` hears when all of it has been received.
    """

    def __init__(
        self,
        link: BulkLink,
        length_bytes: int,
        source: tuple[str, float],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.length_bytes = length_bytes
        self._link = link
        self._left = length_bytes
        self._peer, self._stall_s = source
        self._ended = ended

    @property
    def complete(self) -> bool:
        """Whether all bytes have been read."""
        return self._left == 0

    async def read_into(self, buffer: memoryview) -> None:
        wanted = len(buffer)
        if wanted > self._left:
            raise PeerLost(f"{self._peer} ended a body {wanted - self._left} bytes short")
        if not wanted:
            return
        now_s = asyncio.get_running_loop().time()
        last_s = now_s + self._stall_s * DRIPS + wanted / SLOWEST_BYTES_PER_S
        await self._receive(buffer, last_s)

    async def skip(self) -> None:
        if not self._left:
            return
        rest = memoryview(bytearray(min(self._left, SKIP_BYTES)))
        while self._left:
            await self.read_into(rest[: self._left])

    async def _receive(self, buffer: memoryview, last_s: float) -> None:
        self._link.expect(self._stall_s, last_s)
        try:
            await self._link.fill(buffer)
        except TimeoutError:
            if asyncio.get_running_loop().time() < last_s:
                raise PeerLost(f"{self._peer} sent nothing for {self._stall_s:g} s") from None
            raise PeerLost(f"{self._peer} sent {len(buffer)} bytes too slowly") from None
        except LinkLost as error:
            raise PeerLost(f"{self._peer} broke off in mid-body: {error}") from error
        self._link.rest()
        self._left -= len(buffer)
        if not self._left:
            self._ended()
