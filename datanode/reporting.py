"""Tells the namenode what is here: all of it after each registration, then every change at once.

While a full report goes out, changes wait: a replica that a page did not name yet must not be taken
for gone after it was reported new. What the namenode has not taken stays queued, over lost
connections too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from datanode.block_store import BlockStore
from datanode.core.reports import ReportQueue, pages
from dolmen.protocol.datanode_messages import (
    ReplicaChange,
    ReplicaChecked,
    ReportBlocks,
    ReportChanges,
)

REPORT_ID_BITS = 48

Send = Callable[[ReportBlocks | ReportChanges], Awaitable[None]]
"""Sends one message and returns when the namenode has taken it."""


class Reporter:
    """What is still to be told, and the loop that tells it while there is a connection."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._queue = ReportQueue()
        self._wake = asyncio.Event()

    @property
    def queued(self) -> int:
        """How much the namenode has not been told yet."""
        return len(self._queue)

    def changed(self, change: ReplicaChange) -> None:
        """A replica changed."""
        if self._queue.add(change):
            self._wake.set()

    def command_failed(self, block_id: int, reason: str) -> None:
        """A command could not be carried out."""
        self._queue.add_failure(block_id, reason)
        self._wake.set()

    def bad_source(self, block_id: int, stamp: int, datanode_id: str) -> None:
        """Another datanode's replica gave bytes that fail the block's checksums."""
        self._queue.add_bad_source(block_id, stamp, datanode_id)
        self._wake.set()

    def checked(self, checked: ReplicaChecked) -> None:
        """A replica was verified because the namenode wanted it."""
        self._queue.add_checked(checked)
        self._wake.set()

    def connection_lost(self) -> None:
        """What only this connection's namenode waited for need not be told."""
        self._queue.connection_lost()

    def heartbeat(self) -> None:
        """Have what is not urgent go out too."""
        if len(self._queue):
            self._wake.set()

    async def run(self, store: BlockStore, send: Send) -> None:
        """Report in full, then every change, until cancelled or the connection is lost."""
        await self._send_all(store, send)
        while True:
            if self._queue.overflowed:
                await self._send_all(store, send)
            self._wake.clear()
            while len(self._queue):
                batch = self._queue.batch()
                await send(batch)
                self._queue.taken(batch)
            await self._wake.wait()

    async def _send_all(self, store: BlockStore, send: Send) -> None:
        self._queue.start_over()
        report_id = self._random.getrandbits(REPORT_ID_BITS)
        for page in pages(report_id, store.inventory(), store.report):
            await send(page)
