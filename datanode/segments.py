"""Receiving a segment: verify, store, and pass on to the next datanode while it still arrives.

Two buffers take turns, so that one piece arrives while the one before is written and sent on;
reading pauses when the next hop is slow, and 2 MiB is all that one stream holds (rule 20). What is
stored here stays good even if the next hop failed: segments are idempotent, and the answer names
who failed.

A writer on the host of all datanodes sends to each by itself (decision 0013): nothing is passed on.
Else each hop watches the one behind it, and names it when its process stands still. If it runs, and
yet nothing moves, as on a disk that hangs, it is waited for: for a shorter time than the one before
waits for it, so that the node before the silent one speaks first. `hop_deadline_s` spreads a base
time over the pipeline.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from datanode.access import TokenCheck
from datanode.core.receiver import RECEIVE_PIECE_BYTES, Piece, SegmentShape
from datanode.whole import WholeWriter
from datanode.work import let_go
from dolmen.protocol.block_messages import (
    HopTimes,
    SegmentStored,
    WriteSegment,
    decode_block_reply,
    encode_head,
)
from dolmen.protocol.checksums import first_bad_chunk
from dolmen.protocol.errors import (
    ChecksumMismatch,
    DataDamaged,
    DolmenError,
    InvalidRequest,
    NoSpace,
    NoSuchReplica,
    Overloaded,
    PeerLost,
    StaleGeneration,
)
from dolmen.protocol.identifiers import format_block_id
from dolmen.protocol.tokens import BlockToken
from dolmen.runtime.peer_watch import PeerWatch
from dolmen.runtime.transport import Body, IncomingBody, Transport

HOP_DEADLINE_CONNECTS = 4
"""The writer's deadline in connect timeouts: longer than connecting down a pipeline."""

REASON_LIMIT = 300

KEPT_BUFFERS_MAX = 16
"""16 MiB: what two writers have on their way, each with four segments."""

LOG = logging.getLogger("datanode")


def hop_deadline_s(base_s: float, position: int, targets: int) -> float:
    """Return how long the datanode at `position` waits for progress of the one behind it.

    The writer waits for `base_s`; every hop waits for an equal share less than the one before.
    """
    return base_s * (targets - position) / (targets + 1)


class SegmentReceiver:
    """Takes segments of blocks that are being written."""

    def __init__(
        self, transport: Transport, tokens: TokenCheck, whole: WholeWriter, base_s: float
    ) -> None:
        self._transport = transport
        self._watch = PeerWatch(transport)
        self._tokens = tokens
        self._whole = whole
        self._writer = whole.pieces
        self._base_s = base_s
        self._buffers = PieceBuffers()

    async def receive(self, head: WriteSegment, body: IncomingBody) -> SegmentStored:
        """Store a segment here and behind; the answer says who failed, if anybody did."""
        token = self._tokens.open_segment(head)
        shape = SegmentShape(
            head.offset_bytes, head.length_bytes, head.checksums, is_block=bool(head.digest)
        )
        shape.check(token.length_limit_bytes)
        if body.length_bytes != head.length_bytes:
            raise InvalidRequest(
                f"the body has {body.length_bytes} bytes, the head says {head.length_bytes}"
            )
        try:
            if not shape.is_block:
                await self._writer.begin(head.block_id, head.stamp, head.length_bytes)
            return await self._store_and_forward(head, shape, body, token)
        except (ChecksumMismatch, NoSuchReplica, StaleGeneration):
            raise  # the segment is at fault, or comes too late
        except (NoSpace, Overloaded, DataDamaged) as error:
            LOG.warning("block %016x: cannot store a segment: %s", head.block_id, error)
            return _failed(head.position, error)

    async def _store_and_forward(
        self, head: WriteSegment, shape: SegmentShape, body: IncomingBody, token: BlockToken
    ) -> SegmentStored:
        if not head.passed_on or head.position + 1 == len(token.targets):
            stored_s = await self._take_in(head, shape, body, None)
            return SegmentStored(hops=(HopTimes(stored_s, 0.0),))
        clock = asyncio.get_running_loop().time
        relay = Relay(head.length_bytes)
        forwarding = asyncio.create_task(self._forward(head, token, relay))
        try:
            stored_s = await self._take_in(head, shape, body, relay)
            begun_s = clock()
            reply = await forwarding
        finally:
            await _end(forwarding)
        own = HopTimes(stored_s, relay.waited_s + clock() - begun_s)
        return msgspec.structs.replace(reply, hops=(own, *reply.hops))

    async def _take_in(
        self, head: WriteSegment, shape: SegmentShape, body: IncomingBody, relay: "Relay | None"
    ) -> float:
        """Store the body piece by piece: one is read while the one before is written and sent.

        Returns how long storing took.
        """
        buffers = self._buffers.take(shape)
        storing: asyncio.Task[float] | None = None
        stored_s = 0.0
        try:
            for number, (offset, length, checksums) in enumerate(shape.pieces()):
                data = buffers[number % len(buffers)][:length]
                await body.read_into(data)
                bad = first_bad_chunk(data, checksums)
                if bad is not None:
                    raise ChecksumMismatch(
                        f"block {format_block_id(head.block_id)}: chunk {bad} of the"
                        f" piece at {offset} arrived with another checksum"
                    )
                if storing is not None:
                    stored_s += await asyncio.shield(storing)
                if relay is not None:
                    await relay.hand_over(data)
                piece = Piece(offset, data, checksums)
                storing = self._store(head, piece)
            if storing is not None:
                stored_s += await asyncio.shield(storing)
            if relay is not None:
                await relay.end()
        except BaseException:
            if storing is not None:
                let_go(storing)
            raise
        self._buffers.give_back(buffers)  # after a failure somebody may still use them
        return stored_s

    def _store(self, head: WriteSegment, piece: Piece) -> "asyncio.Task[float]":
        """Begin to store a piece; the result is how long it took."""
        if head.digest:
            return self._whole.store(head.block_id, head.stamp, piece, head.digest)
        return self._writer.store(head.block_id, head.stamp, piece)

    async def _forward(
        self, head: WriteSegment, token: BlockToken, relay: "Relay"
    ) -> SegmentStored:
        """Send the segment on; never raises: the outcome says who failed."""
        position = head.position + 1
        target = token.targets[position]
        onward = msgspec.structs.replace(head, position=position)
        sending = self._send_on(target.address, onward, relay, len(token.targets))
        try:
            reply = await self._watch.over(target.address, sending)
        except DolmenError as error:
            LOG.warning(
                "block %016x: position %d of the pipeline failed: %s",
                head.block_id,
                position,
                error,
            )
            reply = _failed(position, error)
        finally:
            relay.abandon()
        return reply

    async def _send_on(
        self, address: str, onward: WriteSegment, relay: "Relay", targets: int
    ) -> SegmentStored:
        stall_s = hop_deadline_s(self._base_s, onward.position - 1, targets)
        body = Body(onward.length_bytes, relay)
        exchange = self._transport.exchange(address, encode_head(onward), body, stall_s=stall_s)
        async with exchange as answered:
            reply = decode_block_reply(answered.head)
        if not isinstance(reply, SegmentStored):
            raise PeerLost(f"{address} gave another answer than a segment's")
        return reply


def _failed(position: int, error: DolmenError) -> SegmentStored:
    return SegmentStored(position, str(error)[:REASON_LIMIT], type(error).__name__)


async def _end(task: asyncio.Task[Any]) -> None:
    """End a task, if it has not, and hear its failure: what matters was said before."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


class PieceBuffers:
    """The memory of segments that arrive; some is kept for the next ones, because a fresh buffer
    costs as much as filling it: each of its pages is a fault and is cleared."""

    def __init__(self) -> None:
        self._kept: list[memoryview] = []

    def take(self, shape: SegmentShape) -> list[memoryview]:
        """Return what a segment needs: two buffers for a piece each, or one for all of it."""
        if shape.length_bytes <= shape.piece_bytes:
            return [memoryview(bytearray(shape.length_bytes))]
        return [
            self._kept.pop() if self._kept else memoryview(bytearray(RECEIVE_PIECE_BYTES))
            for _ in range(2)
        ]

    def give_back(self, buffers: list[memoryview]) -> None:
        """Nobody uses these any more."""
        for buffer in buffers:
            if len(buffer) == RECEIVE_PIECE_BYTES and len(self._kept) < KEPT_BUFFERS_MAX:
                self._kept.append(buffer)


class Relay:
    """Hands pieces from the receiver of a stream to its sender, one at a time.

    A buffer may be filled again once the piece *after* it was handed over: the sender has then
    asked for that piece, and so is done with the one before. A sender that gave up takes nothing
    any more, and holds nobody up. It is done with the last byte: the next hop may answer before
    this one has stored the segment, and the connection is kept. Until the first piece has passed,
    the sender may begin again: a request that a pooled connection lost is repeated before anybody
    is blamed (rule 20).
    """

    def __init__(self, length_bytes: int) -> None:
        self._length_bytes = length_bytes
        self._piece: memoryview | None = None
        self._filled = asyncio.Event()
        """There is a piece, or there will be none any more."""
        self._taken = asyncio.Event()
        self._taken.set()
        self._begun = False
        self._abandoned = False
        self.waited_s = 0.0
        """How long the receiver had to wait for the sender."""

    async def hand_over(self, data: memoryview) -> None:
        """Give the sender a piece, when it is done with the one before."""
        await self._until_taken()
        if not self._abandoned:
            self._piece = data
            self._taken.clear()
            self._filled.set()

    async def end(self) -> None:
        """There are no more pieces; return when the sender is done with the last one."""
        await self._until_taken()
        self._filled.set()

    async def _until_taken(self) -> None:
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        await self._taken.wait()
        self.waited_s += clock() - begun_s

    def abandon(self) -> None:
        """The sender takes no more pieces."""
        self._abandoned = True
        self._taken.set()

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        """Yield the pieces, for the sender."""
        if self._begun:
            raise PeerLost("the connection broke in the middle of the segment")
        left_bytes = self._length_bytes
        while left_bytes:
            await self._filled.wait()
            if self._piece is None:
                return
            left_bytes -= len(self._piece)
            yield self._piece
            self._piece, self._begun = None, True
            self._filled.clear()
            self._taken.set()
