"""Where the blocks of an open file are: fetched in pages when needed, and again when they are old.

A location is good for a while: its token expires, replicas move. A block that is known is asked for
again by its own id: the file may have been cut, joined or deleted since, and the block is still the
one that was opened. A page of blocks not known yet is asked for by the file's inode, as long as
nothing was taken away from it since. So a reader sees the bytes it opened, or StaleHandle. Asking
also tells the namenode that they are still being read, which keeps them (rule 22).
"""

import asyncio
import contextlib
from dataclasses import dataclass

from dolmen.client.core.known_blocks import KnownBlocks
from dolmen.client.core.replica_ranking import shuffle_replicas
from dolmen.client.links import Links
from dolmen.protocol.client_messages import (
    FileInfo,
    LocateBlocks,
    LocatedBlock,
    LocatedBlocks,
    ReplicaLocation,
)
from dolmen.protocol.draft_messages import LocateBlock
from dolmen.protocol.errors import BlockMissing, StaleHandle, Unreachable

FRESH_S = 240.0
"""Less than half of what a block token lives by default; a token that expires sooner is refused by
the datanode, and then the location is fetched again too."""

RENEWAL_PATIENCE_S = 2.0
"""What is old may still do: a restart of the namenode is no reason to stop reading."""

RENEWAL_PAUSE_S = 10.0
"""A namenode that was away is not waited for again for each block of a read."""


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
        self._known = KnownBlocks(info.block_size_bytes)
        self._places: dict[int, BlockPlace] = {}
        self._locating = asyncio.Lock()
        self._refreshing = asyncio.Lock()
        self._away_until_s = 0.0
        self._learn(0, blocks)

    async def holding(self, offset: int) -> BlockPlace:
        """Return the block that holds the file's byte at `offset`."""
        index = self._known.find(offset)
        if index is None:
            index = await self._locate(offset)
        if self._is_old(self._places[index]):
            await self._refresh(index)
        return self._places[index]

    async def _refresh(self, index: int) -> None:
        """Renew a place that is old, and the file's end with it: what is cut off, or written again,
        is kept apart from the rest. While the namenode is away, what is old must do."""
        async with self._refreshing:
            if self._now_s() < self._away_until_s:
                return
            try:
                await self._renew_old(index)
                with contextlib.suppress(StaleHandle):  # who reads it hears of it
                    await self._renew_old(self._known.last_index)
            except Unreachable:
                self._away_until_s = self._now_s() + RENEWAL_PAUSE_S

    async def _renew_old(self, index: int) -> None:
        if self._is_old(self._places[index]):
            await self.renew(self._places[index], RENEWAL_PATIENCE_S)

    async def renew(self, known: BlockPlace, retry_for_s: float | None = None) -> BlockPlace:
        """Return where a block is now, if it is still as in `known`; StaleHandle if nowhere."""
        async with self._locating:
            place = self._places[known.index]
            if place is not known:
                return place  # another task has asked meanwhile
            request = LocateBlock(known.located.block_id, self._links.host)
            page = await self._links.namenode.call(request, LocatedBlocks, retry_for_s=retry_for_s)
            self._place(known.index, self._pinned(known.located, page.blocks))
            return self._places[known.index]

    def _pinned(self, known: LocatedBlock, found: tuple[LocatedBlock, ...]) -> LocatedBlock:
        """Return the known block, where it was found; it may begin elsewhere in a file by now."""
        [now] = found or [None]
        if now is None or (now.length_bytes, now.digest) != (known.length_bytes, known.digest):
            raise StaleHandle(
                f"{self._info.path} has other blocks than when it was opened", self._info.path
            )
        return LocatedBlock(
            known.block_id,
            now.stamp,
            known.offset_bytes,
            known.length_bytes,
            known.digest,
            now.replicas,
            now.token,
        )

    async def _locate(self, offset: int) -> int:
        """Ask for pages until one has the block that holds `offset`; return its index."""
        async with self._locating:
            guesses = 0
            while (index := self._known.find(offset)) is None:
                first_index = self._known.guess(offset, guesses)
                if first_index is None:
                    raise BlockMissing(
                        f"{self._info.path} has {self._info.length_bytes} bytes, but no block at"
                        f" {offset}",
                        self._info.path,
                    )
                self._learn(first_index, await self._page(first_index))
                guesses += 1
            return index

    async def _page(self, first_index: int) -> tuple[LocatedBlock, ...]:
        inode_id, cut_txid = self._info.inode_id, self._info.cut_txid
        request = LocateBlocks(inode_id, first_index, self._links.host, cut_txid)
        return (await self._links.namenode.call(request, LocatedBlocks)).blocks

    def _learn(self, first_index: int, blocks: tuple[LocatedBlock, ...]) -> None:
        spans = [(located.offset_bytes, located.length_bytes) for located in blocks]
        for index in self._known.learn(first_index, spans):
            self._place(index, blocks[index - first_index])

    def _place(self, index: int, located: LocatedBlock) -> None:
        replicas = shuffle_replicas(located.replicas, self._links.machine.random)
        self._places[index] = BlockPlace(index, located, replicas, self._now_s())

    def _is_old(self, place: BlockPlace) -> bool:
        return self._now_s() - place.since_s > FRESH_S

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
