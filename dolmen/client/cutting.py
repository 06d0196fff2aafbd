"""Bytes on their way into one unpublished inode: cut into segments, written block by block.

What is put is cut into segments and handed to the writer of their block. Memory is bounded by the
window: a segment being filled, those on their way, and those behind one that is still on its way.
Bytes that cannot change (`bytes`) are taken as they are; anything else is copied, because the
caller may fill its buffer again when `put` returns.

`commit` brings all blocks to their end and has the namenode make a file, or a part of one, of them.
That takes them away: what is put later begins with the inode's first block again.
"""

import asyncio
import contextlib
import weakref
from collections.abc import Callable

from dolmen.client.block_writer import BlockWriter
from dolmen.client.core.write_plan import WritePlan
from dolmen.client.leases import Lease, LeaseKeeper
from dolmen.client.links import Links
from dolmen.client.segment_window import SegmentBuffer, SegmentWindow
from dolmen.client.written_file import WrittenFile
from dolmen.protocol.checksums import Buffer, chunk_checksums
from dolmen.protocol.client_messages import (
    AbandonFile,
    CommittedBlock,
    Done,
    FileInfo,
    PublishFile,
)
from dolmen.protocol.draft_messages import ExtendFile
from dolmen.protocol.errors import DolmenError, TooFewDatanodes

ABANDON_PATIENCE_S = 2.0
"""An abandoned inode is dropped when its lease ends in any case: nobody waits long to say so."""

Commit = Callable[[CommittedBlock | None], PublishFile | ExtendFile]
"""What the namenode is asked, given the last block."""

Witness = Callable[[memoryview], None]
"""Is shown the bytes in order, a segment or less at a time, as they are taken."""


class Cutting:
    """One inode that is written.

    Its lease is kept until `release` or `drop`, or until whoever writes is collected as garbage.
    """

    def __init__(
        self, links: Links, file: WrittenFile, block_size_bytes: int, witness: Witness
    ) -> None:
        options = links.options
        self.length_bytes = 0
        """Bytes put since the beginning, or the last `commit`."""
        self._links = links
        self._file = file
        self._witness = witness
        self._plan = WritePlan(block_size_bytes, options.segment_bytes)
        slots = options.segments_in_flight + 1  # and the one being filled
        self._window = SegmentWindow(slots, links.write_memory.open())
        self._filling: SegmentBuffer | None = None
        self._limit = 0
        self._block: BlockWriter | None = None
        self._unfinished: list[BlockWriter] = []
        self._last: list[BlockWriter] = []
        """The last two blocks: those before were complete when the next but one was allocated."""
        self._lease: Lease = links.leases.keep(file.inode_id)
        self._collected = weakref.finalize(
            self,
            _let_go_soon,
            asyncio.get_running_loop(),
            links.leases,
            self._lease,
            self._unfinished,
            self._window,
        )
        self._collected.atexit = False

    @property
    def window(self) -> SegmentWindow:
        """The segments in memory."""
        return self._window

    @property
    def fewest_replicas(self) -> int:
        """On how many datanodes a block is that met with failures; see `WrittenFile`."""
        return self._file.fewest_replicas

    def check(self) -> None:
        """Raise what broke a block, or LeaseConflict if the lease has ended."""
        self._window.check()
        self._lease.check(self._file.path)

    async def put(self, data: Buffer) -> None:
        """Take the next bytes. Waits while enough segments are on their way."""
        view = memoryview(data).cast("B")
        taken = 0
        while taken < len(view):
            taken += await self._take(view[taken:])
            if self._filling is None:  # a segment, some milliseconds of work, was handed over
                await asyncio.sleep(0)

    async def commit(self, request: Commit) -> FileInfo:
        """Bring all blocks to their end, and ask the namenode, which waits until it has heard of
        enough replicas of each; TooFewDatanodes after `retry_for`.

        A datanode that dies between finalizing and telling it will not be heard of: then the last
        blocks are finalized again, elsewhere if need be.
        """
        await self._finish()
        patience = self._links.patience()
        while True:
            last = None if self._block is None else self._block.committed()
            try:
                info = await self._links.namenode.call(
                    request(last), FileInfo, final=(TooFewDatanodes,)
                )
            except TooFewDatanodes:
                if not patience.left_s:
                    raise
            else:
                break
            await patience.pause()
            for block in self._last:
                await block.finalize_again()
        self._block = None
        self._last = []
        self._unfinished.clear()
        self.length_bytes = 0
        return info

    def release(self) -> None:
        """Keep the lease no longer: nothing more will be put. Idempotent."""
        self._collected.detach()
        self._links.leases.release(self._lease)
        self._window.close()

    async def drop(self, reason: DolmenError) -> None:
        """Stop everything, whoever waits being told why, and tell the namenode if it listens."""
        self._window.fail(reason)
        self._collected.detach()
        _let_go(self._links.leases, self._lease, self._unfinished, self._window)
        await asyncio.gather(*(block.task for block in self._unfinished), return_exceptions=True)
        self._filling = None
        with contextlib.suppress(DolmenError, TimeoutError):  # its lease ends in any case
            async with asyncio.timeout(ABANDON_PATIENCE_S):
                await self._links.namenode.call(AbandonFile(self._file.inode_id), Done)

    # ------------------------------------------------------------ cutting

    async def _take(self, view: memoryview) -> int:
        """Take bytes into one segment; return how many."""
        if self._filling is None:
            limit = self._limit = await self._window.take_slot(self._segment_room())
            self._lease.check(self._file.path)
            if len(view) >= limit and _never_changes(view):
                self._advance(view[:limit])
                self._hand_over(view[:limit])
                return limit
            self._filling = self._window.take_buffer()
        view = view[: self._limit - self._filling.length]
        self._filling.append(view, self._limit)
        self._advance(view)
        if self._filling.length == self._limit:
            self._hand_over_filled()
        return len(view)

    def _segment_room(self) -> int:
        """Return how long the next segment may be; the one before it may have been a short one."""
        place = self._plan.place(self.length_bytes)
        return self._plan.segment_limit(place.segment_offset) - place.offset

    def _advance(self, view: memoryview) -> None:
        self._witness(view)
        self.length_bytes += len(view)

    def _hand_over_filled(self) -> None:
        assert self._filling is not None
        data, self._filling = self._filling.contents(), None
        self._hand_over(data)

    def _hand_over(self, data: memoryview) -> None:
        """Give a segment, the one that ends at `length_bytes`, to the writer of its block."""
        self._window.settle(len(data))
        index = self._plan.place(self.length_bytes - len(data)).block_index
        if self._block is None or self._block.index != index:
            self._unfinished[:] = [block for block in self._unfinished if not block.is_finished]
            self._block = BlockWriter(self._links, self._file, index, self._block, self._window)
            self._unfinished.append(self._block)
            self._last = [*self._last[-1:], self._block]
        self._block.put(data, chunk_checksums(data))
        if self._plan.ends_block(self.length_bytes):
            self._block.end()

    async def _finish(self) -> None:
        """Return when every byte is finalized."""
        if self._filling is not None:
            self._hand_over_filled()
        if self._block is not None:
            self._block.end()
            await asyncio.wait([block.task for block in self._unfinished])
            self._window.check()
        self._lease.check(self._file.path)


def _let_go(
    leases: LeaseKeeper, lease: Lease, blocks: list[BlockWriter], window: SegmentWindow
) -> None:
    """Do no more for an inode: the namenode drops it when its lease ends."""
    leases.release(lease)
    for block in blocks:
        block.task.cancel()
    window.close()


def _let_go_soon(
    loop: asyncio.AbstractEventLoop,
    leases: LeaseKeeper,
    lease: Lease,
    blocks: list[BlockWriter],
    window: SegmentWindow,
) -> None:
    """Let go of an inode whose writer was collected, whichever thread that happened on."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(_let_go, leases, lease, blocks, window)


def _never_changes(view: memoryview) -> bool:
    return isinstance(view.obj, bytes)
