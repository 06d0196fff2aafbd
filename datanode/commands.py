"""Carries out the namenode's orders, a few at a time and as fast as repair may go.

Orders are queued, so that the call in which they came can be repeated at once; what does not fit,
or fails, is reported and planned again. Deleting and checking never wait behind copies.
"""

import asyncio
import logging

from datanode.access import TokenCheck
from datanode.block_store import BlockStore
from datanode.copying import CopyOrder, ReplicaCopier
from datanode.core.throttle import Throttle
from datanode.reporting import Reporter
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
        self._others: asyncio.Queue[InvalidateReplica | CheckReplica] = asyncio.Queue(QUEUE_LIMIT)

    def take(self, command: AnyCommand) -> None:
        """Queue an order; report it as failed if too many wait."""
        try:
            if isinstance(command, ReportAgain):
                self._reporter.report_all()
            elif isinstance(command, TransferReplica):
                self._transfers.put_nowait(command)
            else:
                self._others.put_nowait(command)
        except asyncio.QueueFull:
            if not isinstance(command, ReportAgain):
                reason = f"{QUEUE_LIMIT} commands wait already"
                self._reporter.command_failed(command.block_id, reason)

    def suspect(self, block_id: int, stamp: int) -> None:
        """Have a replica checked that failed a read; if too many wait, its next reader tells."""
        if not self._others.full():
            self._others.put_nowait(CheckReplica(block_id, stamp))

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(TRANSFERS_AT_ONCE):
                group.create_task(self._work_on(self._transfers))
            group.create_task(self._work_on(self._others))

    async def _work_on(
        self,
        queue: asyncio.Queue[TransferReplica] | asyncio.Queue[InvalidateReplica | CheckReplica],
    ) -> None:
        while True:
            command = await queue.get()
            try:
                await self._carry_out(command)
            except (DolmenError, OSError) as error:
                LOG.warning(
                    "%s of block %016x failed: %s", type(command).__name__, command.block_id, error
                )
                self._reporter.command_failed(command.block_id, str(error))

    async def _carry_out(self, command: TransferReplica | InvalidateReplica | CheckReplica) -> None:
        if isinstance(command, TransferReplica):
            await self._transfer(command)
        elif isinstance(command, InvalidateReplica):
            await self._store.work.run(self._invalidate(command))
        else:
            await self._check(command)

    async def _transfer(self, command: TransferReplica) -> None:
        block = (command.block_id, command.stamp)
        token = self._tokens.open_signed(command.token, block, Access.COPY)
        order = CopyOrder(
            command.token, *block, command.length_bytes, command.digest, token.targets
        )
        await self._copier.copy(order, self._throttle)

    async def _invalidate(self, command: InvalidateReplica) -> None:
        try:
            await self._store.invalidate(command.block_id, command.stamp)
        except NoSuchReplica:
            self._store.tell_gone(command.block_id, command.stamp)

    async def _check(self, command: CheckReplica) -> None:
        """Read a replica whole, and put it aside if it is damaged."""
        store = self._store
        replica = store.find(command.block_id, command.stamp)
        if replica.state is not ReplicaState.FINALIZED:
            raise StaleGeneration(f"{replica} is not finalized")
        try:
            await store.verify(replica)
        except (DataDamaged, OSError) as error:
            await store.work.run(self._put_aside(command, str(error)))
        else:
            LOG.info("checked %s: it is good", replica)

    async def _put_aside(self, command: CheckReplica, reason: str) -> None:
        store = self._store
        async with store.gates.hold(command.block_id):
            replica = store.find(command.block_id, command.stamp)
            if replica.state is ReplicaState.FINALIZED:
                await store.put_aside(replica, ChangeKind.CORRUPT, reason)
