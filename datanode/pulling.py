"""Reading a block from the datanodes that have it, whoever wants its bytes: a copy, or a hash.

First comes the list of checksums, which the digest vouches for, then the bytes, each chunk verified
before it is handed on. Sources are tried in the order given; one that breaks off or serves bad
bytes is followed by the next, which goes on where the good bytes ended.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from datanode.core.throttle import Throttle
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
from dolmen.protocol.errors import (
    ChecksumMismatch,
    DolmenError,
    InvalidRequest,
    NoSuchReplica,
    PeerLost,
)
from dolmen.protocol.identifiers import format_block_id
from dolmen.protocol.tokens import Target
from dolmen.runtime.peer_watch import PeerWatch
from dolmen.runtime.transport import PIECE_BYTES, Answered, Transport

PULL_PIECE_BYTES = 8 * CHUNK_BYTES

CHECKSUMS_LIMIT_BYTES = PIECE_BYTES
"""Enough for 8 GiB, four times the longest block there can be."""

LOG = logging.getLogger("datanode")


@dataclass(frozen=True)
class PullOrder:
    """The block that is wanted: without a digest it is one that is being written."""

    token: bytes
    block_id: int
    stamp: int
    length_bytes: int
    digest: bytes
    sources: tuple[Target, ...]


@dataclass(frozen=True)
class Pull:
    """One block on its way. Whole chunks are handed on, also the one that the order ends within."""

    order: PullOrder
    throttle: Throttle | None
    taken_bytes: Callable[[], int]
    """How much has been taken: where the next source goes on."""
    take: Callable[[int, memoryview], Awaitable[None]]
    """Takes the bytes at an offset; they are overwritten after that."""


class ReplicaPuller:
    """Reads blocks from other datanodes, or from this one as if it were another.

    `bad_source` hears (block id, stamp, datanode id) of a source whose bytes fail their checksums.
    """

    def __init__(
        self, transport: Transport, stall_s: float, bad_source: Callable[[int, int, str], None]
    ) -> None:
        self._transport = transport
        self._watch = PeerWatch(transport)
        self._stall_s = stall_s
        self._bad_source = bad_source

    async def pull(self, pull: Pull) -> None:
        """Return when all bytes were taken; NoSuchReplica, saying why, if no source gave them."""
        order = pull.order
        failures = []
        for source in order.sources:
            try:
                await self._watch.over(source.address, self._pull_from(pull, source.address))
                return
            except DolmenError as error:
                failures.append(f"{source.address}: {error}")
                if isinstance(error, ChecksumMismatch):
                    self._bad_source(order.block_id, order.stamp, source.datanode_id)
                LOG.warning("block %016x: source %s", order.block_id, failures[-1])
        raise NoSuchReplica(
            f"no source gave block {format_block_id(order.block_id)}: " + "; ".join(failures)
        )

    async def _pull_from(self, pull: Pull, address: str) -> None:
        order = pull.order
        length_bytes, checksums = await self._checksums(order, address)
        end = min(chunk_count(order.length_bytes) * CHUNK_BYTES, length_bytes)
        start = pull.taken_bytes() // CHUNK_BYTES * CHUNK_BYTES
        if start >= end:
            return
        head = ReadRanges(order.token, order.block_id, order.stamp, ((start, end - start),))
        async with self._exchange(address, encode_head(head)) as answered:
            reply = decode_block_reply(answered.head)
            if not isinstance(reply, RangesFollow) or reply.length_bytes != end - start:
                raise PeerLost(f"{address} gave another answer than the ranges asked for")
            await _take_in(pull, answered, checksums, (start, end))

    async def _checksums(self, order: PullOrder, address: str) -> tuple[int, bytes]:
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

    def _exchange(self, address: str, head: bytes) -> AbstractAsyncContextManager[Answered]:
        return self._transport.exchange(address, head, stall_s=self._stall_s)


async def _take_in(pull: Pull, answered: Answered, checksums: bytes, span: tuple[int, int]) -> None:
    start, end = span
    step = PULL_PIECE_BYTES
    if pull.throttle is not None:
        step = pull.throttle.step_bytes(CHUNK_BYTES, PULL_PIECE_BYTES)
    buffer = memoryview(bytearray(min(step, end - start)))
    for offset in range(start, end, step):
        data = buffer[: min(step, end - offset)]
        if pull.throttle is not None:
            now_s = asyncio.get_running_loop().time()
            await asyncio.sleep(pull.throttle.take(len(data), now_s))
        await answered.body.read_into(data)
        first, last = offset // CHUNK_BYTES, chunk_count(offset + len(data))
        bad = first_bad_chunk(data, checksums[first * CHECKSUM_BYTES : last * CHECKSUM_BYTES])
        if bad is not None:
            raise ChecksumMismatch(f"chunk {first + bad} arrived with another checksum")
        await pull.take(offset, data)
