"""A simulated machine: what stays when its processes die, and what a process gets from it.

The storage and the tables outlive every process. A killed process leaves them as they are at that
instant; a power loss takes from them what was not synced, and the machine comes back with another
boot id. Each life of a process has a transport, disks and chance of its own, and a share of the
event loop (`sim_process`) that can be paused.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TypeVar

from dolmen.runtime.machine import Machine
from dolmen.simulation.sim_clock import SimClock
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_file_passing import SimFilePassing
from dolmen.simulation.sim_inode import Keeps
from dolmen.simulation.sim_key_value import SimKeyValueStore
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_operations import DiskTimes
from dolmen.simulation.sim_process import SimProcess
from dolmen.simulation.sim_storage import SimStorage
from dolmen.simulation.sim_transport import SimTransport

T = TypeVar("T")


class SimMachine:
    """One machine, which runs one process at a time, both of the same name.

    A client may be on the `hosts` of datanodes: then files are passed to it there. In all else it
    is a machine of its own.
    """

    def __init__(
        self,
        name: str,
        network: SimNetwork,
        seed: int,
        times: DiskTimes | None = None,
        hosts: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._hosts = hosts or (name,)
        self.storage = SimStorage(now_s=asyncio.get_running_loop().time)
        self.tables = SimKeyValueStore()
        self.volumes: list[str] = []
        """The directories over which a disk of its own is plugged in."""
        self.clock = SimClock()
        self.process = SimProcess(name)
        """Its present life, or the last one."""
        self._network = network
        self._seed = seed
        self._times = times
        self._random = Random(f"{seed} {name}")
        self._lives = 0
        self._boots = 0
        self._disks: list[SimDisk] = []
        self._transport: SimTransport | None = None

    @property
    def open_files(self) -> int:
        """How many files the process that runs now, or ran last, has open."""
        return sum(disk.open_files for disk in self._disks)

    @property
    def has_its_disks(self) -> bool:
        """Whether no volume is pulled out."""
        return set(self.volumes) <= set(self.storage.plugged)

    def begin_life(self) -> Machine:
        """Return the ports of a new process."""
        self._lives += 1
        self._disks = []
        self.process = SimProcess(self.name)
        self._network.contexts[self.name] = self.process.context
        self._network.regain_power(self.name)
        self._transport = SimTransport(self._network, self.name)
        return Machine(
            transport=self._transport,
            open_disk=self._open_disk,
            tables=self.tables,
            wall_clock_ms=self.clock.now_ms,
            random=Random(f"{self._seed} {self.name} {self._lives}"),
            background=_at_once,
            boot_id=f"{self.name} {self._boots}",
            host_name=self.name,
            file_passing=SimFilePassing(
                self._network,
                self._hosts[0],
                self.name,
                Random(f"{self._seed} {self.name} files"),
                self._hosts[1:],
            ),
        )

    def end_life(self) -> None:
        """The process is dead: its connections are reset, and what runs on its disks stops."""
        if self._transport is not None:
            self._transport.abort()
        for disk in self._disks:
            disk.kill()

    def lose_power(self, keeps: Keeps = Keeps.SOME) -> None:
        """The machine stops until its next life begins: what was not synced may be gone."""
        self._network.lose_power(self.name)
        self.end_life()
        self.storage.crash(self._random, keeps)
        self.tables.lose_power()
        self._boots += 1

    def add_volume(self, directory: str) -> None:
        """Plug a disk in over a new directory."""
        self.storage.make_directory(directory)
        self.storage.sync_directory("/")
        self.storage.plug_in(directory)
        self.volumes.append(directory)

    def plant(self, path: str, data: bytes) -> None:
        """Put a file onto the disk before anything runs, lasting."""
        inode = self.storage.open(path, create=True)
        self.storage.write(inode, 0, data)
        self.storage.sync(inode)
        self.storage.sync_directory(path.rpartition("/")[0] or "/")

    def _open_disk(self) -> SimDisk:
        life = f"{self.name}, life {self._lives}"
        disk = SimDisk(self.storage, life, self._times, self._network.trace)
        self._disks.append(disk)
        return disk


def _at_once(work: Callable[[], T]) -> Awaitable[T]:
    return _done(work)


async def _done(work: Callable[[], T]) -> T:
    return work()
