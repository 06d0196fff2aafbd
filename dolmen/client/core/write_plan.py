"""Where each byte of a file goes: which block, which segment. Arithmetic only.

Segments start on chunk boundaries of their block and are equally long, except a block's last one.
Small blocks get small segments, so that the datanodes of a pipeline work at the same time.
"""

from typing import NamedTuple

from dolmen.protocol.checksums import CHUNK_BYTES

SEGMENTS_PER_BLOCK_MIN = 4
"""With fewer, a pipeline of three datanodes stands idle for most of a block."""

SEGMENT_BYTES_MIN = 256 * 1024
"""Below this a request costs more than its bytes."""


class SegmentPlace(NamedTuple):
    """The place of one byte: its block, its segment's offset there, and its own in the segment."""

    block_index: int
    segment_offset: int
    offset: int


class WritePlan:
    """How one file is cut."""

    def __init__(self, block_size_bytes: int, segment_bytes: int) -> None:
        if block_size_bytes < 1 or segment_bytes < CHUNK_BYTES or segment_bytes % CHUNK_BYTES:
            raise ValueError(f"no plan for blocks of {block_size_bytes} in {segment_bytes}")
        self.block_size_bytes = block_size_bytes
        self.segment_bytes = _segment_length(block_size_bytes, segment_bytes)

    def place(self, file_offset: int) -> SegmentPlace:
        """Return where the byte at `file_offset` goes."""
        block_index, offset = divmod(file_offset, self.block_size_bytes)
        within = offset % self.segment_bytes
        return SegmentPlace(block_index, offset - within, within)

    def segment_limit(self, segment_offset: int) -> int:
        """Return the greatest length of the segment at `segment_offset` of a block."""
        return min(self.segment_bytes, self.block_size_bytes - segment_offset)

    def ends_block(self, file_offset: int) -> bool:
        """Return whether a block ends just before `file_offset`."""
        return file_offset > 0 and file_offset % self.block_size_bytes == 0


def _segment_length(block_size_bytes: int, segment_bytes: int) -> int:
    share = -(-block_size_bytes // (SEGMENTS_PER_BLOCK_MIN * CHUNK_BYTES)) * CHUNK_BYTES
    return min(segment_bytes, max(SEGMENT_BYTES_MIN, share))
