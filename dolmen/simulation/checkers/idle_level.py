"""Property 8: bounded resources return to their idle level.

When all clients are gone and everything has healed, as many tasks run, connections stand and files
are open on each machine as before the first client came; when all daemons have stopped, none.
Levels are the least and the most of several samples, because an idle cluster is not quite idle.
What the daemons hold in memory is measured whole (`checkers.memory`): no container of theirs has
grown by more than there is to remember, a few words for each file, block and replica that is left.

It cannot see what grows more slowly than what is stored, or only for a while, nor what clients
hold: they end.
"""

import asyncio
from dataclasses import dataclass

from dolmen.simulation.checkers.disks import read_stored, replicas_on
from dolmen.simulation.checkers.memory import measure
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

WORDS = 50
"""Entries that a container may gain for good: kinds of calls, hosts, directories that were made."""

Level = dict[str, int]


@dataclass
class IdleLevel:
    """The levels of an idle cluster."""

    cluster: SimCluster
    highest: Level | None = None
    held: Level | None = None
    """How long the containers of each daemon were."""

    async def learn(self) -> None:
        """Note the levels of a cluster that nobody has used."""
        self.held = self._measure()
        samples = [await self._sample() for _ in range(SAMPLES)]
        self.highest = {name: max(sample[name] for sample in samples) for name in samples[0]}

    async def check(self) -> None:
        """Raise unless all levels have come back."""
        assert self.highest is not None, "learn first"
        for _ in range(ROUNDS):
            samples = [await self._sample() for _ in range(SAMPLES)]
            lowest = {name: min(sample[name] for sample in samples) for name in samples[0]}
            higher = {name: n for name, n in lowest.items() if n > self.highest[name]}
            longer = self._longer()
            if not higher and not longer:
                return
        raise CheckFailed(f"not idle again: {higher or longer}, once at most {self.highest}")

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

    def _longer(self) -> Level:
        """Return the containers that hold more than there is to remember."""
        assert self.held is not None, "learn first"
        known = WORDS + len(replicas_on(self.cluster))
        if (stored := read_stored(self.cluster)) is not None:
            known += len(stored.inodes) + len(stored.blocks)
        return {
            name: length
            for name, length in self._measure().items()
            if length > self.held.get(name, 0) + known
        }

    def _measure(self) -> Level:
        return {
            f"{lives.machine.name} {name}": length
            for lives in (self.cluster.namenode, *self.cluster.datanodes)
            for name, length in measure(lives.process).items()
        }

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
