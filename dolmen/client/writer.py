"""A file being written: it appears at its path, whole, when `close` succeeds.

The writer cuts what it is given into segments and hands them to the writer of their block. Memory
is bounded by the window: a segment being filled, those on their way, and those behind one that is
still on its way. Bytes that cannot change (`bytes`) are taken as they are; anything else is copied,
because the caller may fill its buffer again when `write` returns.
"""

import asyncio
import contextlib
import weakref
from types import TracebackType

from dolmen.client.block_writer import BlockWriter, WrittenFile
from dolmen.client.core.write_plan import WritePlan
from dolmen.client.leases import Lease, LeaseKeeper
from dolmen.client.links import Links
from dolmen.client.segment_window import SegmentBuffer, SegmentWindow
from dolmen.protocol.checksums import Buffer, ContentHasher, chunk_checksums
from dolmen.protocol.client_messages import (
    AbandonFile,
    CreatedFile,
    CreateFile,
    Done,
    FileInfo,
    PublishFile,
)
from dolmen.protocol.errors import (
    DolmenError,
    InvalidRequest,
    OutcomeUnknown,
    TooFewDatanodes,
)

ABANDON_PATIENCE_S = 2.0
"""An abandoned file is dropped when its lease ends in any case: nobody waits long to say so."""

ABANDONED = "it was abandoned"


class Writer:
    """Takes a file's bytes in order.

    `async with` closes on success and abandons on an exception, and so does its collection as
    garbage. A write that fails, or is
    cancelled, spoils the writer: all that is left is `abandon`. Calls from several tasks take
    turns.
    """

    def __init__(self, links: Links, request: CreateFile, created: CreatedFile) -> None:
        self.path = request.path
        self.block_size_bytes = created.block_size_bytes
        self.replication = created.replication
        self.length_bytes = 0
        """Bytes taken so far."""
        options = links.options
        self._links = links
        self._exclusive = request.exclusive
        self._file = WrittenFile(created.inode_id, request.path, created.replication)
        self._plan = WritePlan(created.block_size_bytes, options.segment_bytes)
        slots = options.segments_in_flight + 1  # and the one being filled
        self._window = SegmentWindow(slots, self._plan.segment_bytes)
        self._hasher = ContentHasher()
        self._filling: SegmentBuffer | None = None
        self._block: BlockWriter | None = None
        self._unfinished: list[BlockWriter] = []
        self._last: list[BlockWriter] = []
        """The last two blocks: those before were complete when the next but one was allocated."""
        self._lease: Lease = links.leases.keep(created.inode_id)
        self._collected = weakref.finalize(
            self,
            _let_go_soon,
            asyncio.get_running_loop(),
            links.leases,
            self._lease,
            self._unfinished,
        )
        self._collected.atexit = False
        self._turn = asyncio.Lock()
        self._spoiled: str | None = None
        self._info: FileInfo | None = None

    @property
    def info(self) -> FileInfo:
        """The published file; only after `close`."""
        if self._info is None:
            raise InvalidRequest(f"{self.path} has not been published", self.path)
        return self._info

    @property
    def content_hash(self) -> bytes:
        """xxh3-128 of the bytes taken so far: of the whole file, after `close`."""
        return self._hasher.digest()

    async def write(self, data: Buffer) -> None:
        """Take the next bytes. Returns when they are copied or sent: the buffer may be reused.

        Waits while enough segments are on their way.
        """
        async with self._turn:
            self._check_open()
            self._spoiled = "a write failed or was cancelled"
            view = memoryview(data).cast("B")
            taken = 0
            while taken < len(view):
                taken += await self._take(view[taken:])
                if self._filling is None:  # a segment, some milliseconds of work, was handed over
                    await asyncio.sleep(0)
            self._spoiled = None

    async def close(self, *, modified_ms: int = 0) -> FileInfo:
        """Publish the file and return what it is; the same answer when called again.

        TooFewDatanodes after `retry_for` if its blocks are not durable enough; PathExists for an
        exclusive writer that came second. After an error nothing was published, unless it is
        OutcomeUnknown. `modified_ms` is the file's time, if not now.
        """
        async with self._turn:
            if self._info is not None:
                return self._info
            self._check_open()
            self._spoiled = "its close failed or was cancelled"
            try:
                self._info = await self._publish(modified_ms)
            except OutcomeUnknown:
                self._links.leases.release(self._lease)
                raise
            except DolmenError:
                await self._drop()
                raise
            self._links.leases.release(self._lease)
            self._collected.detach()
            return self._info

    async def abandon(self) -> None:
        """Publish nothing and let the namenode drop the bytes. Idempotent; never raises."""
        if self._info is None:
            await self._drop()

    async def __aenter__(self) -> "Writer":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            await self.abandon()
            return
        try:
            await self.close()
        except asyncio.CancelledError:
            await self.abandon()
            raise

    # ------------------------------------------------------------ cutting

    async def _take(self, view: memoryview) -> int:
        """Take bytes into one segment; return how many."""
        limit = self._plan.segment_limit(self._plan.place(self.length_bytes).segment_offset)
        if self._filling is None:
            await self._window.take_slot()
            self._lease.check(self.path)
            if len(view) >= limit and _never_changes(view):
                self._advance(view[:limit])
                self._hand_over(view[:limit])
                return limit
            self._filling = self._window.take_buffer()
        view = view[: limit - self._filling.length]
        self._filling.append(view, limit)
        self._advance(view)
        if self._filling.length == limit:
            self._hand_over_filled()
        return len(view)

    def _advance(self, view: memoryview) -> None:
        self._hasher.update(view)
        self.length_bytes += len(view)

    def _hand_over_filled(self) -> None:
        assert self._filling is not None
        data, self._filling = self._filling.contents(), None
        self._hand_over(data)

    def _hand_over(self, data: memoryview) -> None:
        """Give a segment, the one that ends at `length_bytes`, to the writer of its block."""
        index = self._plan.place(self.length_bytes - len(data)).block_index
        if self._block is None or self._block.index != index:
            self._unfinished[:] = [block for block in self._unfinished if not block.is_finished]
            self._block = BlockWriter(self._links, self._file, index, self._block, self._window)
            self._unfinished.append(self._block)
            self._last = [*self._last[-1:], self._block]
        self._block.put(data, chunk_checksums(data))
        if self._plan.ends_block(self.length_bytes):
            self._block.end()

    # ------------------------------------------------------------ the end

    def _check_open(self) -> None:
        if self._spoiled is not None:
            raise InvalidRequest(f"{self.path} cannot be written: {self._spoiled}", self.path)
        if self._info is not None:
            raise InvalidRequest(f"{self.path} is closed", self.path)
        self._window.check()
        self._lease.check(self.path)

    async def _publish(self, modified_ms: int) -> FileInfo:
        if self._filling is not None:
            self._hand_over_filled()
        if self._block is not None:
            self._block.end()
            await asyncio.wait([block.task for block in self._unfinished])
            self._window.check()
        self._lease.check(self.path)
        return await self._publish_when_complete(modified_ms)

    async def _publish_when_complete(self, modified_ms: int) -> FileInfo:
        """Ask the namenode, which waits until it has heard of enough replicas of each block.

        A datanode that dies between finalizing and telling it will not be heard of: then the last
        blocks are finalized again, elsewhere if need be.
        """
        patience = self._links.patience()
        while True:
            request = PublishFile(
                self._file.inode_id,
                self.path,
                None if self._block is None else self._block.committed(),
                self._hasher.digest(),
                self._exclusive,
                modified_ms,
            )
            try:
                return await self._links.namenode.call(request, FileInfo, final=(TooFewDatanodes,))
            except TooFewDatanodes:
                if not patience.left_s:
                    raise
            await patience.pause()
            for block in self._last:
                await block.finalize_again()

    async def _drop(self) -> None:
        """Stop everything, and tell the namenode if it listens."""
        if self._spoiled == ABANDONED:
            return
        self._spoiled = ABANDONED
        self._window.fail(InvalidRequest(f"{self.path} cannot be written: {ABANDONED}", self.path))
        self._collected.detach()
        _let_go(self._links.leases, self._lease, self._unfinished)
        await asyncio.gather(*(block.task for block in self._unfinished), return_exceptions=True)
        self._filling = None
        with contextlib.suppress(DolmenError, TimeoutError):  # its lease ends in any case
            async with asyncio.timeout(ABANDON_PATIENCE_S):
                await self._links.namenode.call(AbandonFile(self._file.inode_id), Done)


def _let_go(leases: LeaseKeeper, lease: Lease, blocks: list[BlockWriter]) -> None:
    """Do no more for a file: the namenode drops it when its lease ends."""
    leases.release(lease)
    for block in blocks:
        block.task.cancel()


def _let_go_soon(
    loop: asyncio.AbstractEventLoop, leases: LeaseKeeper, lease: Lease, blocks: list[BlockWriter]
) -> None:
    """Let go of a file whose writer was collected, whichever thread that happened on."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(_let_go, leases, lease, blocks)


def _never_changes(view: memoryview) -> bool:
    return isinstance(view.obj, bytes)


async def open_writer(links: Links, request: CreateFile) -> Writer:
    """Make the file's inode and return its writer."""
    created = await links.namenode.call(request, CreatedFile)
    return Writer(links, request, created)
