"""Bodies on the simulated network: a window on the sender's side, a queue on the receiver's.

The sender may have WINDOW_BYTES on the way or unread; reading is what lets it go on. Deadlines and
lengths are those of the real transport (`dolmen.runtime.bodies`).
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from dolmen.protocol.errors import PeerLost
from dolmen.runtime.bodies import send_pieces
from dolmen.runtime.transport import Body
from dolmen.simulation.sim_network import End

STEP_BYTES = 256 * 1024
"""Bytes per message: each must be taken within the progress deadline, so that a slow peer is not
taken for a dead one."""

WINDOW_BYTES = 4 * STEP_BYTES
"""1 MiB between sending and reading, as in the real transport (rule 20)."""


@dataclass(frozen=True)
class Piece:
    """→ some bytes of a body."""

    data: bytes


@dataclass(frozen=True)
class Taken:
    """← so many bytes of them were read."""

    length_bytes: int


class TimeoutProgress:
    """The progress deadline of one direction, kept by an `asyncio.Timeout` up the stack."""

    def __init__(self, stall_s: float, deadline: asyncio.Timeout) -> None:
        self._stall_s = stall_s
        self._deadline: asyncio.Timeout | None = deadline

    def expect(self) -> None:
        """The peer owes us something from now on."""
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._stall_s)

    def rest(self) -> None:
        """We wait for our own source; the peer owes us nothing."""
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(None)

    def forget(self) -> None:
        """The deadline's scope has ended."""
        self._deadline = None


class SendingBody:
    """The sender's side of one body."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._unread_bytes = 0
        self._changed = asyncio.Event()

    async def send(self, body: Body, progress: TimeoutProgress) -> None:
        """Send all of it; PeerLost if the connection is lost on the way."""

        async def write(piece: memoryview) -> None:
            for start in range(0, len(piece), STEP_BYTES):
                progress.expect()
                await self._write(piece[start : start + STEP_BYTES])

        await send_pieces(body, write, progress)

    async def _write(self, view: memoryview) -> None:
        data = bytes(view)
        while self._end.open and self._unread_bytes + len(data) > WINDOW_BYTES:
            self._changed.clear()
            await self._changed.wait()
        if not self._end.open:
            raise PeerLost(f"{self._end.peer.process} broke off")
        self._unread_bytes += len(data)
        self._end.send(Piece(data), len(data))

    def taken(self, length_bytes: int) -> None:
        """The peer has read so much."""
        self._unread_bytes -= length_bytes
        self._changed.set()

    def lost(self) -> None:
        """The connection is gone."""
        self._changed.set()


class ReceivingBody:
    """The bytes of a request or reply as they arrive; an `IncomingBody`."""

    def __init__(self, end: End, length_bytes: int, peer: str, stall_s: float) -> None:
        self.length_bytes = length_bytes
        self._end = end
        self._peer = peer
        self._stall_s = stall_s
        self._left = length_bytes
        self._arrived: deque[memoryview] = deque()
        self._changed = asyncio.Event()
        self._lost = False

    @property
    def complete(self) -> bool:
        """Whether all bytes have been read."""
        return self._left == 0

    async def read_into(self, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            piece = await self._next_piece(len(buffer) - filled)
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)

    async def skip(self) -> None:
        while self._left:
            await self._next_piece(self._left)

    async def _next_piece(self, length_max: int) -> memoryview:
        if not self._left:
            raise PeerLost(f"{self._peer} ended the body before")
        await self._wait_for_arrival()
        piece = self._arrived.popleft()
        if len(piece) > length_max:
            self._arrived.appendleft(piece[length_max:])
            piece = piece[:length_max]
        self._left -= len(piece)
        self._end.send(Taken(len(piece)), 0)
        return piece

    async def _wait_for_arrival(self) -> None:
        try:
            async with asyncio.timeout(self._stall_s):
                while not self._arrived:
                    if self._lost:
                        raise PeerLost(f"{self._peer} broke off in mid-body")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise PeerLost(f"{self._peer} sent nothing for {self._stall_s:g} s") from None

    def arrive(self, data: bytes) -> None:
        """More bytes are there."""
        self._arrived.append(memoryview(data))
        self._changed.set()

    def lost(self) -> None:
        """No more will come; what is there can still be read."""
        self._lost = True
        self._changed.set()
