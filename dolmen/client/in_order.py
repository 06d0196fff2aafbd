"""A range of a file as pieces in order: a window of them is on its way, from several blocks and
datanodes, while the first is used."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Protocol

PIECES_AHEAD = 8
"""Pieces on their way at once: with pieces of 4 MiB, 32 MiB of memory for each file."""


class Ranges(Protocol):
    """What can be read from anywhere, as a `Reader` can."""

    piece_bytes: int

    @property
    def length_bytes(self) -> int: ...

    async def read_into(self, offset: int, buffer: memoryview) -> int: ...


async def read_in_order(reader: Ranges, start: int, end: int) -> AsyncGenerator[memoryview, None]:
    """Yield the bytes of a range in order, while those after them arrive.

    What is yielded is overwritten after the next step. Close the iterator (`contextlib.aclosing`)
    when leaving it early.
    """
    piece_bytes = reader.piece_bytes
    end = min(end, reader.length_bytes)
    starts = iter(range(start, end, piece_bytes))
    arriving: deque[tuple[bytearray, asyncio.Task[int]]] = deque()

    def fetch_next(buffer: bytearray | None) -> None:
        at = next(starts, None)
        if at is None:
            return
        length = min(piece_bytes, end - at)
        buffer = bytearray(length) if buffer is None or len(buffer) < length else buffer
        into = memoryview(buffer)[:length]
        arriving.append((buffer, asyncio.create_task(reader.read_into(at, into))))

    try:
        for _ in range(PIECES_AHEAD):
            fetch_next(None)
        while arriving:
            buffer, task = arriving[0]
            length = await task
            yield memoryview(buffer)[:length]
            arriving.popleft()
            fetch_next(buffer)
    finally:
        for _, task in arriving:
            task.cancel()
        await asyncio.gather(*(task for _, task in arriving), return_exceptions=True)
