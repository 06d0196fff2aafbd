"""Carries out the namenode's orders, a few at a time and as fast as repair may go.

Orders are queued, so that the call in which they came can be repeated at once; what does not fit,
or fails, is reported and planned again. Deletions, checks and copies never wait for one another.

An order to delete, or to put into quarantine, is void with the connection that it came over, and
with a later order to copy the same block: the namenode counts the replica as gone only until then
(rule 24). Kept any longer, it would delete what has meanwhile been reported, or made anew, and may
be the proof for another deletion.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from datanode.access import TokenCheck
from datanode.block_store import BlockStore
from datanode.checks import Checks
from datanode.pulling import PullOrder
from datanode.reporting import Reporter
from dolmen.protocol.datanode_messages import (
    CheckReplica,
    InvalidateReplica,
    QuarantineReplica,
    ReplicaCommand,
    TransferReplica,
)
from dolmen.protocol.errors import DolmenError, NoSuchReplica
from dolmen.protocol.tokens import Access

TRANSFERS_AT_ONCE = 4
"""Enough to fill disk and network from several sources; they share one rate."""

QUEUE_LIMIT = 1000
"""More orders than a namenode gives before it hears of the first ones."""

LOG = logging.getLogger("datanode")

Removal = InvalidateReplica | QuarantineReplica


class CommandRunner:
    """The queues of orders, and the tasks that work on them.

    `copy` makes a replica out of another datanode's, as fast as repair may go.
    """

    def __init__(
        self,
        store: BlockStore,
        copy: Callable[[PullOrder], Awaitable[None]],
        tokens: TokenCheck,
        checks: Checks,
        reporter: Reporter,
    ) -> None:
        self._store = store
        self._copy = copy
        self._tokens = tokens
        self._reporter = reporter
        self._checks = checks
        self._transfers: asyncio.Queue[TransferReplica] = asyncio.Queue(QUEUE_LIMIT)
        self._removals: dict[int, Removal] = {}  # by block id
        self._removals_wait = asyncio.Event()

    @property
    def queued_transfers(self) -> int:
        """How many copies wait to be made."""
        return self._transfers.qsize()

    @property
    def queued_removals(self) -> int:
        """How many replicas wait to be deleted or put aside."""
        return len(self._removals)

    def take(self, command: ReplicaCommand) -> None:
        """Queue an order; report it as failed if too many wait."""
        try:
            if isinstance(command, TransferReplica):
                self._removals.pop(command.block_id, None)
                self._transfers.put_nowait(command)
            elif isinstance(command, CheckReplica):
                self._checks.order(command)
            else:
                self._take_removal(command)
        except asyncio.QueueFull:
            reason = f"{QUEUE_LIMIT} commands wait already"
            self._reporter.command_failed(command.block_id, reason)

    def _take_removal(self, command: Removal) -> None:
        if len(self._removals) >= QUEUE_LIMIT:
            raise asyncio.QueueFull
        self._removals[command.block_id] = command
        self._removals_wait.set()

    def connection_lost(self) -> None:
        """What was not removed yet stays, and is reported; nobody waits for answers to checks."""
        self._removals.clear()
        self._checks.connection_lost()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(TRANSFERS_AT_ONCE):
                group.create_task(self._transfer_ordered())
            group.create_task(self._checks.run())
            group.create_task(self._remove_ordered())

    async def _transfer_ordered(self) -> None:
        while True:
            command = await self._transfers.get()
            name = type(command).__name__
            await self._guarded(name, command.block_id, self._transfer(command))

    async def _remove_ordered(self) -> None:
        while True:
            self._removals_wait.clear()
            for block_id, command in list(self._removals.items()):
                removal = self._store.work.run(self._remove(command))
                await self._guarded(type(command).__name__, block_id, removal)
            if not self._removals:
                await self._removals_wait.wait()

    async def _guarded(self, name: str, block_id: int, step: Coroutine[Any, Any, None]) -> None:
        """Carry out an order; a failure is reported."""
        try:
            await step
        except (DolmenError, OSError) as error:
            LOG.warning("%s of block %016x failed: %s", name, block_id, error)
            self._reporter.command_failed(block_id, str(error))

    async def _transfer(self, command: TransferReplica) -> None:
        block = (command.block_id, command.stamp)
        token = self._tokens.open_signed(command.token, block, Access.COPY)
        order = PullOrder(
            command.token, *block, command.length_bytes, command.digest, token.targets
        )
        await self._copy(order)

    async def _remove(self, command: Removal) -> None:
        block_id = command.block_id

        def take_order() -> int | None:
            current = self._removals.get(block_id)
            if type(current) is not type(command):
                return None  # void, or another order by now, whose turn comes
            del self._removals[block_id]
            return current.stamp

        remove = self._store.invalidate
        if isinstance(command, QuarantineReplica):
            remove = self._store.quarantine
        try:
            await remove(block_id, take_order)
        except NoSuchReplica:
            self._store.tell_gone(block_id, command.stamp)
