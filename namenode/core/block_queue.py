"""Blocks in turn: a set that keeps the order in which blocks came, and never pauses to grow.

A dictionary would do, but one of a million entries takes 40 ms to grow, and longer the more there
are. So the order is kept in chunks of limited size, oldest first, and the chunk that a block is in
is found by one of many small dictionaries, each of which grows for itself.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from dolmen.protocol.identifiers import block_number

CHUNK_BLOCKS = 4096
"""Made and dropped in a fraction of a millisecond."""

PARTS = 1024
"""With ten million blocks each has ten thousand, and grows in less than a millisecond."""


class BlockQueue:
    """Blocks, each once, in the order in which they came or had their last turn."""

    def __init__(self) -> None:
        self._chunks: dict[int, dict[int, None]] = {}  # by number, the oldest first
        self._numbers: dict[int, dict[int, int]] = {}  # by part: block → number of its chunk
        self._newest = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._chunks.values())

    def __contains__(self, block_id: object) -> bool:
        if not isinstance(block_id, int):
            return False
        part = self._numbers.get(block_number(block_id) % PARTS)
        return part is not None and block_id in part

    def add(self, block_id: int) -> None:
        """Put a block at the end; one that is there keeps its place."""
        part = self._numbers.setdefault(block_number(block_id) % PARTS, {})
        if block_id in part:
            return
        newest = self._chunks.get(self._newest)
        if newest is None or len(newest) >= CHUNK_BLOCKS:
            self._newest += 1
            newest = self._chunks[self._newest] = {}
        newest[block_id] = None
        part[block_id] = self._newest
        self._count += 1

    def update(self, block_ids: Iterable[int]) -> None:
        """Add blocks."""
        for block_id in block_ids:
            self.add(block_id)

    def discard(self, block_id: int) -> None:
        """Take a block out, if it is there."""
        key = block_number(block_id) % PARTS
        part = self._numbers.get(key)
        number = None if part is None else part.pop(block_id, None)
        if part is None or number is None:
            return
        if not part:
            del self._numbers[key]
        chunk = self._chunks[number]
        del chunk[block_id]
        if not chunk:
            del self._chunks[number]
        self._count -= 1

    def take_turn(self, limit: int) -> list[int]:
        """Return the first `limit` blocks, which go to the end."""
        block_ids = list(islice(self, limit))
        for block_id in block_ids:
            self.discard(block_id)
            self.add(block_id)
        return block_ids
