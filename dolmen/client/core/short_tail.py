"""The short blocks at a file's end: what comes behind them is written together with some of them.

Otherwise each flush would leave a block of a few bytes, and a file has a limited number of blocks
(decision 0008). If the last block were written again each time, each flush would write as much as
all of those before it since the last long block, and what it replaces is kept for readers. So a
block waits until those behind it are as long together, as in a counter in which equal digits carry:
each byte is written again some twenty times at most, and there are never more short blocks than
that. From REPEATED_BELOW_BYTES on, repeating a block costs more than having it.
"""

from collections.abc import Sequence
from itertools import accumulate

REPEATED_BELOW_BYTES = 1024 * 1024

CONSIDERED_BYTES = 2 * REPEATED_BELOW_BYTES
"""Of short blocks at a file's end. Each but the last is longer than those behind it together, so
there are hardly more, unless small files were joined: of these only the last ones are looked at."""


def is_short(length_bytes: int, block_size_bytes: int) -> bool:
    """Return whether a last block of this length may be written again with what comes behind it."""
    return length_bytes < min(REPEATED_BELOW_BYTES, block_size_bytes)


def repeated_bytes(lengths: Sequence[int]) -> int:
    """Return how many bytes of the last blocks, given in order, are to be written again: from the
    first block on that is not longer than those behind it."""
    behind = list(accumulate(reversed(lengths), initial=0))[::-1]
    for length, rest, after in zip(lengths, behind, behind[1:], strict=False):
        if length <= after:
            return rest
    return 0


class ShortTail:
    """Is shown a file's bytes in order; keeps those of its last blocks while these are short."""

    def __init__(self, end_bytes: int, block_size_bytes: int) -> None:
        self.start_bytes = end_bytes
        """Where the first block begins that is written now; the others follow, each as long as it
        may be."""
        self._block_size_bytes = block_size_bytes
        self._end_bytes = end_bytes
        self._lengths: list[int] = []
        self._kept = bytearray()
        self._block = bytearray()

    def recall(self, lengths: Sequence[int], data: bytes) -> None:
        """These are the lengths of the file's last blocks, and their bytes."""
        self._lengths = list(lengths)
        self._kept[:] = data

    def start(self) -> bytes:
        """Start at the first block that is to be written again, or at the end; return what must be
        shown again."""
        count = repeated_bytes(self._lengths)
        again = bytes(self._kept[len(self._kept) - count :])
        del self._kept[len(self._kept) - count :]
        while count:
            count -= self._lengths.pop()
        self.start_bytes = self._end_bytes = self._end_bytes - len(again)
        return again

    def add(self, view: memoryview) -> None:
        """These bytes come next."""
        self._end_bytes += len(view)
        within = (self._end_bytes - self.start_bytes) % self._block_size_bytes
        if not is_short(within, self._block_size_bytes):
            self._block.clear()
            return
        if within <= len(view):  # its block begins in them, or just behind them
            self._block.clear()
            view = view[len(view) - within :]
        self._block += view

    def end(self) -> None:
        """What was shown since the start has become blocks of the file."""
        if len(self._block) < self._end_bytes - self.start_bytes:  # there was a longer block
            self._lengths.clear()
            self._kept.clear()
        if self._block:
            self._lengths.append(len(self._block))
            self._kept += self._block
        self._block.clear()
        self.start_bytes = self._end_bytes
