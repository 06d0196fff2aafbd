"""Races between replicas: what one has not delivered in time is asked of another one too.

A datanode that stands still keeps its connections, and one with a busy disk answers late: waiting
for them is what makes the slowest reads of a program slow. So a read that takes longer than its
like did of late (`core/recent_times`) is also asked of the next replica, into memory of its own
(`core/block_read.Twin`). The first good answer wins, and the other one is ended before the read
returns: nobody writes into the caller's memory after that. Who lost is avoided for a while
(`core/lost_races`), and how much is asked twice is bounded (`core/hedge_budget`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dolmen.client.core.block_read import BlockRead, Twin
from dolmen.client.core.hedge_budget import HedgeBudget
from dolmen.client.core.lost_races import LostRaces
from dolmen.client.core.recent_times import RecentTimes
from dolmen.protocol.client_messages import ReplicaLocation
from dolmen.protocol.errors import DolmenError

RACES_AT_ONCE = 4
"""With pieces of 4 MiB, 16 MiB of memory; who is late meanwhile waits for his turn."""


@dataclass
class HedgingFigures:
    """What was asked of datanodes for reads, and how the races went; they only grow."""

    asked: int = 0
    hedged: int = 0
    won: int = 0
    """Races that the replica won that was asked later."""
    refused: int = 0
    """Reads that were late when the budget was spent."""


@dataclass(frozen=True)
class Contest:
    """One read, and who may be asked for it."""

    kind: str
    read: BlockRead
    ask: Callable[[ReplicaLocation, BlockRead], Awaitable[None]]
    """Fill what a read wants from a replica."""
    failed: Callable[[ReplicaLocation, DolmenError], None]
    rival: Callable[[], ReplicaLocation | None]


class Hedging:
    """The races of one client. At most `share` of what is asked is asked twice."""

    def __init__(self, share: float) -> None:
        self.figures = HedgingFigures()
        self.lost = LostRaces()
        self._is_on = share > 0
        self._times = RecentTimes()
        self._budget = HedgeBudget(share)
        self._turns = asyncio.Semaphore(RACES_AT_ONCE)

    async def run(self, replica: ReplicaLocation, contest: Contest) -> None:
        """Ask `replica`, and a rival if it is late; return when the read goes no further."""
        length_bytes = _wanted_bytes(contest.read)
        self._budget.asked(length_bytes)
        self.figures.asked += 1
        start_s = _now_s()
        first = asyncio.create_task(self._ask(replica, contest, contest.read))
        try:
            late_after_s = self._times.late_after_s(contest.kind, length_bytes)
            await asyncio.wait([first], timeout=late_after_s if self._is_on else None)
            if first.done():
                if first.result():
                    self.lost.clear(replica.datanode_id)
            elif await self._race(first, contest):
                self.lost.add(replica.datanode_id, _now_s())
                self._times.took(contest.kind, length_bytes, _now_s() - start_s)
        finally:
            await _end(first)

    async def _race(self, first: "asyncio.Task[bool]", contest: Contest) -> bool:
        """Return when either has all, or both have failed; and whether the first one lost."""
        second = asyncio.create_task(self._ask_rival(contest))
        try:
            await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
            if second.done() and second.result() is None:
                await asyncio.wait([first])
            elif first.done() and not first.result():
                await asyncio.wait([second])
            if (first.done() and first.result()) or (twin := second.result()) is None:
                return False
            has_lost = not first.done()
            await _end(first)
            twin.give(contest.read)
        finally:
            await _end(second)
        self.figures.won += 1
        return has_lost

    async def _ask_rival(self, contest: Contest) -> Twin | None:
        """Ask another replica for what is still wanted; return it if that went well."""
        async with self._turns:
            rival = contest.rival()
            if rival is None or contest.read.is_done:
                return None
            twin = Twin(contest.read)
            if not self._budget.take(twin.left_bytes):
                self.figures.refused += 1
                return None
            self.figures.hedged += 1
            return twin if await self._ask(rival, contest, twin) else None

    async def _ask(self, replica: ReplicaLocation, contest: Contest, read: BlockRead) -> bool:
        """Fill `read` from one replica; return whether that went well."""
        length_bytes, start_s = _wanted_bytes(read), _now_s()
        try:
            await contest.ask(replica, read)
        except DolmenError as error:
            contest.failed(replica, error)
            return False
        self._times.took(contest.kind, length_bytes, _now_s() - start_s)
        return True


async def _end(task: "asyncio.Task[object]") -> None:
    """End a task, and return when it does nothing more."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # told by whoever waited for its result


def _wanted_bytes(read: BlockRead) -> int:
    return sum(piece.length for piece in read.wanted)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
