"""A datanode with two disks that can be pulled out and plugged in, and what is on them."""

from collections.abc import Iterator

from datanode import Datanode
from datanode.volume import Volume
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.runtime.settings import Settings
from dolmen.simulation.sim_inode import SimInode
from dolmen.simulation.sim_storage import SimDirectory, SimStorage
from tests.unit.datanode.world import World, content

DATA = content(3 * CHUNK_BYTES + 5)
BOTH = {"directories": ("/d1", "/d2")}
CHECKED_S = 20.0
"""Longer than it takes to notice that a volume failed, or that it is back."""

BACK_S = 3.0
"""Longer than it takes until a volume that is back is used; in it few reads are tried again."""


class Rig:
    """A datanode with two disks, each plugged in at a directory of its own."""

    def __init__(self) -> None:
        self.world = World()
        self.world.settings = Settings(volume_check_interval_ms=1000)
        self.world.make("a")
        self.storage.make_directory("/d1")
        self.storage.make_directory("/d2")
        self.disks = [self.storage.plug_in("/d1"), self.storage.plug_in("/d2")]
        self.storage.sync_directory("/")

    @property
    def storage(self) -> SimStorage:
        return self.world.storages["a"]

    async def start(self) -> Datanode:
        return await self.world.start("a", **BOTH)

    def told(self) -> set[str]:
        """The volumes that the namenode was told of lately."""
        return {status.storage_id for status in self.world.namenode.heartbeats[-1].storages}

    def failed(self) -> tuple[str, ...]:
        return self.world.namenode.heartbeats[-1].health.failed_volumes

    async def store(self) -> int:
        """Have a finalized replica; return the number of the directory that it is in."""
        (a,) = self.world.targets("a")
        await self.world.write(DATA, a)
        await self.world.finalize(DATA, a)
        return self.where()

    def where(self) -> int:
        return next(n for n, disk in enumerate(self.disks) if files(disk, ".block")) + 1

    async def reads_well(self) -> bool:
        (a,) = self.world.targets("a")
        return await self.world.read(a, (0, len(DATA))) == DATA


def files(directory: SimDirectory, suffix: str) -> list[str]:
    found = []
    for name, node in directory.entries.items():
        if isinstance(node, SimDirectory):
            found += files(node, suffix)
        elif name.endswith(suffix):
            found.append(name)
    return found


def inodes(directory: SimDirectory) -> Iterator[SimInode]:
    for node in directory.entries.values():
        if isinstance(node, SimDirectory):
            yield from inodes(node)
        else:
            yield node


def volumes_of(node: Datanode) -> list[Volume]:
    assert node._serving is not None
    return node._serving.store.volumes
