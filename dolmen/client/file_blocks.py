"""Where the blocks of an open file are: fetched in pages when needed, and again when they are old.

A location is good for a while: its token expires, replicas move. Asking again also tells the
namenode that a deleted file is still being read, which keeps its blocks (rule 22).
"""

import asyncio
from dataclasses import dataclass

from dolmen.client.core.replica_ranking import shuffle_replicas
from dolmen.client.links import Links
from dolmen.protocol.client_messages import (
    FileInfo,
    LocateBlocks,
    LocatedBlock,
    LocatedBlocks,
    ReplicaLocation,
)
from dolmen.protocol.errors import BlockMissing, Unreachable

FRESH_S = 240.0
"""Less than half of what a block token lives by default; a token that expires sooner is refused by
the datanode, and then the location is fetched again too."""

RENEWAL_PATIENCE_S = 2.0
"""What is old may still do: a restart of the namenode is no reason to stop reading."""


@dataclass(frozen=True)
class BlockPlace:
    """A block of the file: its index, where it is, and since when we believe that."""

    index: int
    located: LocatedBlock
    replicas: tuple[ReplicaLocation, ...]
    """In an order by chance, so that readers spread over them."""
    since_s: float


class FileBlocks:
    """The blocks of one file, as far as they are known."""

    def __init__(self, links: Links, info: FileInfo, blocks: tuple[LocatedBlock, ...]) -> None:
        self._links = links
        self._info = info
        self._places: dict[int, BlockPlace] = {}
        self._locating = asyncio.Lock()
        self._learn(0, blocks)

    async def holding(self, offset: int) -> BlockPlace:
        """Return the block that holds the file's byte at `offset`."""
        index = self._guess(offset)
        while True:
            place = self._places.get(index) or await self.locate(index, None)
            if self._is_old(place):
                place = await self._renewed(place)
            start = place.located.offset_bytes
            if start <= offset < start + place.located.length_bytes:
                return place
            index += 1 if offset >= start else -1

    async def _renewed(self, place: BlockPlace) -> BlockPlace:
        """Return a fresh place, or the old one while the namenode is away: it may still do."""
        try:
            return await self.locate(place.index, place, RENEWAL_PATIENCE_S)
        except Unreachable:
            return place

    async def locate(
        self, index: int, known: BlockPlace | None, retry_for_s: float | None = None
    ) -> BlockPlace:
        """Return what the namenode says now of block `index`, if it is still as in `known`."""
        async with self._locating:
            place = self._places.get(index)
            if place is not None and place is not known:
                return place  # another task has asked meanwhile
            request = LocateBlocks(self._info.inode_id, index, self._links.host)
            page = await self._links.namenode.call(request, LocatedBlocks, retry_for_s=retry_for_s)
            if not page.blocks:
                raise BlockMissing(
                    f"{self._info.path} has {self._info.length_bytes} bytes, but no block {index}",
                    self._info.path,
                )
            self._learn(index, page.blocks)
            return self._places[index]

    def _learn(self, first_index: int, blocks: tuple[LocatedBlock, ...]) -> None:
        now_s = asyncio.get_running_loop().time()
        random = self._links.machine.random
        for index, located in enumerate(blocks, first_index):
            replicas = shuffle_replicas(located.replicas, random)
            self._places[index] = BlockPlace(index, located, replicas, now_s)

    def _guess(self, offset: int) -> int:
        """Return the block's index, if all blocks before it are as long as they may be."""
        return offset // self._info.block_size_bytes if self._info.block_size_bytes else 0

    def _is_old(self, place: BlockPlace) -> bool:
        return asyncio.get_running_loop().time() - place.since_s > FRESH_S
