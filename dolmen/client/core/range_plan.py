"""How many ranges of one file become few requests. Arithmetic only.

Ranges that overlap, that are close, or that share a chunk (which travels whole in any case) are
read as one. What lies in one block and is not long is asked for together, in one request to one
datanode; a datanode takes a bounded number of ranges at once, and bytes in memory are bounded too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dolmen.client.core.read_plan import widen
from dolmen.protocol.block_messages import RANGES_LIMIT
from dolmen.protocol.checksums import CHUNK_BYTES

Range = tuple[int, int]  # start and end


@dataclass
class MergedRange:
    """Ranges read as one; `members` are their places in the list that was asked for."""

    start: int
    end: int
    members: list[int] = field(default_factory=list)


def merge_ranges(ranges: Sequence[Range], max_gap: int, merged_bytes_max: int) -> list[MergedRange]:
    """Return what to read for `ranges`, in order; of empty ones nothing.

    Those at most `max_gap` apart become one of at most `merged_bytes_max`; those that overlap
    become one in any case, because no byte is fetched twice.
    """
    merged: list[MergedRange] = []
    for index in sorted(range(len(ranges)), key=ranges.__getitem__):
        start, end = ranges[index]
        if start >= end:
            continue
        last = merged[-1] if merged else None
        if last is not None and _belongs(last, start, end, max_gap, merged_bytes_max):
            last.end = max(last.end, end)
            last.members.append(index)
        else:
            merged.append(MergedRange(start, end, [index]))
    return merged


def _belongs(last: MergedRange, start: int, end: int, max_gap: int, merged_bytes_max: int) -> bool:
    if start < last.end:
        return True
    shares_chunk = start // CHUNK_BYTES == (last.end - 1) // CHUNK_BYTES
    is_close = start - last.end <= max_gap or shares_chunk
    return is_close and end - last.start <= merged_bytes_max


class Batch:
    """Merged ranges of one block for one request, of about `bytes_max`."""

    def __init__(self, block: tuple[int, int], bytes_max: int) -> None:
        self._block_start, self._block_length = block
        self._bytes_max = bytes_max
        self._wide_bytes = 0
        self.ranges: list[MergedRange] = []

    def add(self, merged: MergedRange) -> bool:
        """Take one more, if it lies in the block and there is room for it."""
        offset, length = merged.start - self._block_start, merged.end - merged.start
        if offset < 0 or offset + length > self._block_length or len(self.ranges) == RANGES_LIMIT:
            return False
        _, wide = widen(offset, length, self._block_length)
        if self.ranges and self._wide_bytes + wide > self._bytes_max:
            return False
        self._wide_bytes += wide
        self.ranges.append(merged)
        return True
