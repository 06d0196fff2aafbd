"""A block that arrives whole, in one piece: its replica is stored in its final form at once.

Nobody knows of the replica before it is FINALIZED, so nothing is kept of how far it came. Both
files are written beside their places, in the directory of finalized ones, under names that a
restart removes; they are synced, take their own names, and one sync of that directory makes these
last. The checksum file takes its name first: a crash between the two leaves checksums without data,
which claim nothing. Where a loss of power keeps the later name alone there is data without
checksums: it was acknowledged to nobody, and is put aside (`core.restart`).
"""

import asyncio
import contextlib
import errno

from datanode.block_store import BlockStore
from datanode.core.checksum_file import FinalizedContents, encode_finalized
from datanode.core.layout import NEW_SUFFIX, Place
from datanode.core.receiver import Piece
from datanode.core.replicas import Replica, ReplicaEvent, state_after
from datanode.volume import Volume, lasting, sync_bytes
from datanode.writing import ReplicaWriter, on_some_volume
from dolmen.protocol.checksums import block_digest
from dolmen.protocol.datanode_messages import ChangeKind
from dolmen.protocol.errors import ChecksumMismatch
from dolmen.runtime.disk import Disk


class WholeWriter:
    """Stores replicas of which all bytes are at hand."""

    def __init__(self, store: BlockStore, pieces: ReplicaWriter) -> None:
        self.pieces = pieces
        """Stores what comes in pieces."""
        self._store = store

    def store(
        self, block_id: int, stamp: int, piece: Piece, digest: bytes
    ) -> "asyncio.Task[float]":
        """Begin to make a verified piece a FINALIZED replica, durable; the result is how long it
        took. Repeated, it changes nothing."""
        return self._store.work.start(self._store_whole(block_id, stamp, piece, digest))

    async def _store_whole(self, block_id: int, stamp: int, piece: Piece, digest: bytes) -> float:
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        if not await self._store_new(block_id, stamp, piece, digest):
            await self.pieces.finalize(block_id, stamp, len(piece.data), digest)
        return clock() - begun_s

    async def _store_new(self, block_id: int, stamp: int, piece: Piece, digest: bytes) -> bool:
        """Return whether it was done: it is not if there is a replica of this block already."""
        store, length_bytes = self._store, len(piece.data)
        async with store.gates.hold(block_id):
            if store.get(block_id) is not None:
                return False
            store.check_not_lost(block_id, stamp)
            state = state_after(None, ReplicaEvent.ARRIVED_WHOLE)
            replica = Replica(block_id, stamp, state, "", stored_bytes=length_bytes, digest=digest)
            if block_digest(length_bytes, piece.checksums) != digest:
                raise ChecksumMismatch(f"{replica} does not have the digest to be finalized")

            async def make_on(volume: Volume) -> None:
                replica.storage_id = volume.storage_id
                await self._make(volume, replica, piece)

            await on_some_volume(store, block_id, length_bytes, make_on)
            store.add(replica)
            store.settled(replica)
            store.tell(ChangeKind.STORED, replica)
        return True

    async def _make(self, volume: Volume, replica: Replica, piece: Piece) -> None:
        """Make the files of a replica; OSError also if its volume fails meanwhile."""
        block_id, stamp = replica.block_id, replica.stamp
        contents = FinalizedContents(
            volume.cluster_id,
            block_id,
            stamp,
            replica.length_bytes,
            replica.digest,
            piece.checksums,
        )
        promise = volume.take_room(replica.length_bytes)
        try:
            await volume.make_directory(Place.FINALIZED, block_id)
            await volume.make_last(_steps(volume, contents, piece.data))
            if volume not in self._store.volumes:  # `BlockStore.lose` has not seen this replica
                raise OSError(errno.EIO, "the volume has failed", volume.root)
        except OSError:
            await _take_back(volume, block_id, stamp)
            raise
        finally:
            promise.settle_all()


async def _steps(volume: Volume, contents: FinalizedContents, data: memoryview) -> None:
    """Write both files and give them their names; to be done in one go."""
    data_path, checksums_path = _paths(volume, contents.block_id, contents.stamp)
    await _write(volume.disk, data_path + NEW_SUFFIX, data)
    await _write(volume.disk, checksums_path + NEW_SUFFIX, memoryview(encode_finalized(contents)))
    await volume.disk.rename(checksums_path + NEW_SUFFIX, checksums_path)
    await volume.disk.rename(data_path + NEW_SUFFIX, data_path)
    await lasting(volume.sync_directory(Place.FINALIZED, contents.block_id))


async def _write(disk: Disk, path: str, data: memoryview) -> None:
    file = await disk.open(path, create=True)
    try:
        await file.truncate(0)  # one may be left
        await file.write_at(0, data)
        await sync_bytes(file)
    finally:
        await file.close()


async def _take_back(volume: Volume, block_id: int, stamp: int) -> None:
    """Remove what there may be; what the disk does not let go is looked at again."""
    data_path, checksums_path = _paths(volume, block_id, stamp)
    try:
        for path in (data_path, checksums_path):
            for name in (path + NEW_SUFFIX, path):
                with contextlib.suppress(FileNotFoundError):
                    await volume.disk.remove(name)
    except OSError:
        volume.unread.setdefault(block_id, 0)


def _paths(volume: Volume, block_id: int, stamp: int) -> tuple[str, str]:
    return (
        volume.data_path(Place.FINALIZED, block_id),
        volume.checksums_path(Place.FINALIZED, block_id, stamp),
    )
