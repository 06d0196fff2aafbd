"""One volume: where its files are, how much room it has, how it fares, and the steps that move a
replica for good.

The order of syncs and renames is rule 19: what a file holds is synced before its name counts, and
the directory that gains a name is synced before the one that loses it, so that a crash between any
two steps leaves something that `core.restart` can finish or undo.

Steps that belong together are a coroutine that awaits this volume's disk alone and is done in one
go, on a thread: it changes nothing of the volume.

Where a disk was unmounted there is an empty directory that can be written. So a directory is made
only below a root whose VERSION file is the volume's, and a file that is missing means nothing until
`is_there` says that the volume is not.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from datanode.core.layout import (
    Place,
    block_directory,
    checksums_name,
    data_name,
    group_of,
    marker_name,
)
from datanode.core.quarantine_entry import About
from datanode.core.room import Promise, Room
from datanode.core.volume_states import TRANSITIONS, VolumeEvent, VolumeState
from datanode.quarantine import Quarantine
from datanode.version_file import DirectoryUnusable, read_identity
from dolmen.protocol.datanode_messages import StorageStatus
from dolmen.protocol.errors import DataDamaged, DolmenError, NoSpace, StartRefused
from dolmen.protocol.identifiers import format_block_id
from dolmen.runtime.disk import Disk, DiskFile
from dolmen.runtime.metrics import Histogram

MARKER_LIMIT_BYTES = 1000
"""Enough to say what was wrong."""

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
        self.quarantine = Quarantine(disk, root)
        self.used_bytes = 0
        self.sync_seconds = Histogram()
        self.state = VolumeState.HEALTHY
        self.reason = ""
        """Why it is not healthy."""
        self.wants_check = asyncio.Event()
        """Something happened that the watch should look at now."""
        self.unread: dict[int, int] = {}
        """Blocks whose files the disk did not let us read or put aside, and how often."""
        self._room = Room(reserved_space_bytes)
        self._made: set[str] = set()  # directories known to exist: 65,536 per tree at most

    def data_path(self, place: Place, block_id: int) -> str:
        """Return where the data file of a block is."""
        return f"{self.root}/{block_directory(place, block_id)}/{data_name(block_id)}"

    def checksums_path(self, place: Place, block_id: int, stamp: int) -> str:
        """Return where the checksum file of a replica is."""
        return f"{self.root}/{block_directory(place, block_id)}/{checksums_name(block_id, stamp)}"

    def marker_path(self, block_id: int, stamp: int) -> str:
        """Return where the file is that marks a replica as DAMAGED."""
        directory = block_directory(Place.FINALIZED, block_id)
        return f"{self.root}/{directory}/{marker_name(block_id, stamp)}"

    async def make_directory(self, place: Place, block_id: int) -> None:
        """Make the directory of a block's files, lasting, unless it is there."""
        await self.make_below(block_directory(place, block_id))

    async def make_below(self, name: str) -> None:
        """Make a directory below the root, lasting, unless it is there; never the root itself."""
        if name not in self._made:
            if not await self.is_there():
                raise FileNotFoundError(errno.ENOENT, "the volume is not there", self.root)
            await self.disk.make_directories(f"{self.root}/{name}", below=self.root)
            self._made.add(name)

    async def sync_directory(self, place: Place, block_id: int) -> None:
        """Make the names in the directory of a block's files last."""
        await self.disk.sync_directory(f"{self.root}/{block_directory(place, block_id)}")

    # ------------------------------------------------------------ room

    async def measure(self) -> None:
        """Ask the file system how much room there is."""
        begun = self._room.begin_measuring()
        capacity_bytes, free_bytes = await self.disk.space(self.root)
        self._room.measured(begun, capacity_bytes, free_bytes)

    @property
    def capacity_bytes(self) -> int:
        """The size of the file system, as last measured."""
        return self._room.capacity_bytes

    @property
    def room_bytes(self) -> int:
        """What blocks may still take: the free space without the reserve and what is promised."""
        return self._room.left_bytes if self.state is VolumeState.HEALTHY else 0

    def take_room(self, length_bytes: int) -> Promise:
        """Promise room for bytes to be written; NoSpace if they would go into the reserve."""
        if length_bytes > self.room_bytes:
            raise self.no_space()
        return self._room.promise(length_bytes)

    def no_space(self) -> NoSpace:
        """Return the error for bytes that this volume cannot take."""
        state = "" if self.state is VolumeState.HEALTHY else f" and is {self.state.value}"
        return NoSpace(
            f"volume {self.root} has {self.room_bytes} bytes free of {self._room.capacity_bytes}"
            f"{state}"
        )

    def status(self) -> StorageStatus:
        """Return what the namenode is told of this volume."""
        return StorageStatus(
            self.storage_id, self._room.capacity_bytes, self.used_bytes, self.room_bytes
        )

    # ------------------------------------------------------------ trouble

    def trouble(self, error: OSError, block_id: int) -> DolmenError:
        """Return the error for an operation that the disk failed, and have the volume looked at."""
        if is_full(error):
            self._room.is_full()  # until it is measured again
            return self.no_space()
        self.hear(error)
        return DataDamaged(f"block {format_block_id(block_id)} on {self.root}: {error}")

    def hear(self, error: OSError) -> None:
        """An operation failed: if that may be the volume's fault, have it looked at."""
        if will_pass(error):
            return
        if is_unwritable(error):
            self.happened(VolumeEvent.WRITE_FAILED, str(error))
        self.check_soon()

    def check_soon(self) -> None:
        """Have the volume looked at now: something on it is not as it should be."""
        self.wants_check.set()

    async def is_there(self) -> bool:
        """Return whether the directory still holds this volume; if not, have it looked at.

        Whoever misses a file asks this first: of a volume that vanished no replica is damaged.
        """
        try:
            identity = await read_identity(self.disk, self.root)
        except (OSError, DirectoryUnusable, StartRefused) as error:
            if isinstance(error, OSError) and will_pass(error):
                return True
            identity = None
        if identity is not None and identity.storage_id == self.storage_id:
            return True
        self.check_soon()
        return False

    def happened(self, event: VolumeEvent, reason: str) -> None:
        """Change the state as the table says."""
        after = TRANSITIONS[self.state, event]
        if after is not self.state:
            story = f": {reason}" if reason else " again"
            level = logging.INFO if after is VolumeState.HEALTHY else logging.ERROR
            LOG.log(level, "volume %s is %s%s", self.root, after.value, story)
            self.state, self.reason = after, reason

    # ------------------------------------------------------------ steps

    async def sync(self, sync: Callable[[], Awaitable[None]]) -> None:
        """Run a sync. One that fails is final: the volume takes nothing new from then on."""
        begun_s = asyncio.get_running_loop().time()
        try:
            await sync()
        except OSError as error:
            if not will_pass(error):
                self._become_suspect(error)
            raise
        self.sync_seconds.observe(asyncio.get_running_loop().time() - begun_s)

    async def sync_data(self, data: DiskFile) -> None:
        """Sync the bytes of a replica; SyncFailed."""
        await self.make_last(sync_bytes(data))

    async def make_last(self, steps: Coroutine[Any, Any, None]) -> None:
        """Do steps in one go, some of them syncs; one that fails is final, as in `sync`."""
        begun_s = asyncio.get_running_loop().time()
        try:
            await self.disk.in_one_go(steps)
        except (SyncFailed, NamesInDoubt) as error:
            self._become_suspect(error)
            raise
        self.sync_seconds.observe(asyncio.get_running_loop().time() - begun_s)

    def _become_suspect(self, error: OSError) -> None:
        self.happened(VolumeEvent.SYNC_FAILED, f"a sync failed: {error}")
        self.check_soon()

    async def publish(self, block_id: int, stamp: int, data: Place, checksums: Place) -> None:
        """Move a finalized replica's files to where they belong from where they are, lasting."""
        await self.make_directory(Place.FINALIZED, block_id)
        await self.make_last(self.move(block_id, stamp, data, checksums))

    async def move(self, block_id: int, stamp: int, data: Place, checksums: Place) -> None:
        """The steps of `publish`, for a directory that is there."""
        if data is not Place.FINALIZED:
            await self.disk.rename(
                self.data_path(data, block_id), self.data_path(Place.FINALIZED, block_id)
            )
        if checksums is not Place.FINALIZED:
            await self.disk.rename(
                self.checksums_path(checksums, block_id, stamp),
                self.checksums_path(Place.FINALIZED, block_id, stamp),
            )
        await lasting(self.sync_directory(Place.FINALIZED, block_id))
        if Place.BEING_WRITTEN in (data, checksums):
            await lasting(self.sync_directory(Place.BEING_WRITTEN, block_id))

    async def reopen(self, block_id: int) -> None:
        """Move a finalized data file back among those being written, lasting."""
        await self.disk.rename(
            self.data_path(Place.FINALIZED, block_id),
            self.data_path(Place.BEING_WRITTEN, block_id),
        )
        await self.sync(lambda: self.sync_directory(Place.BEING_WRITTEN, block_id))

    async def remove(self, block_id: int, stamp: int, *places: Place) -> None:
        """Remove a replica's files, the data first: checksums alone claim nothing."""
        await self.disk.in_one_go(self._remove(block_id, stamp, places))

    async def _remove(self, block_id: int, stamp: int, places: tuple[Place, ...]) -> None:
        for place in places:
            for path in (
                self.data_path(place, block_id),
                self.checksums_path(place, block_id, stamp),
            ):
                with contextlib.suppress(FileNotFoundError):
                    await self.disk.remove(path)

    async def mark_damaged(self, block_id: int, stamp: int, reason: str) -> None:
        """Have a restart know that a replica is DAMAGED; a disk that fails at it may forget."""
        try:
            text = reason.encode()[:MARKER_LIMIT_BYTES] + b"\n"
            await self.disk.write_file(self.marker_path(block_id, stamp), text)
        except OSError as error:
            LOG.error("block %s cannot be marked: %s", format_block_id(block_id), error)

    async def unmark(self, block_id: int, stamp: int) -> None:
        """A replica is not DAMAGED, or not there, any more."""
        with contextlib.suppress(FileNotFoundError):
            await self.disk.remove(self.marker_path(block_id, stamp))

    async def put_aside(self, place: Place, names: list[str], about: About, now_ms: int) -> None:
        """Move files of a block's directory into quarantine, lasting."""
        assert about.block_id is not None, "files of no block are put aside by their directory"
        source = f"{place.value}/{group_of(about.block_id)}"
        await self.put_group_aside(source, names, about, now_ms)

    async def put_group_aside(
        self, source: str, names: list[str], about: About, now_ms: int
    ) -> None:
        """Move files of the directory `source`, relative to the root, into quarantine, lasting."""
        await self.make_below(Place.QUARANTINE.value)
        await self.sync(lambda: self.quarantine.put(source, names, about, now_ms))


class SyncFailed(OSError):
    """Bytes that were written may not be on disk, and a second sync would not tell."""


class NamesInDoubt(OSError):
    """Names, or a small file, may not be on disk, and a second sync would not tell."""


async def sync_bytes(data: DiskFile) -> None:
    """Sync the bytes of a replica. SyncFailed, whatever the reason is said to be: also a disk that
    was full when the kernel wrote them has lost them."""
    try:
        await data.sync()
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


async def lasting(sync: Coroutine[Any, Any, None]) -> None:
    """Await what makes names, or a small file, last. NamesInDoubt unless the error will pass."""
    try:
        await sync
    except OSError as error:
        if will_pass(error):
            raise
        raise NamesInDoubt(error.errno, error.strerror) from error


def is_full(error: OSError) -> bool:
    """Return whether the disk only had no room, or none for a file so long."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_unwritable(error: OSError) -> bool:
    """Return whether the disk only does not let itself be written."""
    return error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


def will_pass(error: OSError) -> bool:
    """Return whether an error says nothing about what is stored: something was short for now, on
    the disk or in the process."""
    if isinstance(error, SyncFailed):
        return False
    return is_full(error) or error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
