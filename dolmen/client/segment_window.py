"""The segments that one writer has in memory, over all its blocks: a bounded number.

A slot is taken before a segment's first byte and given back when its block lets the segment go.
When the client's writers together have no more memory, segments are shorter: whole chunks, as few
as a file always gets.
"""

import asyncio

from dolmen.client.byte_budget import FileBudget
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
    """At most `slots` segments, in the memory that the client has for them (`byte_budget`)."""

    def __init__(self, slots: int, memory: FileBudget) -> None:
        self._slots = slots
        self._memory = memory
        self._taken = 0
        self._granted_bytes = 0
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    @property
    def taken(self) -> int:
        """Slots in use."""
        return self._taken

    async def take_slot(self, wanted_bytes: int) -> int:
        """Wait for a free slot, and for memory; return how long the segment in it may be.

        That is at most `wanted_bytes`, or else whole chunks. Raise what broke the writer, if
        anything has.
        """
        while self._taken >= self._slots and self._error is None:
            self._changed.clear()
            await self._changed.wait()
        self.check()
        granted = await self._memory.take(wanted_bytes)
        self.check()
        self._taken += 1
        self._granted_bytes = granted
        return granted

    def take_buffer(self) -> "SegmentBuffer":
        """Return a buffer for the slot just taken."""
        return SegmentBuffer(self._memory.take_buffer(self._granted_bytes))

    def settle(self, length_bytes: int) -> None:
        """The segment in the slot taken last is only so long."""
        self._memory.give_back(self._granted_bytes - length_bytes)
        self._granted_bytes = length_bytes

    def give_back(self, data: memoryview) -> None:
        """A segment is let go; its buffer, if it is one of ours, will be filled again."""
        buffer = data.obj
        self._memory.give_back(len(data))
        if isinstance(buffer, bytearray):
            self._memory.keep_buffer(buffer)
        self._taken -= 1
        self._changed.set()

    def fail(self, error: BaseException) -> None:
        """A block cannot be written: whoever waits is told why, and so is who comes later."""
        if self._error is None:
            self._error = error
        self._changed.set()
        self._memory.interrupt()

    def check(self) -> None:
        """Raise what broke the writer."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Nothing is held any more: the writer has ended, well or not. Idempotent."""
        self._memory.close()
