"""The worlds in which the Disk port's contract is tested."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any, Protocol

from dolmen.runtime.disk import Disk
from dolmen.runtime.thread_disk import ThreadDisk
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_storage import SimStorage

Scenario = Callable[[], Coroutine[Any, Any, None]]


class DiskWorld(Protocol):
    """A machine with a disk on which the directory `root` may be used."""

    root: str

    @property
    def disk(self) -> Disk: ...

    def another_process(self) -> Disk:
        """Return the disk as another process of the machine sees it."""

    def lose_power(self) -> None:
        """Take away what was not synced, as far as this world can."""

    def run(self, scenario: Scenario) -> None:
        """Run a scenario on this world's event loop."""


class RealDiskWorld:
    """A temporary directory of this machine. Its power stays on."""

    def __init__(self) -> None:
        self.disk = ThreadDisk()
        self._others: list[ThreadDisk] = []
        self._directory = tempfile.TemporaryDirectory()
        self.root = self._directory.name

    def another_process(self) -> ThreadDisk:
        self._others.append(ThreadDisk())
        return self._others[-1]

    def lose_power(self) -> None:
        assert Path(self.root).is_dir()

    def run(self, scenario: Scenario) -> None:
        with self._directory:
            try:
                asyncio.run(scenario())
            finally:
                for disk in [self.disk, *self._others]:
                    disk.close()


class SimDiskWorld:
    """A simulated machine."""

    root = "/data"

    def __init__(self, seed: int = 1) -> None:
        self.random = Random(seed)
        self.storage = SimStorage()
        self.disk = SimDisk(self.storage, "one")

    def another_process(self) -> SimDisk:
        return SimDisk(self.storage, "another")

    def lose_power(self) -> None:
        self.disk.kill()
        self.storage.crash(self.random)
        self.disk = SimDisk(self.storage, "restarted")

    def run(self, scenario: Scenario) -> None:
        virtual_time.run(self._run(scenario))

    async def _run(self, scenario: Scenario) -> None:
        await self.disk.make_directories(self.root)
        await scenario()
