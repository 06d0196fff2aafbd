"""The kinds of work of one plan, beside each other: one task for each of them and each client."""

import asyncio

from dolmen.client.client import Client
from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.history import History, now_s
from dolmen.simulation.plan import Plan, client_name
from dolmen.simulation.trace import Trace
from dolmen.simulation.workloads.append import Append
from dolmen.simulation.workloads.balancing import Balancing
from dolmen.simulation.workloads.concat import Concat
from dolmen.simulation.workloads.contest import Contest
from dolmen.simulation.workloads.follow import Follow
from dolmen.simulation.workloads.follow_changes import FollowChanges
from dolmen.simulation.workloads.fsck import Fsck
from dolmen.simulation.workloads.hurried_readers import HurriedReaders
from dolmen.simulation.workloads.leaving import Leaving
from dolmen.simulation.workloads.long_readers import LongReaders
from dolmen.simulation.workloads.mass_delete import MassDelete
from dolmen.simulation.workloads.owned import Owned
from dolmen.simulation.workloads.recover_lease import RecoverLease
from dolmen.simulation.workloads.safe_mode import SafeMode
from dolmen.simulation.workloads.setrep import Setrep
from dolmen.simulation.workloads.shared import Shared
from dolmen.simulation.workloads.trees import Trees
from dolmen.simulation.workloads.truncate import Truncate
from dolmen.simulation.workloads.work import Post, Work

ALL: tuple[type[Work], ...] = (
    Owned,
    Shared,
    Contest,
    Trees,
    LongReaders,
    HurriedReaders,
    MassDelete,
    Setrep,
    Append,
    Truncate,
    Concat,
    Follow,
    FollowChanges,
    RecoverLease,
    Leaving,
    Balancing,
    Fsck,
    SafeMode,
)
KINDS = {kind.NAME: kind for kind in ALL}


class Workload:
    """Everything that all clients do, and its history."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self._plan = plan
        self.kinds = [KINDS[name] for name in plan.work.kinds]
        self.flat = [directory for kind in self.kinds for directory in kind.FLAT]
        self.history = History(plan, trace, self.flat)
        self.over = asyncio.Event()
        """Set when no further operation is to begin."""
        self._works = [
            [
                kind(Post(plan, self.history, index))
                for kind in self.kinds
                if not (kind.FOR_ONE and index)
            ]
            for index in range(plan.clients)
        ]

    async def set_up(self, inspector: Client) -> None:
        """Make the directories that are there before anything begins."""
        for directory in self.flat:
            await inspector.make_directory(directory, exist_ok=True)

    async def run(self, index: int, client: Client) -> None:
        """What one client does in one life."""
        self.history.extra_load.watch(client.hedging)
        async with asyncio.TaskGroup() as group:
            for work in self._works[index]:
                name = f"{client_name(index)} {work.NAME}"
                recorded = GrowingClient(name, client, self.history, work.random)
                group.create_task(self._repeat(work, recorded))

    async def finish(self, inspector: Client) -> None:
        """Undo what would keep the cluster from healing."""
        for work in self._works[0] if self._works else ():
            await work.finish(inspector)

    async def _repeat(self, work: Work, client: GrowingClient) -> None:
        mean_s = self._plan.work.pause_ms / 1000
        while not self.over.is_set():
            with self.history.activity.operation(growing=work.GROWS):
                await work.turn(client)
            pause_s = work.random.expovariate(1 / mean_s)
            await self._pause(pause_s + self._plan.work.rest_s(now_s() + pause_s))

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self.over.wait()
        except TimeoutError:
            return
