"""Carries out the namenode's orders, a few at a time and as fast as repair may go.

Orders are queued, so that the call in which they came can be repeated at once; what does not fit,
or fails, is reported and planned again. Deletions, checks and copies never wait for one another.

An order to delete is void with the connection that it came over, and with a later order to copy the
same block: the namenode counts the replica as gone only until then (rule 24). Kept any longer, it
would delete what has meanwhile been reported, or made anew, and may be the proof for another
deletion.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from datanode.access import TokenCheck
from datanode.block_store import BlockStore
from datanode.copying import CopyOrder, ReplicaCopier
from datanode.core.throttle import Throttle
from datanode.reporting import Reporter
from datanode.volume import will_pass
from dolmen.protocol.datanode_messages import (
    AnyCommand,
    ChangeKind,
    CheckReplica,
    InvalidateReplica,
    ReplicaState,
    ReportAgain,
    TransferReplica,
)
from dolmen.protocol.errors import (
    DataDamaged,
    DolmenError,
    NoSuchReplica,
    StaleGeneration,
)
from dolmen.protocol.tokens import Access

TRANSFERS_AT_ONCE = 4
"""Enough to fill disk and network from several sources; they share one rate."""

QUEUE_LIMIT = 1000
"""More orders than a namenode gives before it hears of the first ones."""

LOG = logging.getLogger("datanode")


class CommandRunner:
    """The queues of orders, and the tasks that work on them."""

    def __init__(
        self,
        store: BlockStore,
        copier: ReplicaCopier,
        tokens: TokenCheck,
        reporter: Reporter,
        throttle: Throttle,
    ) -> None:
        self._store = store
        self._copier = copier
        self._tokens = tokens
        self._reporter = reporter
        self._throttle = throttle
        self._transfers: asyncio.Queue[TransferReplica] = asyncio.Queue(QUEUE_LIMIT)
        self._checks: asyncio.Queue[CheckReplica] = asyncio.Queue(QUEUE_LIMIT)
        self._deletions: dict[int, int] = {}  # block id → stamp
        self._deletions_wait = asyncio.Event()

    def take(self, command: AnyCommand) -> None:
        """Queue an order; report it as failed if too many wait."""
        try:
            if isinstance(command, ReportAgain):
                self._reporter.report_all()
            elif isinstance(command, TransferReplica):
                self._deletions.pop(command.block_id, None)
                self._transfers.put_nowait(command)
            elif isinstance(command, CheckReplica):
                self._checks.put_nowait(command)
            elif isinstance(command, InvalidateReplica):
                self._take_deletion(command)
            else:
                self._reporter.command_failed(command.block_id, "this datanode keeps what it has")
        except asyncio.QueueFull:
            if not isinstance(command, ReportAgain):
                reason = f"{QUEUE_LIMIT} commands wait already"
                self._reporter.command_failed(command.block_id, reason)

    def _take_deletion(self, command: InvalidateReplica) -> None:
        if len(self._deletions) >= QUEUE_LIMIT:
            raise asyncio.QueueFull
        self._deletions[command.block_id] = command.stamp
        self._deletions_wait.set()

    def void_deletions(self) -> None:
        """The connection is lost: what was not deleted yet stays, and is reported."""
        self._deletions.clear()

    def suspect(self, block_id: int, stamp: int) -> None:
        """Have a replica checked that failed a read; if too many wait, its next reader tells."""
        if not self._checks.full():
            self._checks.put_nowait(CheckReplica(block_id, stamp))

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(TRANSFERS_AT_ONCE):
                group.create_task(self._work_on(self._transfers))
            group.create_task(self._work_on(self._checks))
            group.create_task(self._delete_ordered())

    async def _work_on(
        self, queue: asyncio.Queue[TransferReplica] | asyncio.Queue[CheckReplica]
    ) -> None:
        while True:
            command = await queue.get()
            name = type(command).__name__
            if isinstance(command, TransferReplica):
                await self._guarded(name, command.block_id, self._transfer(command))
            else:
                await self._guarded(name, command.block_id, self._check(command))

    async def _delete_ordered(self) -> None:
        while True:
            self._deletions_wait.clear()
            for block_id in list(self._deletions):
                deletion = self._store.work.run(self._invalidate(block_id))
                await self._guarded(InvalidateReplica.__name__, block_id, deletion)
            if not self._deletions:
                await self._deletions_wait.wait()

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
        order = CopyOrder(
            command.token, *block, command.length_bytes, command.digest, token.targets
        )
        await self._copier.copy(order, self._throttle)

    async def _invalidate(self, block_id: int) -> None:
        stamp = self._deletions.get(block_id)
        try:
            await self._store.invalidate(block_id, lambda: self._deletions.pop(block_id, None))
        except NoSuchReplica:
            if stamp is not None:
                self._store.tell_gone(block_id, stamp)

    async def _check(self, command: CheckReplica) -> None:
        """Read a replica whole, and put it aside if it is damaged."""
        store = self._store
        replica = store.find(command.block_id, command.stamp)
        if replica.state is not ReplicaState.FINALIZED:
            raise StaleGeneration(f"{replica} is not finalized")
        try:
            await store.verify(replica)
        except (DataDamaged, OSError) as error:
            if isinstance(error, OSError) and will_pass(error):
                raise
            await store.work.run(self._put_aside(command, str(error)))
        else:
            LOG.info("checked %s: it is good", replica)

    async def _put_aside(self, command: CheckReplica, reason: str) -> None:
        store = self._store
        async with store.gates.hold(command.block_id):
            replica = store.find(command.block_id, command.stamp)
            if replica.state is ReplicaState.FINALIZED:
                await store.put_aside(replica, ChangeKind.CORRUPT, reason)
