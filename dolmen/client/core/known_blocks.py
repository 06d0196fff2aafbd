"""Which block of a file holds an offset, when only some of its blocks are known.

Blocks have any length (files are appended to and joined), and there may be thousands, located page
by page. Among those known the block is found by bisection. Between them the next page to ask for is
guessed: in proportion first, which is right when blocks are equally long, and by halves after that,
so that a few pages find any offset. What is known is never replaced: a reader keeps to what it
opened.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence

from dolmen.protocol.identifiers import FILE_BLOCKS_LIMIT

Span = tuple[int, int]  # start and length

PROPORTIONAL_GUESSES = 2
"""A third would help only where the lengths of the blocks change once or twice in the file."""


class KnownBlocks:
    """Where the known blocks of one file are, by index."""

    def __init__(self, block_size_bytes: int) -> None:
        self._block_size_bytes = max(1, block_size_bytes)
        self._starts: list[tuple[int, int]] = []  # (start, index), in order of both
        self._ends: dict[int, int] = {}
        self._blocks_max = FILE_BLOCKS_LIMIT

    @property
    def last_index(self) -> int:
        """The index of the last known block; there must be one."""
        return self._starts[-1][1]

    def learn(self, first_index: int, spans: Sequence[Span]) -> list[int]:
        """Take a page of consecutive blocks; return the indices of those that are new.

        An empty page says that the file has no more than `first_index` blocks.
        """
        if not spans:
            self._blocks_max = min(self._blocks_max, first_index)
        learnt = []
        for index, (start, length) in enumerate(spans, first_index):
            if index not in self._ends:
                insort(self._starts, (start, index))
                self._ends[index] = start + length
                learnt.append(index)
        return learnt

    def find(self, offset: int) -> int | None:
        """Return the index of the known block that holds `offset`, if one does."""
        position = self._position(offset)
        if position >= 0:
            index = self._starts[position][1]
            if offset < self._ends[index]:
                return index
        return None

    def guess(self, offset: int, guesses: int) -> int | None:
        """Return the index of the first block to ask for, after so many guesses for this offset.

        None: all blocks around the offset are known, and none holds it.
        """
        position = self._position(offset)
        low, low_offset = 0, 0
        if position >= 0:
            index = self._starts[position][1]
            low, low_offset = index + 1, self._ends[index]
        high, high_offset = self._blocks_max, 0
        if position + 1 < len(self._starts):
            high_offset, high = self._starts[position + 1]
        if low >= high:
            return None
        if guesses >= PROPORTIONAL_GUESSES:
            return (low + high) // 2
        beyond = offset - low_offset
        if high_offset:
            return low + beyond * (high - low) // (high_offset - low_offset)
        return min(low + beyond // self._block_size_bytes, high - 1)

    def _position(self, offset: int) -> int:
        """Return the place in `_starts` of the last block that begins at or before `offset`."""
        return bisect_right(self._starts, (offset, FILE_BLOCKS_LIMIT)) - 1
