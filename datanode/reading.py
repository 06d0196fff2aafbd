"""Serving ranges and checksums of replicas; what cannot be read is checked, and put aside if it is
bad.

A reader's word is never enough to put a replica aside (rule 21), and neither is one failed read:
either only has the whole replica read and compared here. The data is not verified on the way out,
because the reader does it; it has the checksums, and those the digest that the namenode gave it.
So of a DAMAGED replica everything is served that can be read.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from datanode.access import TokenCheck
from datanode.block_store import BlockStore
from datanode.core.layout import Place
from datanode.core.replicas import COMPLETE, Replica, no_such_replica
from dolmen.protocol.block_messages import (
    RANGES_LIMIT,
    ChecksumsFollow,
    RangesFollow,
    ReadChecksums,
    ReadRanges,
)
from dolmen.protocol.datanode_messages import ReplicaState
from dolmen.protocol.errors import DataDamaged, InvalidRequest
from dolmen.protocol.tokens import Access
from dolmen.runtime.transport import PIECE_BYTES, Body, body_of

READS_AT_ONCE = 256
"""Each holds at most 1 MiB, and one file open, from its first piece to its last."""


KEPT_BUFFERS_MAX = 16
"""A fresh buffer costs as much as filling it: each of its pages is a fault, and is cleared."""


class ReplicaReader:
    """Reads replicas for those whose token allows it. `suspected` has a replica checked."""

    def __init__(
        self, store: BlockStore, tokens: TokenCheck, suspected: Callable[[int, int], None]
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._suspected = suspected
        self._places = asyncio.Semaphore(READS_AT_ONCE)
        self._buffers: list[memoryview] = []

    async def read_checksums(self, head: ReadChecksums) -> tuple[ChecksumsFollow, Body]:
        """Return the checksums of a replica: of an unfinished one, those of its prefix."""
        replica = self._find(head)
        if replica.received is not None:
            checksums = replica.received.checksums()
            return ChecksumsFollow(replica.length_bytes, b""), body_of(checksums)
        length_bytes, digest = replica.length_bytes, replica.digest
        try:
            checksums = await self._store.final_checksums(replica)
        except (OSError, DataDamaged) as error:
            raise self._trouble(replica, str(error)) from error
        return ChecksumsFollow(length_bytes, digest), body_of(checksums)

    async def read_ranges(self, head: ReadRanges) -> tuple[RangesFollow, Body]:
        """Return the bytes of ranges of a replica; the first piece is read before the answer."""
        replica = self._find(head)
        if not 0 < len(head.ranges) <= RANGES_LIMIT:
            raise InvalidRequest(f"a read has 1 to {RANGES_LIMIT} ranges, not {len(head.ranges)}")
        total_bytes = 0
        for offset, length in head.ranges:
            if offset < 0 or length < 1 or offset + length > replica.length_bytes:
                raise InvalidRequest(
                    f"range {offset}+{length} is not within the {replica.length_bytes} bytes"
                    f" of {replica}"
                )
            total_bytes += length
        pieces = self._pieces(replica, _cut(head.ranges))
        first = await anext(pieces)
        if len(first) == total_bytes:
            await pieces.aclose()
            return RangesFollow(total_bytes), body_of(first)
        return RangesFollow(total_bytes), Body(total_bytes, _Begun(first, pieces))

    def _find(self, head: ReadRanges | ReadChecksums) -> Replica:
        """Return the replica: readers see finalized ones, copiers also unfinished ones."""
        token = self._tokens.open(head, Access.READ, Access.COPY)
        replica = self._store.find(head.block_id, head.stamp)
        readable = [*COMPLETE]
        if token.access is Access.COPY:
            readable += [ReplicaState.BEING_WRITTEN, ReplicaState.WAITING_FOR_RECOVERY]
        if replica.state not in readable:
            raise no_such_replica(head.block_id)
        return replica

    async def _pieces(
        self, replica: Replica, pieces: list[tuple[int, int]]
    ) -> AsyncGenerator[memoryview, None]:
        volume = self._store.volume_of(replica)
        stamp = replica.stamp
        place = Place.FINALIZED if replica.state in COMPLETE else Place.BEING_WRITTEN
        path = volume.data_path(place, replica.block_id)
        async with self._places:
            buffer = self._take_buffer(pieces)
            try:
                file = await volume.disk.open(path, writable=False)
                try:
                    for offset, length in pieces:
                        data = buffer[:length]
                        if await file.read_into(offset, data) < length:
                            raise self._trouble(replica, f"the file ends before {offset + length}")
                        replica.check_stamp(stamp)  # it may have been reopened meanwhile
                        yield data
                finally:
                    await file.close()
            except OSError as error:
                raise self._trouble(replica, str(error)) from error
            if len(buffer) == PIECE_BYTES and len(self._buffers) < KEPT_BUFFERS_MAX:
                self._buffers.append(buffer)  # not after a failure: a thread may still fill it

    def _take_buffer(self, pieces: list[tuple[int, int]]) -> memoryview:
        size = max(length for _, length in pieces)
        if size == PIECE_BYTES and self._buffers:
            return self._buffers.pop()
        return memoryview(bytearray(size))

    def _trouble(self, replica: Replica, reason: str) -> DataDamaged:
        """Return the error of a read that failed; the replica is checked, if it still is here."""
        if self._store.get(replica.block_id) is not replica:
            return no_such_replica(replica.block_id)
        if replica.state is not ReplicaState.DAMAGED:  # of that one it is known
            self._suspected(replica.block_id, replica.stamp)
        return DataDamaged(f"{replica} cannot be read: {reason}")


class _Begun:
    """Pieces of which the first has been read. Whoever is given them closes them."""

    def __init__(self, first: memoryview, rest: AsyncGenerator[memoryview, None]) -> None:
        self._first: memoryview | None = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[memoryview]:
        return self

    async def __anext__(self) -> memoryview:
        first, self._first = self._first, None
        return await anext(self._rest) if first is None else first

    async def aclose(self) -> None:
        await self._rest.aclose()


def _cut(ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Return the ranges as (offset, length) pieces of at most PIECE_BYTES."""
    return [
        (start, min(PIECE_BYTES, offset + length - start))
        for offset, length in ranges
        for start in range(offset, offset + length, PIECE_BYTES)
    ]
