"""Property 8: bounded resources return to their idle level.

When all clients are gone and everything has healed, as many tasks run, connections stand and files
are open on each machine as before the first client came; when all daemons have stopped, none.
Levels are the least and the most of several samples, because an idle cluster is not quite idle.
Memory is seen by what refers to it: files that are open, connections, tasks.

It cannot see what grows without any of these, or only for a while.
"""

import asyncio
from dataclasses import dataclass

from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.finding import CheckFailed

SAMPLES = 20
SAMPLE_S = 0.7
"""Not a divisor of any interval, so that samples fall into different phases of a second."""

ROUNDS = 10
"""Level are looked at again so often before they count as too high: scrubbing and checkpoints have
their time."""

EXPECTED_TASKS = 2
"""The run's own: what runs it and what waits for findings."""

Level = dict[str, int]


@dataclass
class IdleLevel:
    """The levels of an idle cluster."""

    cluster: SimCluster
    highest: Level | None = None

    async def learn(self) -> None:
        """Note the levels of a cluster that nobody has used."""
        samples = [await self._sample() for _ in range(SAMPLES)]
        self.highest = {name: max(sample[name] for sample in samples) for name in samples[0]}

    async def check(self) -> None:
        """Raise unless all levels have come back."""
        assert self.highest is not None, "learn first"
        for _ in range(ROUNDS):
            samples = [await self._sample() for _ in range(SAMPLES)]
            lowest = {name: min(sample[name] for sample in samples) for name in samples[0]}
            higher = {name: n for name, n in lowest.items() if n > self.highest[name]}
            if not higher:
                return
        raise CheckFailed(f"not idle again: {higher}, once at most {self.highest}")

    def check_nothing_is_left(self) -> None:
        """Raise if anything runs after all has stopped."""
        mine = {asyncio.current_task()}
        left = [task for task in asyncio.all_tasks() if task not in mine and not task.done()]
        waiting = sorted(repr(task.get_coro()) for task in left)
        if len(waiting) > EXPECTED_TASKS:
            raise CheckFailed(f"{len(waiting)} tasks are left behind: {waiting}")
        files = {name: n for name, n in self._open_files().items() if n}
        if files:
            raise CheckFailed(f"files are left open: {files}")

    async def _sample(self) -> Level:
        await asyncio.sleep(SAMPLE_S)
        level = {
            "tasks": sum(not task.done() for task in asyncio.all_tasks()),
            "connections": self.cluster.network.connections,
        }
        return level | self._open_files()

    def _open_files(self) -> Level:
        return {
            f"open files of {lives.machine.name}": lives.machine.open_files
            for lives in (self.cluster.namenode, *self.cluster.datanodes)
        }
