"""Which block of a file holds an offset, when only some of its blocks are known.

Blocks have any length (files are appended to and joined), and there may be thousands, located page
by page. Among those known the block is found by bisection. Between them the next page to ask for is
guessed: in proportion first, which is right when blocks are equally long, and by halves after that,
so that a few pages find any offset. What is known is never replaced: a reader keeps to what it
opened.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence

Span = tuple[int, int]  # start and length

PROPORTIONAL_GUESSES = 2
"""A third would help only where the lengths of the blocks change once or twice in the file."""


class KnownBlocks:
    """Where the known blocks of one file are, by index."""

    def __init__(self, block_size_bytes: int, count: int) -> None:
        self._block_size_bytes = max(1, block_size_bytes)
        self._count = count
        self._starts: list[tuple[int, int]] = []  # (start, index), in order of both
        self._ends: dict[int, int] = {}

    def learn(self, first_index: int, spans: Sequence[Span]) -> list[int]:
        """Take a page of consecutive blocks; return the indices of those that are new."""
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
        low, low_offset = self.next_unknown(offset)
        position = self._position(offset)
        high, high_offset = self._count, 0
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

    def next_unknown(self, offset: int) -> tuple[int, int]:
        """Return the index of the block behind the known ones before `offset`, and its start."""
        position = self._position(offset)
        if position < 0:
            return 0, 0
        index = self._starts[position][1]
        return index + 1, self._ends[index]

    def _position(self, offset: int) -> int:
        """Return the place in `_starts` of the last block that begins at or before `offset`."""
        return bisect_right(self._starts, (offset, self._count)) - 1
