"""A file that is not there yet: kept here while it is short, written as blocks when it is not.

A file that ends within the namenode's `inline_limit` goes there by one call, with all its bytes
(decision 0011). Its inode, its lease and its first block begin, in one call, with the byte that is
one too many.
"""

import asyncio

import msgspec

from dolmen.client.cutting import Cutting
from dolmen.client.links import Links
from dolmen.client.pipeline_rebuild import merged
from dolmen.client.written_file import WrittenFile
from dolmen.protocol.checksums import Buffer, ContentHasher, content_hash
from dolmen.protocol.client_messages import (
    CheckCreation,
    CommittedBlock,
    CreatedFile,
    CreateFile,
    Done,
    FileInfo,
    FirstBlock,
    PublishFile,
    StoreFile,
)
from dolmen.protocol.errors import DolmenError


class NewFile:
    """Takes a file's bytes in order, then publishes it or not. One task at a time."""

    def __init__(self, links: Links, create: CreateFile) -> None:
        greeting = links.namenode.greeting
        self.block_size_bytes = create.block_size_bytes or greeting.block_size_bytes
        self.replication = create.replication or greeting.replication
        self._hasher = ContentHasher()
        self._links = links
        self._create = create
        self._inode_id = 0
        self._kept = bytearray()
        self._cutting: Cutting | None = None

    @property
    def length_bytes(self) -> int:
        """Bytes taken so far."""
        return len(self._kept) if self._cutting is None else self._cutting.length_bytes

    @property
    def fewest_replicas(self) -> int:
        """On how many datanodes a block is that met with failures; see `WrittenFile`."""
        return self.replication if self._cutting is None else self._cutting.fewest_replicas

    @property
    def content_hash(self) -> bytes:
        """The hash of the bytes taken so far."""
        return self._hasher.digest()

    def stays_inline(self, coming_bytes: int) -> bool:
        """Whether the file, as long as that with what is to come, is published in one call."""
        return self._cutting is None and len(self._kept) + coming_bytes <= self._limit_bytes

    async def begin(self, coming_bytes: int | None) -> None:
        """Raise what would refuse the file if it were published now.

        If bytes are about to come, the first of them, or that it is published, will say so.
        """
        if coming_bytes:
            return
        if not self._limit_bytes:
            await self._begin_blocks(None)
        elif coming_bytes is None:
            await self._links.namenode.call(CheckCreation(self._create), Done)

    def check(self) -> None:
        """Raise what broke a block, or LeaseConflict if the lease has ended."""
        if self._cutting is not None:
            self._cutting.check()

    async def put(self, data: Buffer) -> None:
        """Take the next bytes. Waits while enough segments are on their way."""
        view = memoryview(data).cast("B")
        if self._cutting is None:
            if self.stays_inline(len(view)):
                self._kept += view
                self._hasher.update(view)
                return
            await self._begin_blocks(self._first_block())
        assert self._cutting is not None
        await self._cutting.put(data)

    async def publish(self, modified_ms: int) -> FileInfo:
        """Have the file stand at its path, whole."""
        if self._cutting is None:
            return await self._store(modified_ms)

        def request(last: CommittedBlock | None) -> PublishFile:
            return PublishFile(
                self._inode_id,
                self._create.path,
                last,
                self.content_hash,
                self._create.exclusive,
                modified_ms,
            )

        return await self._cutting.commit(request)

    def release(self) -> None:
        """Nothing more will be put. Idempotent."""
        if self._cutting is not None:
            self._cutting.release()

    async def drop(self, reason: DolmenError) -> None:
        """Stop everything, whoever waits being told why."""
        if self._cutting is not None:
            await self._cutting.drop(reason)

    @property
    def _limit_bytes(self) -> int:
        return self._links.namenode.greeting.inline_limit_bytes

    async def _store(self, modified_ms: int) -> FileInfo:
        request = StoreFile(self._create, bytes(self._kept), self.content_hash, modified_ms)
        return await self._links.namenode.call(request, FileInfo)

    def _first_block(self) -> FirstBlock:
        datanodes, now_s = self._links.datanodes, asyncio.get_running_loop().time()
        failed, slow = datanodes.write_failures.current(now_s), datanodes.slow.current(now_s)
        return FirstBlock(merged(failed, slow), self._links.host)

    async def _begin_blocks(self, first_block: FirstBlock | None) -> None:
        create = msgspec.structs.replace(self._create, first_block=first_block)
        created = await self._links.namenode.call(create, CreatedFile)
        self._inode_id = created.inode_id
        file = WrittenFile(created.inode_id, create.path, created.replication, created.first_block)
        kept, self._kept, self._hasher = self._kept, bytearray(), ContentHasher()
        self._cutting = Cutting(self._links, file, created.block_size_bytes, self._hasher.update)
        if kept:
            await self._cutting.put(kept)


async def store_at_once(links: Links, create: CreateFile, data: Buffer) -> FileInfo | None:
    """Have a file that is short stand at its path, whole, without a writer, which would cost as
    much again as the call; None if it is not short."""
    if not links.namenode.was_reached:
        await links.namenode.connect()
    limit_bytes = links.namenode.greeting.inline_limit_bytes
    if not limit_bytes or memoryview(data).nbytes > limit_bytes:
        return None
    content = bytes(data)
    request = StoreFile(create, content, content_hash(content))
    return await links.namenode.call(request, FileInfo)
