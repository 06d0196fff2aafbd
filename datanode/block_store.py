"""The replicas of this datanode: which there are, on which volume, and how they end.

The map is the truth for everybody who asks; what is on disk follows it under the gate of the block.
A replica leaves the map before its files go, and before the order to delete it is acknowledged
(rule 24). What is found damaged is put aside and reported, never deleted.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datanode.core.checksum_file import (
    FinalizedContents,
    decode,
    encode_records,
    encode_unfinished_header,
    records_end,
)
from datanode.core.layout import Place, checksums_name, data_name, group_of
from datanode.core.receiver import ReceivedChunks
from datanode.core.replicas import Replica, ReplicaEvent, next_state, no_such_replica
from datanode.gates import Gates
from datanode.volume import Volume
from datanode.work import Work
from dolmen.protocol.checksums import CHECKSUM_BYTES, CHUNK_BYTES, chunk_count, first_bad_chunk
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    ReplicaChange,
    ReplicaReport,
    ReplicaState,
)
from dolmen.protocol.errors import ChecksumMismatch, NoSpace, Overloaded
from dolmen.runtime.disk import DiskFile
from dolmen.runtime.transport import PIECE_BYTES

OPEN_REPLICAS_MAX = 256
"""Replicas whose two files are kept open: a process may have 1024 files by default."""

UNFINISHED_REPLICAS_MAX = 10_000
"""Each costs 12 bytes of memory a chunk, 24 KiB for a block of 128 MiB."""

LOG = logging.getLogger("datanode")


@dataclass(slots=True)
class OpenFiles:
    """The files of a replica that is being written."""

    data: DiskFile
    records: DiskFile
    records_end_bytes: int

    async def close(self) -> None:
        """Close both, without sync."""
        await self.data.close()
        await self.records.close()


class BlockStore:
    """All replicas on all volumes. `changed` hears what the namenode must be told."""

    def __init__(
        self,
        volumes: list[Volume],
        wall_clock_ms: Callable[[], int],
        changed: Callable[[ReplicaChange], None],
    ) -> None:
        self.volumes = volumes
        self.gates = Gates()
        self.work = Work()
        self._by_storage = {volume.storage_id: volume for volume in volumes}
        self._wall_clock_ms = wall_clock_ms
        self._changed = changed
        self._replicas: dict[int, Replica] = {}
        self._unfinished: set[int] = set()
        self._open: dict[int, OpenFiles] = {}

    # ------------------------------------------------------------ asking

    def get(self, block_id: int) -> Replica | None:
        """Return the replica of a block, whatever its stamp."""
        return self._replicas.get(block_id)

    def find(self, block_id: int, stamp: int) -> Replica:
        """Return the replica; NoSuchReplica, or StaleGeneration if it has another stamp."""
        replica = self._replicas.get(block_id)
        if replica is None:
            raise no_such_replica(block_id)
        replica.check_stamp(stamp)
        return replica

    def volume_of(self, replica: Replica) -> Volume:
        """Return the volume that holds the replica."""
        return self._by_storage[replica.storage_id]

    def choose_volume(self, length_bytes: int) -> Volume:
        """Return the volume with the most room; NoSpace if that is less than `length_bytes`."""
        best = max(self.volumes, key=lambda volume: volume.room_bytes)
        if best.room_bytes < length_bytes:
            raise NoSpace("; ".join(str(volume.no_space()) for volume in self.volumes))
        return best

    def inventory(self) -> list[tuple[str, list[int]]]:
        """Return (storage id, block ids ascending) of each volume, for a full report."""
        held: dict[str, list[int]] = {volume.storage_id: [] for volume in self.volumes}
        for block_id in sorted(self._replicas):
            held[self._replicas[block_id].storage_id].append(block_id)
        return list(held.items())

    def settled_replicas(self) -> list[tuple[int, int]]:
        """Return (block id, stamp) of the FINALIZED replicas whose gate nobody holds."""
        return [
            (block_id, replica.stamp)
            for block_id, replica in self._replicas.items()
            if replica.state is ReplicaState.FINALIZED and not self.gates.is_held(block_id)
        ]

    def report(self, block_id: int, storage_id: str) -> ReplicaReport | None:
        """Return what a full report says of a block; None if nothing, as of a copy begun."""
        replica = self._replicas.get(block_id)
        if replica is None or replica.storage_id != storage_id:
            return None
        return None if replica.state is ReplicaState.TEMPORARY else replica.report()

    def check_invariants(self) -> None:
        """Raise AssertionError if what is known of the replicas contradicts itself."""
        occupied = {volume.storage_id: 0 for volume in self.volumes}
        for replica in self._replicas.values():
            occupied[replica.storage_id] += replica.occupied_bytes
            finalized = replica.state is ReplicaState.FINALIZED
            assert finalized == (replica.received is None), f"{replica} has chunks, or lacks them"
            assert finalized != (replica.block_id in self._unfinished), f"{replica} is miscounted"
            if replica.received is not None:
                replica.received.check_invariants()
        assert self._unfinished <= self._replicas.keys(), "an unfinished replica does not exist"
        assert self._open.keys() <= self._unfinished, "files of no unfinished replica are open"
        for volume in self.volumes:
            assert volume.used_bytes == occupied[volume.storage_id], (
                f"{volume.root} counts {volume.used_bytes} bytes of {occupied[volume.storage_id]}"
            )

    # ------------------------------------------------------------ the map

    def add(self, replica: Replica) -> None:
        """A replica exists from now on."""
        if replica.block_id in self._replicas:
            raise AssertionError(f"{replica} exists twice")
        if replica.received is not None:
            self._unfinished.add(replica.block_id)
        self._replicas[replica.block_id] = replica
        self.volume_of(replica).used_bytes += replica.occupied_bytes

    def tell(self, kind: ChangeKind, replica: Replica) -> None:
        """Have the namenode told of a replica."""
        self._changed(ReplicaChange(kind, replica.storage_id, replica.report()))

    def tell_gone(self, block_id: int, stamp: int) -> None:
        """Have the namenode told that no volume holds this replica, as it believes."""
        for volume in self.volumes:
            report = ReplicaReport(block_id, stamp, 0, ReplicaState.FINALIZED)
            self._changed(ReplicaChange(ChangeKind.DELETED, volume.storage_id, report))

    def settled(self, replica: Replica) -> None:
        """The replica is FINALIZED."""
        self._unfinished.discard(replica.block_id)

    def resumed(self, replica: Replica) -> None:
        """The replica is written again."""
        self._unfinished.add(replica.block_id)

    def forget(self, replica: Replica) -> None:
        """The replica no longer exists for anybody who asks."""
        next_state(replica.state, ReplicaEvent.DROPPED)
        del self._replicas[replica.block_id]
        self._unfinished.discard(replica.block_id)
        self.volume_of(replica).used_bytes -= replica.occupied_bytes

    # ------------------------------------------------------------ files of unfinished replicas

    async def create(self, replica: Replica) -> None:
        """Make the files of a new replica, empty; nothing lasts yet. The gate is held."""
        if len(self._unfinished) >= UNFINISHED_REPLICAS_MAX:
            raise Overloaded(f"{len(self._unfinished)} replicas are being written here already")
        volume = self.volume_of(replica)
        temporary = replica.state is ReplicaState.TEMPORARY
        header = encode_unfinished_header(volume.cluster_id, replica.block_id, temporary=temporary)
        await volume.make_directory(Place.BEING_WRITTEN, replica.block_id)
        files = await self._open_files(replica, create=True)
        try:
            await files.data.truncate(0)
            await files.records.truncate(0)
            await files.records.write_at(0, header)
        except OSError:
            await files.close()
            raise
        files.records_end_bytes = len(header)
        await self._keep_open(replica.block_id, files)
        self.add(replica)

    async def files_of(self, replica: Replica) -> OpenFiles:
        """Return the files of an unfinished replica, open. The gate is held."""
        files = self._open.pop(replica.block_id, None)
        if files is not None:
            self._open[replica.block_id] = files  # the most recently used is last
            return files
        files = await self._open_files(replica, create=False)
        files.records_end_bytes = records_end(await files.records.size())
        await self._keep_open(replica.block_id, files)
        return files

    async def close_files(self, block_id: int) -> None:
        """Close the files of an unfinished replica, if they are open."""
        files = self._open.pop(block_id, None)
        if files is not None:
            await files.close()

    async def close(self) -> None:
        """Close all files, without sync."""
        for block_id in list(self._open):
            await self.close_files(block_id)

    def first_contents(self, replica: Replica, received: ReceivedChunks) -> bytes:
        """Return an unfinished replica's checksum file with the records of these chunks."""
        cluster_id = self.volume_of(replica).cluster_id
        header = encode_unfinished_header(cluster_id, replica.block_id, temporary=False)
        return header + encode_records(replica.block_id, received.records())

    async def _open_files(self, replica: Replica, *, create: bool) -> OpenFiles:
        volume, block_id = self.volume_of(replica), replica.block_id
        data = await volume.disk.open(
            volume.data_path(Place.BEING_WRITTEN, block_id), create=create
        )
        try:
            path = volume.checksums_path(Place.BEING_WRITTEN, block_id, replica.stamp)
            records = await volume.disk.open(path, create=create)
        except OSError:
            await data.close()
            raise
        return OpenFiles(data, records, 0)

    async def _keep_open(self, block_id: int, files: OpenFiles) -> None:
        self._open[block_id] = files
        if len(self._open) > OPEN_REPLICAS_MAX:
            idle = (one for one in self._open if not self.gates.is_held(one))
            oldest = next(idle, None)
            if oldest is not None:
                await self.close_files(oldest)

    # ------------------------------------------------------------ finalized replicas

    async def final_checksums(self, replica: Replica) -> bytes:
        """Return the packed checksums of a finalized replica from disk, verified by its digest."""
        volume = self.volume_of(replica)
        path = volume.checksums_path(Place.FINALIZED, replica.block_id, replica.stamp)
        contents = decode(await volume.disk.read_file(path), volume.cluster_id, replica.block_id)
        if not isinstance(contents, FinalizedContents) or contents.digest != replica.digest:
            raise ChecksumMismatch(f"the checksum file of {replica} is of another replica")
        return contents.checksums

    async def verify(self, replica: Replica) -> None:
        """Read a finalized replica whole; ChecksumMismatch, or OSError, if it is damaged."""
        checksums = await self.final_checksums(replica)
        volume = self.volume_of(replica)
        path = volume.data_path(Place.FINALIZED, replica.block_id)
        await verify_file(volume, path, replica.length_bytes, checksums)

    # ------------------------------------------------------------ ends

    async def invalidate(self, block_id: int, take_order: Callable[[], int | None]) -> None:
        """Delete a replica on the namenode's order, and tell it.

        `take_order` returns the stamp ordered deleted, or None if the order is void by the time
        that the gate is held: then nothing happens.
        """
        async with self.gates.hold(block_id):
            stamp = take_order()
            if stamp is None:
                return
            replica = self.find(block_id, stamp)
            if replica.state is ReplicaState.TEMPORARY:
                raise no_such_replica(block_id)  # nobody was told of it
            self.forget(replica)
            self.tell(ChangeKind.DELETED, replica)
            await self.close_files(block_id)
            volume = self.volume_of(replica)
            for place in (Place.FINALIZED, Place.BEING_WRITTEN):
                await volume.remove(place, block_id, stamp)
        LOG.info("deleted %s", replica)

    async def discard_copy(self, replica: Replica) -> None:
        """Drop a copy that failed. The gate is held."""
        self.forget(replica)
        await self.close_files(replica.block_id)
        volume = self.volume_of(replica)
        await volume.remove(Place.BEING_WRITTEN, replica.block_id, replica.stamp)

    async def put_aside(self, replica: Replica, kind: ChangeKind, reason: str) -> None:
        """Take a replica out of service, quarantine its files, tell. The gate is held."""
        LOG.warning("put %s aside: %s", replica, reason)
        self.forget(replica)
        await self.close_files(replica.block_id)
        self.tell(kind, replica)
        await self.quarantine_files(self.volume_of(replica), replica.block_id, [replica.stamp])

    async def quarantine_files(self, volume: Volume, block_id: int, stamps: Iterable[int]) -> None:
        """Move what there is of a block's files into quarantine; a disk that fails keeps them."""
        names = [data_name(block_id), *(checksums_name(block_id, stamp) for stamp in stamps)]
        for place in (Place.FINALIZED, Place.BEING_WRITTEN):
            try:
                await volume.make_directory(place, block_id)
                await volume.quarantine(place, group_of(block_id), names, self._wall_clock_ms())
            except OSError as error:
                LOG.error("block %016x cannot be put aside: %s", block_id, error)


async def verify_file(volume: Volume, path: str, length_bytes: int, checksums: bytes) -> None:
    """Compare a whole file with its checksums; ChecksumMismatch names the first bad chunk."""
    file = await volume.disk.open(path, writable=False)
    try:
        buffer = memoryview(bytearray(min(PIECE_BYTES, length_bytes)))
        for start in range(0, length_bytes, PIECE_BYTES):
            piece = buffer[: min(PIECE_BYTES, length_bytes - start)]
            if await file.read_into(start, piece) < len(piece):
                raise ChecksumMismatch(f"{path} is shorter than its {length_bytes} bytes")
            first, last = start // CHUNK_BYTES, chunk_count(start + len(piece))
            bad = first_bad_chunk(piece, checksums[first * CHECKSUM_BYTES : last * CHECKSUM_BYTES])
            if bad is not None:
                raise ChecksumMismatch(f"{path}: chunk {first + bad} fails its checksum")
    finally:
        await file.close()
