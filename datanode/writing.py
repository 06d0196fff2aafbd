"""What a writer does to a replica: pieces of segments, finalize, restamp; each under the block's
gate.

A piece is written, then its chunk records are appended, then it counts as acknowledged. A replica
that a failing disk left in doubt (a failed sync, a rename half done) is put aside: a sync is never
repeated, because the kernel has dropped the pages. A full disk, one that became read-only, or too
many open files put nothing aside: what is acknowledged stays good.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import xxhash

from datanode.block_store import BlockStore
from datanode.core.checksum_file import FinalizedContents, encode_records
from datanode.core.layout import Place
from datanode.core.receiver import (
    ChunkRecord,
    Piece,
    Placement,
    ReceivedChunks,
    contradiction,
)
from datanode.core.replicas import Replica, ReplicaEvent, no_such_replica, state_after
from datanode.finalizing import finalize
from datanode.open_files import ReplicaFiles
from datanode.volume import SyncFailed, Volume, is_unwritable, will_pass
from dolmen.protocol.checksums import CHUNK_BYTES, block_digest
from dolmen.protocol.datanode_messages import ChangeKind, ReplicaState
from dolmen.protocol.errors import (
    ChecksumMismatch,
    DataDamaged,
    InvalidRequest,
    NoSuchReplica,
    StaleGeneration,
)

LOG = logging.getLogger("datanode")


class ReplicaWriter:
    """Changes replicas on behalf of their writers."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store

    # ------------------------------------------------------------ segments

    async def begin(self, block_id: int, stamp: int, length_bytes: int) -> None:
        """See that a replica is here that takes segments; make it if there is none."""
        await self._store.work.run(self._begin(block_id, stamp, length_bytes))

    async def _begin(self, block_id: int, stamp: int, length_bytes: int) -> None:
        store = self._store
        async with store.gates.hold(block_id):
            if store.get(block_id) is not None:
                self._find_open(block_id, stamp)
                return
            store.check_not_lost(block_id, stamp)
            store.tell(ChangeKind.STORED, await self._create(block_id, stamp, length_bytes))

    async def _create(self, block_id: int, stamp: int, length_bytes: int) -> Replica:
        """Make a replica on the first volume that takes it."""
        state = state_after(None, ReplicaEvent.FIRST_SEGMENT_ARRIVED)
        replica = Replica(block_id, stamp, state, "", ReceivedChunks())

        async def make_on(volume: Volume) -> None:
            replica.storage_id = volume.storage_id
            await self._store.create(replica)

        await on_some_volume(self._store, block_id, length_bytes, make_on)
        return replica

    def store(self, block_id: int, stamp: int, piece: Piece) -> "asyncio.Task[float]":
        """Begin to store a verified piece, which is acknowledged when that has ended; the result
        is how long it took."""
        return self._store.work.start(self._store_piece(block_id, stamp, piece))

    async def _store_piece(self, block_id: int, stamp: int, piece: Piece) -> float:
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        async with self._store.gates.hold(block_id):
            replica = self._find_open(block_id, stamp)
            received = replica.chunks()
            placement = received.place(piece)
            volume = self._store.volume_of(replica)
            promise = volume.take_room(sum(end - start for start, end in placement.writes))
            try:
                await self._write(replica, piece, placement)
            except OSError as error:
                raise volume.trouble(error, block_id) from error
            finally:
                promise.settle_all()
            before = received.stored_bytes
            for record in placement.records:
                received.record(record)
            volume.used_bytes += received.stored_bytes - before
        return clock() - begun_s

    async def _write(self, replica: Replica, piece: Piece, placement: Placement) -> None:
        files = await self._store.files_of(replica)
        records = encode_records(replica.block_id, placement.records)
        disk = self._store.volume_of(replica).disk
        await disk.in_one_go(_write_piece(files, piece, placement, records))
        files.records_end_bytes += len(records)

    def _find_open(self, block_id: int, stamp: int) -> Replica:
        replica = self._store.find(block_id, stamp)
        if replica.state is ReplicaState.WAITING_FOR_RECOVERY:
            raise StaleGeneration(f"{replica} needs a new stamp: this datanode was restarted")
        if replica.state is not ReplicaState.BEING_WRITTEN:
            raise InvalidRequest(f"{replica} takes no segments")
        return replica

    # ------------------------------------------------------------ finalize

    async def finalize(self, block_id: int, stamp: int, length_bytes: int, digest: bytes) -> None:
        """Make the replica FINALIZED and durable; repeated, it changes nothing."""
        await self._store.work.run(self._finalize(block_id, stamp, length_bytes, digest))

    async def _finalize(self, block_id: int, stamp: int, length_bytes: int, digest: bytes) -> None:
        async with self._store.gates.hold(block_id):
            replica = self._store.find(block_id, stamp)
            if replica.state is ReplicaState.FINALIZED:
                if (replica.length_bytes, replica.digest) != (length_bytes, digest):
                    raise InvalidRequest(f"{replica} has another length or digest")
                return
            if replica.state is ReplicaState.TEMPORARY:
                raise no_such_replica(block_id)
            _check_sound(replica)
            received = replica.chunks()
            if not received.prefix_bytes == received.end_bytes == length_bytes:
                raise ChecksumMismatch(
                    f"{replica} holds {received.prefix_bytes} bytes without a gap and ends at"
                    f" {received.end_bytes}; {length_bytes} were to be finalized"
                )
            checksums = received.checksums()
            if block_digest(length_bytes, checksums) != digest:
                raise ChecksumMismatch(f"{replica} does not have the digest to be finalized")
            event = ReplicaEvent.WRITER_FINALIZED
            await self.make_final(replica, event, digest, checksums)

    async def make_final(
        self, replica: Replica, event: ReplicaEvent, digest: bytes, checksums: bytes
    ) -> None:
        """Bring a replica that has all its bytes into its final form. The gate is held."""
        store, block_id = self._store, replica.block_id
        volume, length_bytes = store.volume_of(replica), replica.length_bytes
        contents = FinalizedContents(
            volume.cluster_id, block_id, replica.stamp, length_bytes, digest, checksums
        )
        try:
            await finalize(volume, await store.files_of(replica), contents)
            await store.close_files(block_id)
        except OSError as error:
            await self._in_doubt(replica, error)
            raise volume.trouble(error, block_id) from error
        replica.become_finalized(event, length_bytes, digest)
        store.settled(replica)
        store.tell(ChangeKind.STORED, replica)

    # ------------------------------------------------------------ restamp

    async def restamp(self, block_id: int, old: int, new: int, length_bytes: int) -> None:
        """Close the gate of the stamp `old`, cut to `length_bytes`, go on under `new`."""
        await self._store.work.run(self._restamp(block_id, old, new, length_bytes))

    async def _restamp(self, block_id: int, old: int, new: int, length_bytes: int) -> None:
        store = self._store
        async with store.gates.hold(block_id):
            replica = store.get(block_id)
            if replica is None or replica.state is ReplicaState.TEMPORARY:
                raise no_such_replica(block_id)
            _check_sound(replica)
            if (replica.stamp, replica.length_bytes) == (new, length_bytes) and (
                replica.state is ReplicaState.BEING_WRITTEN
            ):
                return  # a repeated request
            if not old <= replica.stamp < new:  # one in between was issued, and its answer lost
                raise StaleGeneration(f"{replica} cannot go from stamp {old} to {new}")
            if not 0 <= length_bytes <= replica.length_bytes:
                raise NoSuchReplica(
                    f"{replica} holds {replica.length_bytes} bytes, not the {length_bytes} wanted"
                )
            volume = store.volume_of(replica)
            try:
                received = await self._cut(replica, length_bytes)
                await store.close_files(block_id)
                await self._write_first_checksums(replica, new, received)
            except OSError as error:  # nothing has changed yet
                raise volume.trouble(error, block_id) from error
            try:
                await self._move_on(replica, length_bytes)
            except OSError as error:
                await self._in_doubt(replica, error)
                raise volume.trouble(error, block_id) from error
            volume.used_bytes -= replica.occupied_bytes - received.stored_bytes
            replica.become_written(ReplicaEvent.RESTAMPED, new, received)
            store.resumed(replica)
            store.tell(ChangeKind.STORED, replica)

    async def _cut(self, replica: Replica, length_bytes: int) -> ReceivedChunks:
        """Return the chunks of the first `length_bytes`, the last one with a new checksum."""
        received = replica.received
        place = Place.BEING_WRITTEN
        if received is None:
            place = Place.FINALIZED
            checksums = await self._store.final_checksums(replica)
            received = ReceivedChunks.of_whole(replica.length_bytes, checksums)
        index, rest_bytes = divmod(length_bytes, CHUNK_BYTES)
        cut = received.whole_chunks(index)
        if rest_bytes:
            known = received.known(index)
            assert known is not None, "the prefix is longer than this"
            chunk = await self._read_chunk(replica, place, known)
            checksum = xxhash.xxh3_64_digest(chunk[:rest_bytes])
            cut.record(ChunkRecord(index, rest_bytes, checksum))
        return cut

    async def _read_chunk(self, replica: Replica, place: Place, known: ChunkRecord) -> memoryview:
        volume = self._store.volume_of(replica)
        file = await volume.disk.open(volume.data_path(place, replica.block_id), writable=False)
        try:
            chunk = memoryview(bytearray(known.length_bytes))
            await file.read_into(known.index * CHUNK_BYTES, chunk)
        finally:
            await file.close()
        if xxhash.xxh3_64_digest(chunk) != known.checksum:
            reason = f"chunk {known.index} fails its checksum"
            if replica.state is ReplicaState.FINALIZED:
                await self._store.mark_damaged(replica, reason)
            else:
                await self._store.put_aside(replica, ChangeKind.CORRUPT, reason)
            raise ChecksumMismatch(f"{replica}: {reason}")
        return chunk

    async def _write_first_checksums(
        self, replica: Replica, stamp: int, received: ReceivedChunks
    ) -> None:
        """Write the checksum file of the new stamp beside the old one: the highest one counts."""
        volume, block_id = self._store.volume_of(replica), replica.block_id
        await volume.make_directory(Place.BEING_WRITTEN, block_id)
        path = volume.checksums_path(Place.BEING_WRITTEN, block_id, stamp)
        await volume.disk.write_file(path, self._store.first_contents(replica, received))

    async def _move_on(self, replica: Replica, length_bytes: int) -> None:
        """Bring the data file to where it is written, cut it, and drop the old checksum file."""
        volume, block_id = self._store.volume_of(replica), replica.block_id
        old = Place.BEING_WRITTEN
        if replica.state is ReplicaState.FINALIZED:
            old = Place.FINALIZED
            await volume.reopen(block_id)
        data = await volume.disk.open(volume.data_path(Place.BEING_WRITTEN, block_id))
        try:
            await data.truncate(length_bytes)
            await volume.sync_data(data)
        finally:
            await data.close()
        await volume.disk.remove(volume.checksums_path(old, block_id, replica.stamp))
        await volume.sync(lambda: volume.sync_directory(old, block_id))
        if old is not Place.BEING_WRITTEN:
            await volume.sync(lambda: volume.sync_directory(Place.BEING_WRITTEN, block_id))

    async def _in_doubt(self, replica: Replica, error: OSError) -> None:
        if will_pass(error) or (is_unwritable(error) and not isinstance(error, SyncFailed)):
            return
        if await self._store.volume_of(replica).is_there():
            await self._store.put_aside(replica, ChangeKind.CORRUPT, f"the disk failed: {error}")


async def on_some_volume(
    store: BlockStore, block_id: int, length_bytes: int, make: Callable[[Volume], Awaitable[None]]
) -> None:
    """Have something made on a volume with room: on the next one, where that fails."""
    failed = list[Volume]()
    while True:
        volume = store.choose_volume(length_bytes, failed)
        try:
            await make(volume)
        except OSError as error:
            trouble = volume.trouble(error, block_id)
            failed.append(volume)
            if all(one in failed for one in store.volumes):
                raise trouble from error
            LOG.warning("block %016x goes to another volume: %s", block_id, trouble)
        else:
            return


async def _write_piece(
    files: ReplicaFiles, piece: Piece, placement: Placement, records: bytes
) -> None:
    """Write what is new of a piece and then its records; to be done in one go."""
    for start, end in placement.compares:
        stored = memoryview(bytearray(end - start))
        await files.data.read_into(piece.offset_bytes + start, stored)
        if stored != piece.data[start:end]:
            raise contradiction((piece.offset_bytes + start) // CHUNK_BYTES)
    for start, end in placement.writes:
        await files.data.write_at(piece.offset_bytes + start, piece.data[start:end])
    if records:
        await files.records.write_at(files.records_end_bytes, records)


def _check_sound(replica: Replica) -> None:
    """Raise DataDamaged if nothing may be made of this replica any more."""
    if replica.state is ReplicaState.DAMAGED:
        raise DataDamaged(f"{replica} fails its checksums: it takes no part in writing")
