"""What listens on a datanode's address: bulk exchanges, each of its kind a limited number at once.

A segment waits for a place among those at the same position of a pipeline. As each position waits
only for the next one, datanodes that write through one another never wait in a circle.
"""

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass

from datanode.access import TokenCheck
from datanode.copying import ReplicaCopier
from datanode.pulling import PullOrder
from datanode.reading import ReplicaReader
from datanode.segments import SegmentReceiver
from datanode.writing import ReplicaWriter
from dolmen.protocol.block_messages import (
    BlockReply,
    BlockRequest,
    CopyReplica,
    FinalizeReplica,
    ReadChecksums,
    ReadRanges,
    ReplicaFinalized,
    ReplicaRestamped,
    RestampReplica,
    WriteSegment,
    decode_request,
    encode_head,
    refusal_of,
)
from dolmen.protocol.control_messages import encode_error
from dolmen.protocol.errors import (
    AccessDenied,
    DataDamaged,
    DolmenError,
    InvalidRequest,
    TryAgain,
)
from dolmen.protocol.tokens import Access
from dolmen.runtime.metrics import Timings
from dolmen.runtime.transport import Body, Incoming, IncomingBody, Outgoing, Session

SEGMENTS_AT_ONCE = 64
"""For each position of a pipeline; each holds 2 MiB."""

STEPS_AT_ONCE = 64
"""Finalizing, restamping, copying for a pipeline: each holds two files open."""

UNREADABLE = "unreadable"
"""What cannot be decoded, among the kinds of exchanges."""

LOG = logging.getLogger("datanode")


@dataclass(frozen=True)
class Handlers:
    """The parts of a datanode that has its identity."""

    tokens: TokenCheck
    writer: ReplicaWriter
    segments: SegmentReceiver
    reader: ReplicaReader
    copier: ReplicaCopier


class ExchangeFigures:
    """Exchanges since the start, by kind."""

    def __init__(self) -> None:
        self.timings = Timings()
        self.received_bytes: dict[str, int] = {}
        self.sent_bytes: dict[str, int] = {}

    def done(self, name: str, received_bytes: int, sent_bytes: int) -> None:
        """An exchange was answered well."""
        self.received_bytes[name] = self.received_bytes.get(name, 0) + received_bytes
        self.sent_bytes[name] = self.sent_bytes.get(name, 0) + sent_bytes


class BlockService:
    """The service of a datanode's address."""

    def __init__(self) -> None:
        self.load = 0
        """Exchanges under way."""
        self.figures = ExchangeFigures()
        self._handlers: Handlers | None = None
        self._segments = defaultdict[int, asyncio.Semaphore](
            lambda: asyncio.Semaphore(SEGMENTS_AT_ONCE)
        )
        self._steps = asyncio.Semaphore(STEPS_AT_ONCE)

    def begin(self, handlers: Handlers) -> None:
        """The datanode has an identity and has read its volumes: serve."""
        self._handlers = handlers

    def open_session(self, peer_host: str) -> Session:
        """Nobody has a control connection to a datanode."""
        return _NoCalls()

    async def exchange(self, incoming: Incoming) -> Outgoing:
        """Answer one exchange; an error becomes a refusal."""
        clock = asyncio.get_running_loop().time
        begun_s, name = clock(), UNREADABLE
        self.load += 1
        try:
            head = decode_request(incoming.head)
            name = type(head).__name__
            reply, body = await self._answer(head, incoming.body)
            self.figures.done(name, incoming.body.length_bytes, body.length_bytes if body else 0)
            return Outgoing(encode_head(reply), body)
        except DolmenError as error:
            self.figures.timings.failed(name, error)
            LOG.info("refused %s: %s", incoming.peer_host, error)
            return Outgoing(refusal_of(error))
        except OSError as error:
            self.figures.timings.failed(name, error)
            LOG.error("an exchange failed: %s", error)
            return Outgoing(refusal_of(DataDamaged(f"the disk failed: {error}")))
        finally:
            self.figures.timings.took(name, clock() - begun_s)
            self.load -= 1

    async def _answer(
        self, head: BlockRequest, body: IncomingBody
    ) -> tuple[BlockReply, Body | None]:
        if self._handlers is None:
            raise TryAgain("this datanode has not met its namenode yet")
        handlers = self._handlers
        if isinstance(head, WriteSegment):
            handlers.tokens.open_segment(head)  # before it may take a place
            async with self._segments[head.position]:
                return await handlers.segments.receive(head, body), None
        if isinstance(head, ReadRanges):
            return await handlers.reader.read_ranges(head)
        if isinstance(head, ReadChecksums):
            return await handlers.reader.read_checksums(head)
        async with self._steps:
            return await self._step(handlers, head), None

    async def _step(
        self, handlers: Handlers, head: FinalizeReplica | RestampReplica | CopyReplica
    ) -> BlockReply:
        if isinstance(head, FinalizeReplica):
            handlers.tokens.open_for_member(head)
            await handlers.writer.finalize(
                head.block_id, head.stamp, head.length_bytes, head.digest
            )
            return ReplicaFinalized()
        if isinstance(head, RestampReplica):
            handlers.tokens.open_for_member(head)
            await handlers.writer.restamp(
                head.block_id, head.old_stamp, head.stamp, head.length_bytes
            )
            return ReplicaRestamped(head.length_bytes)
        token = handlers.tokens.open(head, Access.COPY)
        if head.length_bytes > token.length_limit_bytes:
            raise AccessDenied(f"the token allows {token.length_limit_bytes} bytes")
        order = PullOrder(
            head.token, head.block_id, head.stamp, head.length_bytes, head.digest, token.targets
        )
        await handlers.copier.copy(order, None)
        return ReplicaFinalized() if head.digest else ReplicaRestamped(head.length_bytes)


class _NoCalls:
    """A control connection that somebody opened by mistake."""

    async def answer(self, payload: bytes) -> bytes:
        return encode_error(InvalidRequest("this is a datanode: calls go to the namenode"))

    def closed(self) -> None:
        """Nothing was kept."""
