"""The segments that one writer has in memory, over all its blocks: a bounded number.

A slot is taken before a segment's first byte and given back when its block lets the segment go.
Buffers are used again, because fresh memory costs more than the copy into it.
"""

import asyncio

from dolmen.protocol.checksums import CHUNK_BYTES


class SegmentBuffer:
    """A segment being filled. It grows as it is: a small file must not cost a whole segment."""

    def __init__(self, memory: bytearray) -> None:
        self._memory = memory
        self.length = 0

    def append(self, view: memoryview, limit: int) -> None:
        """Copy `view` behind what is there; together they are at most `limit` long."""
        end = self.length + len(view)
        if end > len(self._memory):
            grown = min(limit, max(2 * len(self._memory), -(-end // CHUNK_BYTES) * CHUNK_BYTES))
            self._memory.extend(bytes(grown - len(self._memory)))
        self._memory[self.length : end] = view
        self.length = end

    def contents(self) -> memoryview:
        """Return what has been filled."""
        return memoryview(self._memory)[: self.length]


class SegmentWindow:
    """`slots` segments of at most `segment_bytes` each."""

    def __init__(self, slots: int, segment_bytes: int) -> None:
        self._slots = slots
        self._segment_bytes = segment_bytes
        self._taken = 0
        self._free: list[bytearray] = []
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    @property
    def taken(self) -> int:
        """Slots in use."""
        return self._taken

    async def take_slot(self) -> None:
        """Wait for a free slot; raise what broke the writer, if anything has."""
        while self._taken >= self._slots and self._error is None:
            self._changed.clear()
            await self._changed.wait()
        self.check()
        self._taken += 1

    def take_buffer(self) -> "SegmentBuffer":
        """Return a buffer for the slot just taken."""
        return SegmentBuffer(self._free.pop() if self._free else bytearray())

    def give_back(self, data: memoryview) -> None:
        """A segment is let go; its buffer, if it is one of ours, will be filled again."""
        buffer = data.obj
        if isinstance(buffer, bytearray) and len(buffer) == self._segment_bytes:
            self._free.append(buffer)
        self._taken -= 1
        self._changed.set()

    def fail(self, error: BaseException) -> None:
        """A block cannot be written: whoever waits is told why, and so is who comes later."""
        if self._error is None:
            self._error = error
        self._changed.set()

    def check(self) -> None:
        """Raise what broke the writer."""
        if self._error is not None:
            raise self._error
