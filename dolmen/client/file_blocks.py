"""Where the blocks of an open file are: fetched in pages when needed, and again when they are old.

The reader was given the ids of all blocks when it opened the file. A block never changes, so its id
stands for its bytes, whatever became of the file since: blocks are asked for by their ids alone,
and a reader sees the bytes it opened, or StaleHandle. Where a block begins follows from the lengths
of those before it. While it is in the file that was opened, the namenode knows that too, because
only what is behind it was replaced. Once a page has moved, pages are asked for from the front on.

A location is good for a while: its token expires, replicas move. What is old is fetched again when
it is read, and then the namenode is told that all other blocks are still read too, wherever they
are: that keeps them (rule 22).
"""

import asyncio
from dataclasses import dataclass
from struct import unpack

from msgspec.structs import replace

from dolmen.client.core.known_blocks import KnownBlocks
from dolmen.client.core.replica_ranking import shuffle_replicas
from dolmen.client.links import Links
from dolmen.protocol.client_messages import (
    Done,
    FileInfo,
    LocatedBlock,
    LocatedBlocks,
    OpenedFile,
    ReplicaLocation,
)
from dolmen.protocol.draft_messages import LISTED_LIMIT, KeepBlocks, LocateBlock, LocateListed
from dolmen.protocol.errors import BlockMissing, StaleHandle, Unreachable

FRESH_SHARE = 0.4
"""Of what a block token lives: who reads on has asked anew before it expires, also if one attempt
fails. A token that expired is refused by the datanode, and then the location is fetched too."""

RENEWAL_PATIENCE_S = 2.0
"""What is old may still do: a restart of the namenode is no reason to stop reading."""

RENEWAL_PAUSE_S = 10.0
"""A namenode that was away is not waited for again for each block of a read."""

_ID_BYTES = 8


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

    def __init__(self, links: Links, opened: OpenedFile) -> None:
        self._links = links
        self._info: FileInfo = opened.info
        self._ids = opened.block_ids or b"".join(
            block.block_id.to_bytes(_ID_BYTES) for block in opened.blocks
        )
        self._count = len(self._ids) // _ID_BYTES
        self._known = KnownBlocks(opened.info.block_size_bytes, self._count)
        self._in_order = False
        self._places: dict[int, BlockPlace] = {}
        self._locating = asyncio.Lock()
        self._refreshing = asyncio.Lock()
        self._fresh_s = FRESH_SHARE * links.namenode.greeting.block_token_life_ms / 1000
        self._kept_s = self._now_s()
        self._away_until_s = 0.0
        self._learn(0, opened.blocks)

    async def holding(self, offset: int) -> BlockPlace:
        """Return the block that holds the file's byte at `offset`."""
        index = self._known.find(offset)
        if index is None:
            index = await self._locate(offset)
        if self._is_old(self._places[index].since_s):
            await self._refresh(index)
        return self._places[index]

    async def _refresh(self, index: int) -> None:
        """Renew a place that is old, and keep the other blocks. While the namenode is away, what is
        old must do."""
        async with self._refreshing:
            if self._now_s() < self._away_until_s:
                return
            try:
                if self._is_old(self._places[index].since_s):
                    await self.renew(self._places[index], RENEWAL_PATIENCE_S)
                if self._is_old(self._kept_s):
                    await self._keep_all()
            except Unreachable:
                self._away_until_s = self._now_s() + RENEWAL_PAUSE_S

    async def _keep_all(self) -> None:
        """Have all blocks kept: what was cut off, or written again, is kept apart from the rest."""
        since_s = self._now_s()
        for first_index in range(0, self._count, LISTED_LIMIT):
            request = KeepBlocks(self._listed(first_index))
            await self._links.namenode.call(request, Done, retry_for_s=RENEWAL_PATIENCE_S)
        self._kept_s = since_s

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
        return replace(now, offset_bytes=known.offset_bytes)

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
                if self._in_order:
                    await self._locate_next(offset)
                else:
                    await self._locate_page(first_index)
                guesses += 1
            return index

    async def _locate_page(self, first_index: int) -> None:
        """Learn a page from the namenode, offsets included, unless a block of it has moved."""
        page = await self._page(first_index)
        if page.moved:
            self._in_order = True
        else:
            self._learn(first_index, page.blocks)

    async def _locate_next(self, offset: int) -> None:
        """Learn the page behind the known blocks before `offset`: there it begins."""
        first_index, start = self._known.next_unknown(offset)
        blocks = []
        for block in (await self._page(first_index)).blocks:
            blocks.append(replace(block, offset_bytes=start))
            start += block.length_bytes
        self._learn(first_index, tuple(blocks))

    async def _page(self, first_index: int) -> LocatedBlocks:
        request = LocateListed(self._info.inode_id, self._listed(first_index), self._links.host)
        return await self._links.namenode.call(request, LocatedBlocks)

    def _listed(self, first_index: int) -> tuple[int, ...]:
        """Return the ids of as many blocks, from one on, as a call may name."""
        count = min(LISTED_LIMIT, self._count - first_index)
        start = first_index * _ID_BYTES
        return unpack(f">{count}Q", self._ids[start : start + count * _ID_BYTES])

    def _learn(self, first_index: int, blocks: tuple[LocatedBlock, ...]) -> None:
        spans = [(located.offset_bytes, located.length_bytes) for located in blocks]
        for index in self._known.learn(first_index, spans):
            self._place(index, blocks[index - first_index])

    def _place(self, index: int, located: LocatedBlock) -> None:
        replicas = shuffle_replicas(located.replicas, self._links.machine.random)
        self._places[index] = BlockPlace(index, located, replicas, self._now_s())

    def _is_old(self, since_s: float) -> bool:
        return self._now_s() - since_s > self._fresh_s

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
