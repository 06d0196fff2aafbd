"""The last block of a file while it is short: more bytes are written behind its own, once again.

Otherwise each flush would leave a block of a few bytes, and a file has a limited number of blocks
(decision 0008). From REPEATED_BELOW_BYTES on, repeating a block costs more than having it.
"""

REPEATED_BELOW_BYTES = 1024 * 1024


def is_short(length_bytes: int, block_size_bytes: int) -> bool:
    """Return whether a last block of this length is written again with what comes behind it."""
    return length_bytes < min(REPEATED_BELOW_BYTES, block_size_bytes)


class ShortTail:
    """Is shown a file's bytes in order; keeps those of its last block while that is short."""

    def __init__(self, start_bytes: int, block_size_bytes: int) -> None:
        self.start_bytes = start_bytes
        """Where the first block begins that was shown; the others follow, each as long as it may
        be."""
        self._block_size_bytes = block_size_bytes
        self._end_bytes = start_bytes
        self._kept = bytearray()

    def add(self, view: memoryview) -> None:
        """These bytes come next."""
        self._end_bytes += len(view)
        within = (self._end_bytes - self.start_bytes) % self._block_size_bytes
        if not is_short(within, self._block_size_bytes):
            self._kept.clear()
            return
        if within <= len(view):  # its block begins in them, or just behind them
            self._kept.clear()
            view = view[len(view) - within :]
        self._kept += view

    def start_again(self) -> bytes:
        """Start at the short last block, or at the end; return what must be shown again."""
        again = bytes(self._kept)
        self.start_bytes = self._end_bytes = self._end_bytes - len(again)
        self._kept.clear()
        return again
