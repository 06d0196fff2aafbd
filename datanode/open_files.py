"""The files of replicas that are being written, kept open between their pieces: a bounded number.

Whoever asks for a replica's files holds its gate; files whose gate nobody holds may be closed to
make room for others, and are opened again when they are needed.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from datanode.core.checksum_file import records_end
from datanode.core.layout import Place
from datanode.core.replicas import Replica
from datanode.gates import Gates
from datanode.volume import Volume
from dolmen.runtime.disk import DiskFile

OPEN_REPLICAS_MAX = 256
"""Replicas whose two files are kept open: a process may have 1024 files by default."""


@dataclass(slots=True)
class ReplicaFiles:
    """The files of one replica."""

    data: DiskFile
    records: DiskFile
    records_end_bytes: int

    async def close(self) -> None:
        """Close both, without sync."""
        await self.data.close()
        await self.records.close()


class OpenFiles:
    """The files that are open now, the most recently used ones last."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._open: dict[int, ReplicaFiles] = {}

    @property
    def block_ids(self) -> list[int]:
        """The blocks of whose replicas files are open."""
        return list(self._open)

    async def create(self, volume: Volume, replica: Replica, header: bytes) -> None:
        """Make the files of a new replica, empty but for the header of its records."""
        files = await volume.disk.in_one_go(_make(volume, replica, header))
        await self._keep(replica.block_id, files)

    async def get(self, volume: Volume, replica: Replica) -> ReplicaFiles:
        """Return the files of a replica, opened if they are not."""
        files = self._open.pop(replica.block_id, None)
        if files is not None:
            self._open[replica.block_id] = files
            return files
        files = await volume.disk.in_one_go(_open(volume, replica, create=False))
        files.records_end_bytes = records_end(await files.records.size())
        await self._keep(replica.block_id, files)
        return files

    async def close(self, block_id: int) -> None:
        """Close the files of a replica, if they are open."""
        files = self._open.pop(block_id, None)
        if files is not None:
            await files.close()

    async def close_of(self, block_ids: Iterable[int]) -> None:
        """Close the files of replicas that are lost, whatever their disk says to that."""
        lost = [self._open.pop(block_id, None) for block_id in block_ids]
        for files in lost:
            if files is not None:
                with contextlib.suppress(OSError):
                    await files.close()

    async def close_all(self) -> None:
        """Close all files, without sync."""
        for block_id in self.block_ids:
            await self.close(block_id)

    async def _keep(self, block_id: int, files: ReplicaFiles) -> None:
        self._open[block_id] = files
        if len(self._open) > OPEN_REPLICAS_MAX:
            idle = (one for one in self._open if not self._gates.is_held(one))
            oldest = next(idle, None)
            if oldest is not None:
                await self.close(oldest)


async def _make(volume: Volume, replica: Replica, header: bytes) -> ReplicaFiles:
    """Make files, or empty those that are there; to be done in one go."""
    files = await _open(volume, replica, create=True)
    try:
        await files.data.truncate(0)
        await files.records.truncate(0)
        await files.records.write_at(0, header)
    except OSError:
        await files.close()
        raise
    files.records_end_bytes = len(header)
    return files


async def _open(volume: Volume, replica: Replica, *, create: bool) -> ReplicaFiles:
    block_id = replica.block_id
    data = await volume.disk.open(volume.data_path(Place.BEING_WRITTEN, block_id), create=create)
    try:
        path = volume.checksums_path(Place.BEING_WRITTEN, block_id, replica.stamp)
        records = await volume.disk.open(path, create=create)
    except OSError:
        await data.close()
        raise
    return ReplicaFiles(data, records, 0)
