"""The segments of a block that its writer still holds in memory.

A segment is let go when it *and all before it* are acknowledged by the whole pipeline: if the
pipeline breaks, the survivors are cut to the acknowledged prefix, and everything after it must be
sent again. Invariant: what is held starts where the prefix ends, has no gap, and only its tail may
be unsent.
"""

from collections import deque
from dataclasses import dataclass

from dolmen.protocol.checksums import CHUNK_BYTES, chunk_checksums


@dataclass(eq=False)
class Segment:
    """A run of a block's bytes, with the checksums of its chunks."""

    offset_bytes: int
    data: memoryview
    checksums: bytes
    has_slot: bool = True  #: in the writer's window; False for a tail kept aside
    acknowledged: bool = False

    @property
    def end_bytes(self) -> int:
        """Where the segment ends in the block."""
        return self.offset_bytes + len(self.data)


class HeldSegments:
    """What one block's writer holds, in order."""

    def __init__(self) -> None:
        self._held: deque[Segment] = deque()
        self._unsent: deque[Segment] = deque()
        self._tail = b""
        self.prefix_bytes = 0
        """The acknowledged prefix: everything before is on all datanodes of the pipeline."""

    @property
    def is_empty(self) -> bool:
        """Whether everything added so far is acknowledged."""
        return not self._held

    def add(self, segment: Segment) -> None:
        """Hold a segment that comes next in the block."""
        end = self._held[-1].end_bytes if self._held else self.prefix_bytes
        if segment.offset_bytes != end:
            raise ValueError(f"a segment at {segment.offset_bytes} after one that ends at {end}")
        self._held.append(segment)
        self._unsent.append(segment)

    def take_unsent(self) -> list[Segment]:
        """Return the segments to send now; they count as sent."""
        unsent = list(self._unsent)
        self._unsent.clear()
        return unsent

    def acknowledge(self, segment: Segment) -> list[Segment]:
        """Take note that the whole pipeline stored it; return the segments that may be let go."""
        segment.acknowledged = True
        released = []
        while self._held and self._held[0].acknowledged:
            segment = self._held.popleft()
            self.prefix_bytes = segment.end_bytes
            released.append(segment)
        if released:
            self._keep_tail(released[-1])
        return released

    def start_again(self) -> None:
        """The pipeline broke: what is after the prefix, cut to a chunk boundary, is unsent."""
        if self._tail:
            self.prefix_bytes -= len(self._tail)
            tail = memoryview(self._tail)
            self._held.appendleft(Segment(self.prefix_bytes, tail, chunk_checksums(tail), False))
            self._tail = b""
        for segment in self._held:
            segment.acknowledged = False
        self._unsent = deque(self._held)

    def _keep_tail(self, last: Segment) -> None:
        """Keep a last chunk that is not full: pipelines start again at chunk boundaries."""
        odd = last.end_bytes % CHUNK_BYTES
        self._tail = bytes(last.data[len(last.data) - odd :]) if odd else b""
