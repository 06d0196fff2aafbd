"""Long work in small slices: which blocks are still to be looked at, and how far that has come.

A dead datanode's blocks, a file whose replication changed, the whole namespace after a start: each
is a walk along keys with a bookmark. The walks take turns, one slice each, so that a long one holds
up none that is short, and no slice takes longer than a few milliseconds.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Container, Iterator
from itertools import islice

import msgspec

from namenode.core.block_map import UNSETTLED_BLOCKS, blocks_on
from namenode.core.lookup import file_block_ids, find_inode
from namenode.core.tables import (
    BLOCKS,
    FILE_BLOCKS,
    LEASES,
    View,
    file_block_key,
    number_key,
    read_number,
)

SLICE = 64
"""Blocks looked at in one slice: at some 50 µs each it stays below 5 ms."""


class StorageWalk(msgspec.Struct):
    """The blocks on one volume, whose datanode died or came back; if the volume is lost, their
    rows go."""

    storage_number: int
    lost: bool = False
    after: int = -1

    def ahead(self, view: View, soft: View) -> Iterator[int]:
        """Yield the blocks after the bookmark."""
        return blocks_on(soft, self.storage_number, self.after)


class NamespaceWalk(msgspec.Struct):
    """All blocks: also those that nobody reported."""

    after: int = -1

    def ahead(self, view: View, soft: View) -> Iterator[int]:
        """Yield the blocks after the bookmark."""
        return (read_number(key) for key, _ in view.scan(BLOCKS, number_key(self.after + 1)))


class FileWalk(msgspec.Struct):
    """The blocks of one file, by index; the bookmark is a block of it."""

    inode_id: int
    index: int = 0
    after: int = -1

    def ahead(self, view: View, soft: View) -> Iterator[int]:
        """Yield the blocks from the next index on."""
        prefix = number_key(self.inode_id)
        for key, value in view.scan(FILE_BLOCKS, file_block_key(self.inode_id, self.index)):
            if not key.startswith(prefix):
                return
            self.index += 1
            yield read_number(value)


class LeaseWalk(msgspec.Struct):
    """The blocks of open files that may still be written: the last two of each. A file whose turn
    a slice cuts short is looked at again."""

    inode_id: int = 0
    after: int = -1

    def ahead(self, view: View, soft: View) -> Iterator[int]:
        """Yield the blocks of the open files from the next one on."""
        for key, _ in view.scan(LEASES, number_key(self.inode_id)):
            inode_id = read_number(key)
            inode = find_inode(view, inode_id)
            if inode is not None:
                first = max(0, inode.block_count - UNSETTLED_BLOCKS)
                yield from file_block_ids(view, inode, first)
            self.inode_id = inode_id + 1


class BlocksWalk(msgspec.Struct):
    """Given blocks, in ascending order; `dropped` ones have left the namespace."""

    block_ids: list[int]
    dropped: bool = False
    published: bool = False
    after: int = -1

    def ahead(self, view: View, soft: View) -> Iterator[int]:
        """Yield the blocks after the bookmark."""
        first = bisect_right(self.block_ids, self.after)
        return iter(self.block_ids[first : first + SLICE])


Walk = StorageWalk | NamespaceWalk | FileWalk | LeaseWalk | BlocksWalk


class Walks:
    """The walks under way."""

    def __init__(self) -> None:
        self._walks: deque[Walk] = deque()

    def __len__(self) -> int:
        return len(self._walks)

    def add(self, walk: Walk) -> None:
        """Begin a walk, and give up one along the same way that it makes needless."""
        if isinstance(walk, StorageWalk | NamespaceWalk | FileWalk):
            self._walks = deque(other for other in self._walks if not _same_way(walk, other))
        self._walks.append(walk)

    def will_visit(self, storage_numbers: Container[int]) -> bool:
        """Return whether blocks of these volumes are still to be looked at."""
        return any(
            isinstance(walk, NamespaceWalk)
            or (isinstance(walk, StorageWalk) and walk.storage_number in storage_numbers)
            for walk in self._walks
        )

    def take_slice(self, view: View, soft: View) -> tuple[Walk, list[int]] | None:
        """Return the walk whose turn it is and its next blocks; None when all are done."""
        if not self._walks:
            return None
        walk = self._walks.popleft()
        block_ids = list(islice(walk.ahead(view, soft), SLICE))
        if block_ids:
            walk.after = block_ids[-1]
        if len(block_ids) == SLICE:
            self._walks.append(walk)
        return walk, block_ids


def _same_way(walk: Walk, other: Walk) -> bool:
    match walk, other:
        case StorageWalk(), StorageWalk():
            return walk.storage_number == other.storage_number
        case FileWalk(), FileWalk():
            return walk.inode_id == other.inode_id
        case NamespaceWalk(), NamespaceWalk():
            return True
    return False
