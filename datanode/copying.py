"""Making a replica here out of another datanode's: a repair, or a new member of a rebuilt pipeline.

The bytes are pulled from the sources that the token names (`pulling`), and each chunk was verified
before it is written. Until the copy is done the replica is TEMPORARY: nobody is told of it, and a
restart drops it.
"""

import logging
from dataclasses import dataclass

import xxhash

from datanode.block_store import BlockStore
from datanode.core.layout import Place
from datanode.core.receiver import ChunkRecord, ReceivedChunks
from datanode.core.replicas import Replica, ReplicaEvent, state_after
from datanode.core.room import Promise
from datanode.core.throttle import Throttle
from datanode.pulling import Pull, PullOrder, ReplicaPuller
from datanode.writing import ReplicaWriter
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import ChangeKind, ReplicaState
from dolmen.protocol.errors import InvalidRequest, NoSuchReplica, StaleGeneration

LOG = logging.getLogger("datanode")


class ReplicaCopier:
    """Copies replicas from other datanodes."""

    def __init__(self, puller: ReplicaPuller, store: BlockStore, writer: ReplicaWriter) -> None:
        self._puller = puller
        self._store = store
        self._writer = writer

    async def copy(self, order: PullOrder, throttle: Throttle | None) -> None:
        """Make the replica; when it is here already, in the wanted state, this changes nothing."""
        if not order.sources:
            raise InvalidRequest("the token names no source")
        begun: list[_Copy] = []
        try:
            await self._store.work.run(self._begin(order, throttle, begun))
            for copy in begun:
                await self._pull(copy)
                await self._store.work.run(self._finish(copy))
        except BaseException:  # also of a caller that went while a slow disk made the files
            await self._store.work.run(self._give_up(order.block_id, begun))
            raise
        for copy in begun:
            copy.promise.release()
            LOG.info("copied %s, %d bytes", copy.replica, order.length_bytes)

    async def _begin(
        self, order: PullOrder, throttle: Throttle | None, begun: "list[_Copy]"
    ) -> None:
        """Make a new TEMPORARY replica and add it to what is begun, unless what is wanted is here
        already."""
        store = self._store
        async with store.gates.hold(order.block_id):
            present = store.get(order.block_id)
            if present is not None and present.stamp >= order.stamp:
                _check_same(present, order)
                return
            if present is not None:
                await self._clear_away(present)
            volume = store.choose_volume(order.length_bytes)
            state = state_after(None, ReplicaEvent.COPY_STARTED)
            replica = Replica(
                order.block_id, order.stamp, state, volume.storage_id, ReceivedChunks()
            )
            promise = volume.take_room(order.length_bytes)
            try:
                await store.create(replica)
            except BaseException as error:
                promise.release()
                if isinstance(error, OSError):
                    raise volume.trouble(error, order.block_id) from error
                raise
            begun.append(_Copy(order, replica, throttle, promise))

    async def _clear_away(self, stale: Replica) -> None:
        """Make room for a newer stamp, as the token proves it is. The gate is held.

        What was never finished is half-written and superseded: nothing of it stays. What was
        finished once is kept, out of service.
        """
        if stale.received is None:
            await self._store.put_aside(stale, ChangeKind.DELETED, "a newer stamp is copied here")
            return
        try:
            await self._store.drop_unfinished(stale)
        except OSError as error:
            raise self._store.volume_of(stale).trouble(error, stale.block_id) from error

    async def _pull(self, copy: "_Copy") -> None:
        if not copy.order.length_bytes:
            return  # a pipeline rebuilt before anything was acknowledged: there is nothing to copy

        async def take(offset: int, data: memoryview) -> None:
            kept = data[: copy.order.length_bytes - offset]
            await self._store.work.run(self._write(copy.replica, offset, kept))
            copy.promise.settle(len(kept))

        pull = Pull(copy.order, copy.throttle, lambda: copy.replica.length_bytes, take)
        try:
            await self._puller.pull(pull)
        except OSError as error:
            volume = self._store.volume_of(copy.replica)
            raise volume.trouble(error, copy.order.block_id) from error

    async def _write(self, replica: Replica, offset: int, data: memoryview) -> None:
        store = self._store
        async with store.gates.hold(replica.block_id):
            self._check_current(replica)
            files = await store.files_of(replica)
            await files.data.write_at(offset, data)
            received = replica.chunks()
            before = received.stored_bytes
            for start in range(0, len(data), CHUNK_BYTES):
                chunk = data[start : start + CHUNK_BYTES]
                index = (offset + start) // CHUNK_BYTES
                checksum = xxhash.xxh3_64_digest(chunk)
                received.record(ChunkRecord(index, len(chunk), checksum))
            store.volume_of(replica).used_bytes += received.stored_bytes - before

    def _check_current(self, replica: Replica) -> None:
        """Raise if a copy under a newer stamp has begun in its place: the files are that one's."""
        if self._store.get(replica.block_id) is not replica:
            raise StaleGeneration(f"{replica} gave way to a copy under a newer stamp")

    # ------------------------------------------------------------ the end

    async def _finish(self, copy: "_Copy") -> None:
        """Make the replica what was wanted."""
        store, replica, order = self._store, copy.replica, copy.order
        async with store.gates.hold(order.block_id):
            self._check_current(replica)
            received = replica.chunks()
            if replica.length_bytes != order.length_bytes:
                raise NoSuchReplica(f"{replica} got {replica.length_bytes} bytes only")
            if order.digest:
                event = ReplicaEvent.COPY_FINALIZED
                await self._writer.make_final(replica, event, order.digest, received.checksums())
                return
            volume = store.volume_of(replica)
            try:
                files = await store.files_of(replica)
                await volume.sync_data(files.data)
                await store.close_files(order.block_id)
                path = volume.checksums_path(Place.BEING_WRITTEN, order.block_id, order.stamp)
                await volume.disk.write_file(path, store.first_contents(replica, received))
            except OSError as error:
                raise volume.trouble(error, order.block_id) from error
            replica.become_written(ReplicaEvent.PREFIX_COPIED, order.stamp, received)
            store.tell(ChangeKind.STORED, replica)

    async def _give_up(self, block_id: int, begun: "list[_Copy]") -> None:
        """Drop what was begun; whoever begins holds the gate until it is."""
        store = self._store
        async with store.gates.hold(block_id):
            for copy in begun:
                copy.promise.release()
                replica = copy.replica
                if store.get(block_id) is replica and replica.state is ReplicaState.TEMPORARY:
                    await store.drop_unfinished(replica)


@dataclass(frozen=True)
class _Copy:
    """One copy under way."""

    order: PullOrder
    replica: Replica
    throttle: Throttle | None
    promise: Promise
    """The room that it has on its volume, as far as it is not written yet."""


def _check_same(present: Replica, order: PullOrder) -> None:
    """Raise unless the replica that is here already is what the copy would make."""
    present.check_stamp(order.stamp)
    wanted = ReplicaState.FINALIZED if order.digest else ReplicaState.BEING_WRITTEN
    same = (present.state, present.length_bytes, present.digest)
    if same == (wanted, order.length_bytes, order.digest):
        return
    raise InvalidRequest(f"{present} is here already, {present.length_bytes} bytes long")
