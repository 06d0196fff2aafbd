"""Writes one block: segments down a pipeline, then finalize; a broken pipeline is rebuilt and
resumed.

The writer runs as one task, in rounds. A round sends every held segment under one stamp and ends
when all are acknowledged and no more will come, or when the pipeline broke: then nothing new is
sent, what is on its way comes to an end or is stopped, the pipeline is rebuilt under a new stamp,
and what was not acknowledged by all is sent again (rule 14). A round that made progress may be
followed by any number of others; rounds without progress end after `retry_for`. A short block of
one segment is finalized as it arrives (decision 0014): where that breaks nothing was acknowledged,
and another block is allocated.

Blocks follow one another: a block is allocated when the one before is acknowledged whole, which
commits it, while its datanodes still finalize it; at most two blocks of a file are unfinished (rule
15).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from dolmen.client.block_finalize import finalize_replicas
from dolmen.client.core.held_segments import HeldSegments, Segment
from dolmen.client.core.pipelines import Pipeline
from dolmen.client.links import Links
from dolmen.client.patience import Patience
from dolmen.client.pipeline_rebuild import (
    PipelineRebuild,
    allocate_avoiding,
    are_full,
    pipeline_of,
    story_of,
)
from dolmen.client.segment_window import SegmentWindow
from dolmen.client.written_file import WrittenFile
from dolmen.protocol.block_messages import (
    WHOLE_LIMIT_BYTES,
    HopTimes,
    SegmentStored,
    WriteSegment,
)
from dolmen.protocol.checksums import block_digest
from dolmen.protocol.client_messages import AllocateBlock, CommittedBlock
from dolmen.protocol.errors import (
    AccessDenied,
    DolmenError,
    LeaseConflict,
    NamenodeUnreachable,
    NoSpace,
    OutcomeUnknown,
    Refusal,
    StaleGeneration,
    TooFewDatanodes,
    to_error,
)
from dolmen.protocol.identifiers import format_block_id
from dolmen.runtime.transport import PIECE_BYTES, body_of

logger = logging.getLogger(__name__)

ROUND_END_S = 0.5
"""How long, after a break, what is on its way may go on: what arrives need not be sent again, and
what waits for the one that broke never arrives."""


class BlockWriter:
    """One block on its way."""

    def __init__(
        self,
        links: Links,
        file: WrittenFile,
        index: int,
        previous: "BlockWriter | None",
        window: SegmentWindow,
    ) -> None:
        self.index = index
        self._links = links
        self._file = file
        self._previous = previous
        self._window = window
        self._held = HeldSegments()
        self._checksums: list[bytes] = []
        self._length_bytes = 0
        self._whole = False
        self._pipeline: Pipeline | None = None
        self._breaks: dict[str, DolmenError] = {}
        self._broken = False
        self._final = False  # on all datanodes of the pipeline
        self._news = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._error: Exception | None = None
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(_hear)

    def put(self, data: memoryview, checksums: bytes) -> None:
        """Take the next segment of the block; its slot in the window is given back in time."""
        self._held.add(Segment(self._length_bytes, data, checksums))
        self._checksums.append(checksums)
        self._length_bytes += len(data)
        self._news.set()

    def end(self) -> None:
        """There are no more segments."""
        self._whole = True
        self._news.set()

    @property
    def is_finished(self) -> bool:
        """Whether all is done, and done well."""
        return self.task.done() and self._error is None

    async def acknowledged(self) -> CommittedBlock:
        """Return what the block is, when all its bytes are on all datanodes of its pipeline."""
        await self._acknowledged.wait()
        if self._error is not None:
            raise self._error
        return self.committed()

    def committed(self) -> CommittedBlock:
        """Return what every replica of the block must be."""
        assert self._pipeline is not None
        assert self._whole
        digest = block_digest(self._length_bytes, b"".join(self._checksums))
        return CommittedBlock(
            self._pipeline.block_id, self._pipeline.stamp, self._length_bytes, digest
        )

    # ------------------------------------------------------------ the task

    async def _run(self) -> None:
        try:
            await self._write()
        except asyncio.CancelledError:
            self._error = LeaseConflict(f"{self._file.path} was abandoned", self._file.path)
            raise
        except Exception as error:
            self._error = self._told(error)
            self._window.fail(self._error)
            raise
        finally:
            self._acknowledged.set()

    def _told(self, error: Exception) -> Exception:
        """Return what an error with the block is for whoever writes the file."""
        path = self._file.path
        if not isinstance(error, DolmenError) or path in error.message:
            return error
        if isinstance(error, OutcomeUnknown):  # of a step on the way, not of the file
            namenode = self._links.namenode
            return NamenodeUnreachable(
                f"{path} cannot be written on: the namenode at {namenode.address} was lost and did"
                f" not return within {namenode.retry_for_s:g} s; nothing new of the file is"
                " published",
                path,
            )
        failed = story_of(self._breaks)
        why = f" (before that: {failed})" if failed and failed not in error.message else ""
        return type(error)(f"{path} cannot be written on: {error.message}{why}", path)

    async def finalize_again(self) -> None:
        """Make sure of a finished block: who finalized it may have died before it said so.

        It is rebuilt if too few have it still; finalizing a finalized replica changes nothing.
        """
        await self._bring_to_end()

    async def _write(self) -> None:
        begun = self._file.take_first_block()
        finding = pipeline_of(self._links, begun) if begun else self._allocate()
        self._pipeline = await finding
        await self._bring_to_end()

    async def _bring_to_end(self) -> None:
        assert self._pipeline is not None
        breaks = _Breaks(self._links)
        self._final = False
        while True:
            self._file.goes_on_with(len(self._pipeline.targets), story_of(self._breaks))
            await self._send_round()
            if not self._broken:
                self._acknowledged.set()
                if not self._final:
                    await self._finalize()
            if not self._broken:
                return
            patience = await breaks.after_break(self._held.prefix_bytes, self._failure)
            self._held.start_again()
            self._pipeline = await self._rebuild(self._pipeline, patience)

    async def _rebuild(self, broken: Pipeline, patience: Patience) -> Pipeline:
        if not self._held.prefix_bytes:  # all its bytes are here: another block will do
            return await self._allocate(patience)
        rebuild = PipelineRebuild(self._links, self._file.inode_id, self._held.prefix_bytes)
        return await rebuild.run(broken, self._breaks, patience)

    async def _allocate(self, patience: Patience | None = None) -> Pipeline:
        """Have the block allocated; for the first time, or in the time that is left for it."""
        committed = None
        if self._previous is not None:
            committed = await self._previous.acknowledged()
            await self._previous.predecessor_finished()
        try:
            return await self._allocate_after(committed, patience)
        except StaleGeneration:
            if self._previous is None:
                raise
            # Its datanodes failed to finalize it, and it got a new stamp while we asked.
            await asyncio.shield(self._previous.task)
            return await self._allocate_after(self._previous.committed(), patience)

    async def _allocate_after(
        self, committed: CommittedBlock | None, patience: Patience | None
    ) -> Pipeline:
        def request(excluded: tuple[str, ...]) -> AllocateBlock:
            return AllocateBlock(
                self._file.inode_id, self.index, committed, excluded, self._links.host
            )

        left_s = None if patience is None else patience.left_s
        wanted = self._file.replication
        allocated = await allocate_avoiding(self._links, request, wanted, retry_for_s=left_s)
        return await pipeline_of(self._links, allocated)

    async def predecessor_finished(self) -> None:
        """Return when the block before this one is finished: the one after this may then begin."""
        if self._previous is not None:
            await asyncio.shield(self._previous.task)
            self._previous = None

    # ------------------------------------------------------------ a round

    async def _send_round(self) -> None:
        self._broken, self._breaks = False, {}
        sending: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as senders:
            while not self._broken:
                # A loop's variable would keep the memory of the last one while nothing is sent.
                sending += [
                    senders.create_task(self._send(segment)) for segment in self._held.take_unsent()
                ]
                if self._whole and self._held.is_empty:
                    return
                self._news.clear()
                await self._news.wait()
            await asyncio.wait(sending, timeout=ROUND_END_S)
            for task in sending:
                task.cancel()

    async def _send(self, segment: Segment) -> None:
        """Send one segment down each chain: it is acknowledged when all have it."""
        pipeline = self._pipeline
        assert pipeline is not None
        digest = self.committed().digest if self._is_whole_block(segment) else b""
        answers = await asyncio.gather(
            *(self._send_down(chain, pipeline, segment, digest) for chain in pipeline.chains)
        )
        stored = [answer for answer in answers if answer is not None]
        if len(stored) == len(answers):
            self._final = bool(digest)
            self._acknowledge(segment)
            for answer in stored:
                self._measure(segment, answer)
        self._news.set()

    async def _send_down(
        self, chain: range, pipeline: Pipeline, segment: Segment, digest: bytes
    ) -> "_Acknowledgement | None":
        """Send a segment down one chain; never raises what a datanode may cause."""
        head = WriteSegment(
            pipeline.token,
            pipeline.block_id,
            pipeline.stamp,
            segment.offset_bytes,
            len(segment.data),
            segment.checksums,
            chain.start,
            digest,
            passed_on=len(chain) > 1,
        )
        datanodes, clock = self._links.datanodes, asyncio.get_running_loop().time
        begun_s = clock()
        try:
            reply = await datanodes.ask(
                pipeline.targets[chain.start].address,
                head,
                SegmentStored,
                body=body_of(*_pieces(segment.data)),
                stall_s=datanodes.write_stall_s,
            )
        except (AccessDenied, StaleGeneration) as error:
            self._break(None, error)  # nobody failed: a new stamp and token cure it
        except DolmenError as error:
            self._break(chain.start, error)
        else:
            if reply.failed_position < 0:
                members = pipeline.members[chain.start : chain.stop]
                return _Acknowledgement(members, clock() - begun_s, reply.hops)
            self._break(reply.failed_position, to_error(Refusal(reply.kind, reply.reason)))
        return None

    def _is_whole_block(self, segment: Segment) -> bool:
        """Return whether no other segment comes, so that this one can be finalized as it is."""
        return self._whole and len(segment.data) == self._length_bytes <= WHOLE_LIMIT_BYTES

    def _acknowledge(self, segment: Segment) -> None:
        for released in self._held.acknowledge(segment):
            if released.has_slot:
                self._window.give_back(released.data)

    def _measure(self, segment: Segment, answer: "_Acknowledgement") -> None:
        """A slow datanode breaks the pipeline: the rebuild sees whether others can take over."""
        now_s = asyncio.get_running_loop().time()
        found = self._links.datanodes.slow.segment_took(
            answer.members, len(segment.data), answer.took_s, answer.hops, now_s
        )
        for datanode_id in found:
            logger.warning("datanode %s is slow: new blocks go elsewhere for a while", datanode_id)
        self._broken = self._broken or (bool(found) and not self._held.is_empty)

    def _break(self, position: int | None, error: DolmenError) -> None:
        """The pipeline broke, at `position` if anybody is to blame."""
        self._broken = True
        self._news.set()
        if position is not None and self._pipeline is not None:
            self._blame(self._pipeline.at(position).datanode_id, error)

    def _blame(self, datanode_id: str, error: DolmenError) -> None:
        self._breaks[datanode_id] = error
        now_s = asyncio.get_running_loop().time()
        self._links.datanodes.write_failures.add(datanode_id, now_s)

    async def _finalize(self) -> None:
        assert self._pipeline is not None
        outcome = await finalize_replicas(
            self._links, self._pipeline, self.committed(), self._file.replication
        )
        for datanode_id, error in outcome.failed.items():
            self._blame(datanode_id, error)
        self._broken = not outcome.is_enough
        if outcome.is_enough:
            self._file.goes_on_with(len(outcome.done), story_of(outcome.failed))

    def _failure(self) -> DolmenError:
        """Return what it means that the block makes no progress."""
        assert self._pipeline is not None
        what = f"block {format_block_id(self._pipeline.block_id)} of {self._file.path}"
        if are_full(self._breaks):
            return NoSpace(f"no datanode has room for {what}: {story_of(self._breaks)}")
        reasons = story_of(self._breaks) or "its datanodes refuse its stamp"
        return TooFewDatanodes(f"{what} made no progress: {reasons}")


class _Acknowledgement(NamedTuple):
    """A segment was stored down a chain: by whom, and what it cost."""

    members: tuple[str, ...]
    took_s: float
    hops: tuple[HopTimes, ...]


class _Breaks:
    """How long a block may break again and again without progress."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._prefix_bytes = -1
        self._patience = links.patience()

    async def after_break(self, prefix_bytes: int, failure: Callable[[], DolmenError]) -> Patience:
        """Return when the pipeline may be rebuilt, and how long that may take; raise the failure
        if there is no sense in it any more."""
        if prefix_bytes > self._prefix_bytes:
            self._prefix_bytes = prefix_bytes
            self._patience = self._links.patience()
            return self._patience
        if not self._patience.left_s:
            raise failure()
        await self._patience.pause()
        return self._patience


def _hear(task: asyncio.Task[None]) -> None:
    """A failure is told to the file's writer, through the window; the task need not tell it too."""
    if not task.cancelled():
        task.exception()


def _pieces(data: memoryview) -> list[memoryview]:
    return [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
