"""A range of a file as pieces in order: a window of them is on its way, from several blocks and
datanodes, while the first is used.

All that read so share `read_memory`: a piece is asked for ahead of its use when there is room for
it. There always is for one, if only a short one, so nobody waits for another reader.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from dolmen.client.core.byte_shares import ByteShares, Share

PIECES_AHEAD = 8
"""Pieces on their way at once: with pieces of 4 MiB, 32 MiB of memory, if the others leave it."""


class Ranges(Protocol):
    """What can be read from anywhere, as a `Reader` can."""

    piece_bytes: int
    memory: ByteShares

    @property
    def length_bytes(self) -> int: ...

    async def read_into(self, offset: int, buffer: memoryview) -> int: ...


async def read_in_order(reader: Ranges, start: int, end: int) -> AsyncGenerator[memoryview, None]:
    """Yield the bytes of a range in order, while those after them arrive.

    What is yielded is overwritten after the next step. Close the iterator (`contextlib.aclosing`)
    when leaving it early.
    """
    window = _Window(reader, start, min(end, reader.length_bytes))
    try:
        window.fetch_more()
        while window.arriving:
            piece = window.arriving[0]
            await piece.coming
            yield memoryview(piece.buffer)
            window.let_go()
            window.fetch_more()
    finally:
        await window.close()


@dataclass(frozen=True)
class _Piece:
    """The memory of a piece, and who fills it."""

    buffer: bytearray
    coming: "asyncio.Task[int]"


class _Window:
    """The pieces of one range that are on their way or in use, in order."""

    def __init__(self, reader: Ranges, start: int, end: int) -> None:
        self.arriving: deque[_Piece] = deque()
        self._reader = reader
        self._share: Share = reader.memory.open()
        self._position = start
        self._end = end
        self._used = bytearray()

    def fetch_more(self) -> None:
        """Ask for as many of the next pieces as there is room for."""
        while self._position < self._end and len(self.arriving) < PIECES_AHEAD:
            wanted = min(self._reader.piece_bytes, self._end - self._position)
            length = self._share.take_ahead(wanted)
            if not length:
                return
            buffer, self._used = self._used, bytearray()
            if len(buffer) != length:
                buffer = bytearray(length)
            reading = self._reader.read_into(self._position, memoryview(buffer))
            self.arriving.append(_Piece(buffer, asyncio.create_task(reading)))
            self._position += length

    def let_go(self) -> None:
        """The first piece is not used any more."""
        self._used = self.arriving.popleft().buffer
        self._share.give_back(len(self._used))

    async def close(self) -> None:
        """End what is on its way."""
        for piece in self.arriving:
            piece.coming.cancel()
        await asyncio.gather(*(piece.coming for piece in self.arriving), return_exceptions=True)
        self._share.close()
