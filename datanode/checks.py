"""Checks of replicas that somebody wants now: the namenode, or a reader for whom one failed.

A check that the namenode ordered is always answered, whatever comes of it; the answers are for the
connection that the order came over, and void with it. One block waits once.
"""

import asyncio
import logging

from datanode.reporting import Reporter
from datanode.verification import Verifier
from dolmen.protocol.datanode_messages import CheckReplica, ReplicaChecked
from dolmen.protocol.errors import DolmenError

CHECKS_AT_ONCE = 4
"""So that several volumes are read at a time, and one disk not by too many."""

WAITING_LIMIT = 10_000
"""A namenode has fewer under way with one datanode; what readers suspect fits beside them."""

LOG = logging.getLogger("datanode")

Block = tuple[int, int]
"""(block id, stamp)."""


class Checks:
    """The checks that wait, and the tasks that do them."""

    def __init__(self, verifier: Verifier, reporter: Reporter) -> None:
        self._verifier = verifier
        self._reporter = reporter
        self._waiting: dict[Block, bool] = {}  # whether the namenode waits for the answer
        self._wake = asyncio.Semaphore(0)

    def order(self, command: CheckReplica) -> None:
        """The namenode wants a replica checked."""
        if not self._add((command.block_id, command.stamp), answered=True):
            problem = f"{WAITING_LIMIT} checks wait already"
            self._reporter.checked(ReplicaChecked(command.block_id, command.stamp, problem))

    def suspect(self, block_id: int, stamp: int) -> None:
        """Have a replica checked that failed a read; if too many wait, its next reader tells."""
        self._add((block_id, stamp), answered=False)

    def connection_lost(self) -> None:
        """Nobody waits for answers any more."""
        self._waiting = dict.fromkeys(self._waiting, False)
        self._reporter.connection_lost()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CHECKS_AT_ONCE):
                group.create_task(self._work())

    def _add(self, block: Block, *, answered: bool) -> bool:
        """Return whether there was room."""
        if block in self._waiting:
            self._waiting[block] |= answered
        elif len(self._waiting) < WAITING_LIMIT:
            self._waiting[block] = answered
            self._wake.release()
        else:
            return False
        return True

    async def _work(self) -> None:
        while True:
            await self._wake.acquire()
            block = next(iter(self._waiting))
            answered = self._waiting.pop(block)
            problem = await self._check(block)
            if answered:
                self._reporter.checked(ReplicaChecked(*block, problem))

    async def _check(self, block: Block) -> str:
        try:
            problem = await self._verifier.verify(*block)
        except DolmenError as error:
            LOG.info("a check of block %016x came to nothing: %s", block[0], error)
            return error.message
        if not problem:
            LOG.info("checked block %016x: it is good", block[0])
        return problem
