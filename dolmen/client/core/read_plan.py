"""How a range of a file becomes reads of blocks. Arithmetic only.

A piece lies within one block and ends on a chunk boundary of it, unless the range or the block ends
first. On the wire a piece is widened to whole chunks, which is what checksums are for: its ragged
edges travel through a small buffer of their own, and the whole chunks between go straight to their
place.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dolmen.protocol.checksums import CHECKSUM_BYTES, CHUNK_BYTES


class Piece(NamedTuple):
    """A part of a range: `length` bytes from `offset` of the block that starts at `block_start`."""

    block_start: int
    offset: int
    length: int


class Run(NamedTuple):
    """Consecutive chunks of a block to receive: `skip` and `keep` say which of the bytes are
    wanted.

    When all are (`is_whole`), they may be received where they belong.
    """

    offset: int
    length: int
    skip: int
    keep: int

    @property
    def is_whole(self) -> bool:
        """Whether every byte of it is wanted."""
        return self.keep == self.length


def next_piece(position: int, end: int, block: tuple[int, int], piece_bytes: int) -> Piece:
    """Return the piece at file offset `position` of the range that ends before `end`.

    `block` is (start, length) of the block that holds `position`.
    """
    start, length = block
    offset = position - start
    if not 0 <= offset < length:
        raise ValueError(f"offset {position} is not in the block at {start}")
    aligned = (offset + piece_bytes) // CHUNK_BYTES * CHUNK_BYTES
    return Piece(start, offset, min(aligned, length, end - start) - offset)


def widen(offset: int, length: int, block_length: int) -> tuple[int, int]:
    """Return (offset, length) of the whole chunks that hold a range of a block."""
    first = offset // CHUNK_BYTES * CHUNK_BYTES
    last = -(-(offset + length) // CHUNK_BYTES) * CHUNK_BYTES
    return first, min(last, block_length) - first


def runs(offset: int, length: int, block_length: int, run_bytes: int) -> Iterator[Run]:
    """Yield the runs that a widened range arrives in: ragged edge, whole chunks, ragged edge.

    Whole runs are at most `run_bytes` (a multiple of the chunk size) long.
    """
    at, wide = widen(offset, length, block_length)
    wide_end, end = at + wide, offset + length
    while at < wide_end:
        skip = max(0, offset - at)
        chunk_end = min(at + CHUNK_BYTES, wide_end)
        if skip or chunk_end > end:
            yield Run(at, chunk_end - at, skip, min(chunk_end, end) - at - skip)
            at = chunk_end
            continue
        whole_end = wide_end if wide_end == end else end // CHUNK_BYTES * CHUNK_BYTES
        run_end = min(at + run_bytes, whole_end)
        yield Run(at, run_end - at, 0, run_end - at)
        at = run_end


def checksums_of(checksums: bytes, offset: int, length: int) -> bytes:
    """Return the checksums of the chunks that hold a range; `offset` is a chunk boundary."""
    first = offset // CHUNK_BYTES
    last = -(-(offset + length) // CHUNK_BYTES)
    return checksums[first * CHECKSUM_BYTES : last * CHECKSUM_BYTES]
