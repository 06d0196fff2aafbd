"""Making a replica here out of another datanode's: a repair, or a new member of a rebuilt pipeline.

The copy is pulled: first the list of checksums, which the digest vouches for, then the bytes, each
chunk verified before it is written. Sources are tried in the order of the token; one that breaks
off or serves bad bytes is followed by the next, which goes on where the good bytes ended. Until it
is done the replica is TEMPORARY: nobody is told of it, and a restart drops it.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import xxhash

from datanode.block_store import BlockStore
from datanode.core.layout import Place
from datanode.core.receiver import ChunkRecord, ReceivedChunks
from datanode.core.replicas import Replica, ReplicaEvent, state_after
from datanode.core.room import Promise
from datanode.core.throttle import Throttle
from datanode.writing import ReplicaWriter
from dolmen.protocol.block_messages import (
    ChecksumsFollow,
    RangesFollow,
    ReadChecksums,
    ReadRanges,
    decode_block_reply,
    encode_head,
)
from dolmen.protocol.checksums import (
    CHECKSUM_BYTES,
    CHUNK_BYTES,
    block_digest,
    chunk_count,
    first_bad_chunk,
)
from dolmen.protocol.datanode_messages import ChangeKind, ReplicaState
from dolmen.protocol.errors import (
    ChecksumMismatch,
    DolmenError,
    InvalidRequest,
    NoSuchReplica,
    PeerLost,
    StaleGeneration,
)
from dolmen.protocol.identifiers import format_block_id
from dolmen.protocol.tokens import Target
from dolmen.runtime.peer_watch import PeerWatch
from dolmen.runtime.transport import PIECE_BYTES, Answered, Transport

COPY_PIECE_BYTES = 8 * CHUNK_BYTES

CHECKSUMS_LIMIT_BYTES = PIECE_BYTES
"""Enough for 8 GiB, four times the longest block there can be."""

LOG = logging.getLogger("datanode")


@dataclass(frozen=True)
class CopyOrder:
    """What is to be copied: without a digest it becomes a replica being written."""

    token: bytes
    block_id: int
    stamp: int
    length_bytes: int
    digest: bytes
    sources: tuple[Target, ...]


class ReplicaCopier:
    """Copies replicas from other datanodes.

    `bad_source` hears (block id, stamp, datanode id) of a source whose bytes fail their checksums.
    """

    def __init__(
        self,
        transport: Transport,
        store: BlockStore,
        writer: ReplicaWriter,
        stall_s: float,
        bad_source: Callable[[int, int, str], None],
    ) -> None:
        self._transport = transport
        self._watch = PeerWatch(transport)
        self._store = store
        self._writer = writer
        self._stall_s = stall_s
        self._bad_source = bad_source

    async def copy(self, order: CopyOrder, throttle: Throttle | None) -> None:
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
        self, order: CopyOrder, throttle: Throttle | None, begun: "list[_Copy]"
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

    # ------------------------------------------------------------ pulling

    async def _pull(self, copy: "_Copy") -> None:
        if not copy.order.length_bytes:
            return  # a pipeline rebuilt before anything was acknowledged: there is nothing to copy
        failures = []
        for source in copy.order.sources:
            try:
                await self._watch.over(source.address, self._pull_from(copy, source.address))
                return
            except DolmenError as error:
                failures.append(f"{source.address}: {error}")
                if isinstance(error, ChecksumMismatch):
                    order = copy.order
                    self._bad_source(order.block_id, order.stamp, source.datanode_id)
                LOG.warning("block %016x: source %s", copy.order.block_id, failures[-1])
            except OSError as error:
                volume = self._store.volume_of(copy.replica)
                raise volume.trouble(error, copy.order.block_id) from error
        raise NoSuchReplica(
            f"no source gave block {format_block_id(copy.order.block_id)}: " + "; ".join(failures)
        )

    async def _pull_from(self, copy: "_Copy", address: str) -> None:
        order = copy.order
        length_bytes, checksums = await self._checksums(order, address)
        # Whole chunks are verified, also the one that the copy ends within.
        end = min(chunk_count(order.length_bytes) * CHUNK_BYTES, length_bytes)
        start = copy.replica.length_bytes // CHUNK_BYTES * CHUNK_BYTES
        if start >= end:
            return
        head = ReadRanges(order.token, order.block_id, order.stamp, ((start, end - start),))
        async with self._exchange(address, encode_head(head)) as answered:
            reply = decode_block_reply(answered.head)
            if not isinstance(reply, RangesFollow) or reply.length_bytes != end - start:
                raise PeerLost(f"{address} gave another answer than the ranges asked for")
            await self._take_in(copy, answered, checksums, (start, end))

    async def _checksums(self, order: CopyOrder, address: str) -> tuple[int, bytes]:
        head = ReadChecksums(order.token, order.block_id, order.stamp)
        async with self._exchange(address, encode_head(head)) as answered:
            reply = decode_block_reply(answered.head)
            if not isinstance(reply, ChecksumsFollow):
                raise PeerLost(f"{address} gave another answer than checksums")
            length_bytes = reply.length_bytes
            count = chunk_count(length_bytes)
            if length_bytes < order.length_bytes or (
                answered.body.length_bytes != count * CHECKSUM_BYTES
            ):
                raise NoSuchReplica(f"{address} holds {length_bytes} bytes of the block only")
            if order.digest and length_bytes != order.length_bytes:
                raise ChecksumMismatch(f"{address} holds another length, {length_bytes} bytes")
            if answered.body.length_bytes > CHECKSUMS_LIMIT_BYTES:
                raise InvalidRequest(f"{address} holds {length_bytes} bytes, more than a block has")
            checksums = bytearray(answered.body.length_bytes)
            await answered.body.read_into(memoryview(checksums))
        if order.digest and block_digest(length_bytes, checksums) != order.digest:
            raise ChecksumMismatch(f"{address} holds other checksums than the block's digest says")
        return length_bytes, bytes(checksums)

    async def _take_in(
        self, copy: "_Copy", answered: Answered, checksums: bytes, span: tuple[int, int]
    ) -> None:
        start, end = span
        step = COPY_PIECE_BYTES
        if copy.throttle is not None:
            step = copy.throttle.step_bytes(CHUNK_BYTES, COPY_PIECE_BYTES)
        buffer = memoryview(bytearray(min(step, end - start)))
        for offset in range(start, end, step):
            data = buffer[: min(step, end - offset)]
            await self._wait_turn(copy, len(data))
            await answered.body.read_into(data)
            first, last = offset // CHUNK_BYTES, chunk_count(offset + len(data))
            expected = checksums[first * CHECKSUM_BYTES : last * CHECKSUM_BYTES]
            bad = first_bad_chunk(data, expected)
            if bad is not None:
                raise ChecksumMismatch(f"chunk {first + bad} arrived with another checksum")
            kept = data[: copy.order.length_bytes - offset]
            await self._store.work.run(self._write(copy.replica, offset, kept))
            copy.promise.settle(len(kept))

    async def _wait_turn(self, copy: "_Copy", length_bytes: int) -> None:
        if copy.throttle is not None:
            now_s = asyncio.get_running_loop().time()
            await asyncio.sleep(copy.throttle.take(length_bytes, now_s))

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

    def _exchange(self, address: str, head: bytes) -> AbstractAsyncContextManager[Answered]:
        return self._transport.exchange(address, head, stall_s=self._stall_s)

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

    order: CopyOrder
    replica: Replica
    throttle: Throttle | None
    promise: Promise
    """The room that it has on its volume, as far as it is not written yet."""


def _check_same(present: Replica, order: CopyOrder) -> None:
    """Raise unless the replica that is here already is what the copy would make."""
    present.check_stamp(order.stamp)
    wanted = ReplicaState.FINALIZED if order.digest else ReplicaState.BEING_WRITTEN
    same = (present.state, present.length_bytes, present.digest)
    if same == (wanted, order.length_bytes, order.digest):
        return
    raise InvalidRequest(f"{present} is here already, {present.length_bytes} bytes long")
