"""Property 1: every acknowledged byte is readable and equal while at least one of the replicas that
acknowledged it survives.

Three ways to look. When a publication is acknowledged, every block of the file is on as many disks
as a close waits for, unless faults of the plan destroy what is on disks. What a datanode had
finalized when its machine lost power is on its disk when the machine is back, byte by byte: a file
may be in its earlier place, if the process that moved it died before it could make that last. And
in the end, when all faults are over, every file that the namespace has is read whole by a client
that takes no error for an answer.

During a run a read may fail only if the plan has faults that are a reason (`Work.may_fail`). What
was lost and deleted before the end is not seen, nor bytes that only unfinished files had: nothing
acknowledges those for good yet.
"""

from datanode.core.layout import Place, block_directory, checksums_name, data_name
from datanode.node import Datanode
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.simulation.checkers.disks import find_live, has_good, read_stored, volumes_of
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.faults import LostVolume, Rot
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.growing_model import is_grown
from dolmen.simulation.history import Written
from dolmen.simulation.lives import Lives
from dolmen.simulation.versions import Versions

DESTROYING = (LostVolume, Rot)


class Lasting:
    """What a datanode had finalized is on its disk after a loss of power."""

    def __init__(self, lives: Lives) -> None:
        """Remember what must last, just before the power is lost."""
        self._lives = lives
        self._files: dict[tuple[int, str], bytes] = {}
        if isinstance(lives.process, Datanode):
            for block_id, stamp in lives.process.settled_replicas():
                for name in (data_name(block_id), checksums_name(block_id, stamp)):
                    for data in self._find(Place.FINALIZED, block_id, name):
                        self._files[block_id, name] = data

    def check(self) -> None:
        """Compare, before the datanode starts again."""
        for (block_id, name), data in self._files.items():
            places = (Place.FINALIZED, Place.BEING_WRITTEN)
            if not any(data in self._find(place, block_id, name) for place in places):
                raise CheckFailed(
                    f"{self._lives.machine.name} lost {name} with the power", (f"{block_id:016x}",)
                )

    def _find(self, place: Place, block_id: int, name: str) -> list[bytes]:
        """Return what files of this name hold, on all volumes."""
        storage = self._lives.machine.storage
        found = []
        for volume in volumes_of(self._lives):
            try:
                file = storage.file(f"{volume}/{block_directory(place, block_id)}/{name}")
            except OSError:
                continue
            found.append(bytes(file.data))
        return found


class Durable:
    """What was just acknowledged is on enough disks."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._seen: set[int] = set()
        self._applies = not any(isinstance(fault, DESTROYING) for fault in cluster.plan.faults)

    def check(self, info: Written) -> None:
        """Look at the disks, at the moment of the acknowledgement."""
        stored = read_stored(self._cluster) if self._applies else None
        if stored is None:
            return
        needed = min(self._cluster.settings.min_replicas, info.replication)
        for block in stored.blocks.values():
            if block.inode_id != info.inode_id or block.block_id in self._seen:
                continue  # what was there before this was acknowledged then
            self._seen.add(block.block_id)
            if find_live(self._cluster, block.block_id):
                there = sum(has_good(lives, block) for lives in self._cluster.datanodes)
                if there < needed:
                    about = (info.path, f"{block.block_id:016x}")
                    raise CheckFailed(
                        f"{info.path} was acknowledged with a block on {there} of {needed} disks",
                        about,
                    )


class AcknowledgedBytes:
    """Every file can be read."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def check(self, client: GrowingClient, entries: list[FileInfo]) -> None:
        """Read all files there are, whole."""
        for entry in entries:
            if entry.kind is EntryKind.FILE and not await self._read(client, entry):
                raise CheckFailed(
                    f"{entry.path} was acknowledged and cannot be read", (entry.path,)
                )

    async def _read(self, client: GrowingClient, entry: FileInfo) -> bool:
        if not is_grown(entry.path):
            return await client.read(entry.path) is not None
        content = await client.read_content(entry.path)
        if content is not None:
            self._versions.grown[entry.inode_id] = content.data
        return content is not None
