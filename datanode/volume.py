"""One volume: where its files are, how much room it has, and the steps that move a replica for
good.

The order of syncs and renames is rule 19: what a file holds is synced before its name counts, and
the directory that gains a name is synced before the one that loses it, so that a crash between any
two steps leaves something that `core.restart` can finish or undo.
"""

import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable

from datanode.core.checksum_file import FinalizedContents, encode_finalized
from datanode.core.layout import Place, block_directory, checksums_name, data_name
from dolmen.protocol.datanode_messages import StorageStatus
from dolmen.protocol.errors import DataDamaged, DolmenError, NoSpace
from dolmen.protocol.identifiers import format_block_id
from dolmen.runtime.disk import Disk, DiskFile

RESERVE_SHARE = 20
"""The reserve is at most one in this many bytes (5 %), so that small volumes can be used."""

LOG = logging.getLogger("datanode")


class Volume:
    """The files of the replicas on one disk."""

    def __init__(
        self, disk: Disk, root: str, cluster_id: str, storage_id: str, reserved_space_bytes: int
    ) -> None:
        self.disk = disk
        self.root = root
        self.cluster_id = cluster_id
        self.storage_id = storage_id
        self.used_bytes = 0
        self.suspect = False
        """A sync failed: no new replica goes here."""
        self._reserved_space_bytes = reserved_space_bytes
        self._capacity_bytes = 0
        self._free_bytes = 0
        self._made: set[str] = set()  # directories known to exist: 65,536 per tree at most

    def data_path(self, place: Place, block_id: int) -> str:
        """Return where the data file of a block is."""
        return f"{self.root}/{block_directory(place, block_id)}/{data_name(block_id)}"

    def checksums_path(self, place: Place, block_id: int, stamp: int) -> str:
        """Return where the checksum file of a replica is."""
        return f"{self.root}/{block_directory(place, block_id)}/{checksums_name(block_id, stamp)}"

    async def make_directory(self, place: Place, block_id: int) -> None:
        """Make the directory of a block's files, lasting, unless it is there."""
        path = f"{self.root}/{block_directory(place, block_id)}"
        if path not in self._made:
            await self.disk.make_directories(path)
            self._made.add(path)

    async def sync_directory(self, place: Place, block_id: int) -> None:
        """Make the names in the directory of a block's files last."""
        await self.disk.sync_directory(f"{self.root}/{block_directory(place, block_id)}")

    # ------------------------------------------------------------ room

    async def measure(self) -> None:
        """Ask the file system how much room there is."""
        self._capacity_bytes, self._free_bytes = await self.disk.space(self.root)

    @property
    def room_bytes(self) -> int:
        """What blocks may still take: the free space without the reserve."""
        reserve = min(self._reserved_space_bytes, self._capacity_bytes // RESERVE_SHARE)
        return 0 if self.suspect else max(0, self._free_bytes - reserve)

    def take_room(self, length_bytes: int) -> None:
        """Count bytes that are about to be written; NoSpace if they would go into the reserve."""
        if length_bytes > self.room_bytes:
            raise self.no_space()
        self._free_bytes -= length_bytes

    def no_space(self) -> NoSpace:
        """Return the error for bytes that this volume cannot take."""
        return NoSpace(
            f"volume {self.root} has {self.room_bytes} bytes free of {self._capacity_bytes}"
        )

    def status(self) -> StorageStatus:
        """Return what the namenode is told of this volume."""
        return StorageStatus(
            self.storage_id, self._capacity_bytes, self.used_bytes, self.room_bytes
        )

    def trouble(self, error: OSError, block_id: int) -> DolmenError:
        """Return the error for an operation that the disk failed."""
        if is_full(error):
            self._free_bytes = 0  # until it is measured again
            return self.no_space()
        return DataDamaged(f"block {format_block_id(block_id)} on {self.root}: {error}")

    # ------------------------------------------------------------ steps

    async def sync(self, sync: Callable[[], Awaitable[None]]) -> None:
        """Run a sync. One that fails is final: the volume takes nothing new from then on."""
        try:
            await sync()
        except OSError as error:
            if not will_pass(error):
                self._become_suspect(error)
            raise

    async def sync_data(self, data: DiskFile) -> None:
        """Sync the bytes of a replica. SyncFailed, whatever the reason is said to be: also a disk
        that was full when the kernel wrote them has lost them."""
        try:
            await data.sync()
        except OSError as error:
            self._become_suspect(error)
            raise SyncFailed(error.errno, error.strerror) from error

    def _become_suspect(self, error: OSError) -> None:
        self.suspect = True
        LOG.error("volume %s is suspect: a sync failed: %s", self.root, error)

    async def write_final_checksums(self, contents: FinalizedContents) -> None:
        """Replace the records of a replica whose data is synced by the final form."""
        block_id, stamp = contents.block_id, contents.stamp
        path = self.checksums_path(Place.BEING_WRITTEN, block_id, stamp)
        await self.sync(lambda: self.disk.write_file(path, encode_finalized(contents)))

    async def publish(self, block_id: int, stamp: int, data: Place, checksums: Place) -> None:
        """Move a finalized replica's files to where they belong from where they are, lasting."""
        await self.make_directory(Place.FINALIZED, block_id)
        if data is not Place.FINALIZED:
            await self.disk.rename(
                self.data_path(data, block_id), self.data_path(Place.FINALIZED, block_id)
            )
        if checksums is not Place.FINALIZED:
            await self.disk.rename(
                self.checksums_path(checksums, block_id, stamp),
                self.checksums_path(Place.FINALIZED, block_id, stamp),
            )
        await self.sync(lambda: self.sync_directory(Place.FINALIZED, block_id))
        if Place.BEING_WRITTEN in (data, checksums):
            await self.sync(lambda: self.sync_directory(Place.BEING_WRITTEN, block_id))

    async def reopen(self, block_id: int) -> None:
        """Move a finalized data file back among those being written, lasting."""
        await self.disk.rename(
            self.data_path(Place.FINALIZED, block_id),
            self.data_path(Place.BEING_WRITTEN, block_id),
        )
        await self.sync(lambda: self.sync_directory(Place.BEING_WRITTEN, block_id))

    async def remove(self, place: Place, block_id: int, stamp: int) -> None:
        """Remove a replica's files, the data first: checksums alone claim nothing."""
        for path in (
            self.data_path(place, block_id),
            self.checksums_path(place, block_id, stamp),
        ):
            with contextlib.suppress(FileNotFoundError):
                await self.disk.remove(path)

    async def quarantine(self, place: Place, group: str, names: list[str], mark: int) -> None:
        """Put files of a directory aside under names that no other one has, and keep them."""
        source = f"{self.root}/{place.value}/{group}"
        target = f"{self.root}/{Place.QUARANTINE.value}/{group}"
        await self.disk.make_directories(target)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                await self.disk.rename(f"{source}/{name}", f"{target}/{name}.{mark}")
        await self.sync(lambda: self.disk.sync_directory(target))
        await self.sync(lambda: self.disk.sync_directory(source))


class SyncFailed(OSError):
    """Bytes that were written may not be on disk, and a second sync would not tell."""


def is_full(error: OSError) -> bool:
    """Return whether the disk only had no room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def will_pass(error: OSError) -> bool:
    """Return whether an error says nothing about what is stored: something was short for now, on
    the disk or in the process."""
    if isinstance(error, SyncFailed):
        return False
    return is_full(error) or error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
