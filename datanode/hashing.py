"""Computes the hash of whole files: a file that grew or was cut has lost it.

All bytes of a file pass through one hash in their order, each block from the nearest datanode that
has it, which often is this one; what arrives is verified (`pulling`), so a hash is never that of
rotten bytes. Nothing is kept of an order but its place in the file: it is void with its connection,
and the namenode gives it to somebody again. Where the blocks are is asked page by page, anew after
a while and for each long block: tokens end, replicas move, and the namenode takes these calls for
signs of life, and refuses them once the file is another.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import xxhash

from datanode.core.throttle import Throttle
from datanode.pulling import Pull, PullOrder, ReplicaPuller
from dolmen.protocol.client_messages import LocatedBlock, LocatedBlocks
from dolmen.protocol.datanode_messages import FileHashed, HashFile, LocateToHash
from dolmen.protocol.errors import DolmenError
from dolmen.protocol.tokens import Target

ORDERS_LIMIT = 16
"""A namenode gives one at a time; what is too much is given again."""

PAGE_LIFE_S = 30.0
"""How long it is believed where blocks are."""

LOG = logging.getLogger("datanode")

Locate = Callable[[LocateToHash], Awaitable[LocatedBlocks]]
"""Asks the namenode where blocks of a file are."""
Tell = Callable[[FileHashed], Awaitable[None]]
"""Tells the namenode what came of an order."""


class FileHasher:
    """The files that the namenode wants hashed, one after the other."""

    def __init__(self, puller: ReplicaPuller, throttle: Throttle) -> None:
        self._puller = puller
        self._throttle = throttle
        self._orders: asyncio.Queue[HashFile] = asyncio.Queue(ORDERS_LIMIT)

    def order(self, command: HashFile) -> None:
        """The namenode wants a file hashed."""
        if not self._orders.full():
            self._orders.put_nowait(command)

    async def run(self, locate: Locate, tell: Tell) -> None:
        """Work off the orders of one connection until cancelled."""
        self._orders = asyncio.Queue(ORDERS_LIMIT)
        while True:
            order = await self._orders.get()
            content_hash, problem = b"", ""
            try:
                content_hash = await self._hash(_Blocks(order, locate))
            except DolmenError as error:
                problem = error.message
            try:
                await tell(FileHashed(order.inode_id, order.changed_txid, content_hash, problem))
            except DolmenError as error:
                LOG.info("the hash of inode %d is not wanted: %s", order.inode_id, error)

    async def _hash(self, blocks: "_Blocks") -> bytes:
        hasher = xxhash.xxh3_128()
        while (block := await blocks.next()) is not None:
            await self._read(block, hasher)
        return hasher.digest()

    async def _read(self, block: LocatedBlock, hasher: xxhash.xxh3_128) -> None:
        order = PullOrder(
            block.token,
            block.block_id,
            block.stamp,
            block.length_bytes,
            block.digest,
            tuple(Target(replica.datanode_id, replica.address) for replica in block.replicas),
        )
        taken_bytes = 0

        async def take(offset: int, data: memoryview) -> None:
            nonlocal taken_bytes
            hasher.update(data)
            taken_bytes += len(data)

        await self._puller.pull(Pull(order, self._throttle, lambda: taken_bytes, take))


class _Blocks:
    """The blocks of one file in their order, as the namenode tells them page by page."""

    def __init__(self, order: HashFile, locate: Locate) -> None:
        self._order = order
        self._locate = locate
        self._index = 0
        self._page = LocatedBlocks((), more=True)
        self._page_index = 0
        self._asked_s = 0.0

    async def next(self) -> LocatedBlock | None:
        """Return the next block; None behind the last one."""
        at = self._index - self._page_index
        if at == len(self._page.blocks) and not self._page.more:
            return None
        now_s = asyncio.get_running_loop().time()
        if at == len(self._page.blocks) or now_s > self._asked_s + PAGE_LIFE_S:
            request = LocateToHash(self._order.inode_id, self._order.changed_txid, self._index)
            self._page = await self._locate(request)
            self._page_index, self._asked_s, at = self._index, now_s, 0
            if not self._page.blocks:
                return None
        self._index += 1
        return self._page.blocks[at]
