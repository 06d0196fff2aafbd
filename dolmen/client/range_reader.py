"""Many ranges of one file: few requests, bounded memory, and an error where there is one.

Short ranges of one block go in one request to one datanode, up to 256 of them; a long one, or one
that crosses blocks, is read by itself, in parallel pieces. Requests for different blocks run beside
each other. A range that cannot be had does not take the others of its request with it: they are
asked for without it, as long as datanodes answer at all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from dolmen.client.core.block_read import BlockRead, Part
from dolmen.client.core.range_plan import Batch, MergedRange, Range, merge_ranges
from dolmen.client.core.read_plan import Piece
from dolmen.client.file_blocks import BlockPlace, FileBlocks
from dolmen.client.links import Links
from dolmen.client.piece_reader import PieceReader
from dolmen.protocol.errors import BlockMissing, DolmenError

Result = bytes | DolmenError
ReadInto = Callable[[int, memoryview], Awaitable[int]]


MISSING_MAX = 3
"""When so many ranges in a row cannot be had, the rest of their request is not tried: it would cost
the deadlines of silent datanodes again for each."""


@dataclass(frozen=True)
class Together:
    """Ranges of one block that are read by one request."""

    place: BlockPlace
    batch: Batch


Job = Together | MergedRange
"""What is read by itself: a request, or one long range."""


class RangeReader:
    """Reads the ranges of one call."""

    def __init__(
        self, links: Links, blocks: FileBlocks, pieces: PieceReader, read_into: ReadInto
    ) -> None:
        self._links = links
        self._blocks = blocks
        self._pieces = pieces
        self._read_into = read_into
        self._piece_bytes = links.options.read_piece_bytes
        self._found: list[Result] = []
        self._ranges: Sequence[Range] = ()

    async def read(self, ranges: Sequence[Range], max_gap: int) -> list[Result]:
        """Return the bytes, or the error, of each of `ranges`, which the file has."""
        self._ranges = ranges
        self._found = [b""] * len(ranges)
        merged = merge_ranges(ranges, max_gap, self._piece_bytes)
        jobs = await self._cut(merged)
        work = iter(jobs)
        count = min(len(jobs), self._links.options.streams)
        workers = [asyncio.create_task(self._work_on(work)) for _ in range(count)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return self._found

    async def _cut(self, merged: Sequence[MergedRange]) -> list[Job]:
        """Return what to do, in the order of the file."""
        jobs: list[Job] = []
        batch: Batch | None = None
        for each in merged:
            if batch is not None and batch.add(each):
                continue
            place = await self._blocks.holding(each.start)
            block = (place.located.offset_bytes, place.located.length_bytes)
            batch = Batch(block, self._piece_bytes)
            if each.end - each.start > self._piece_bytes or not batch.add(each):
                jobs.append(each)
                batch = None
            else:
                jobs.append(Together(place, batch))
        return jobs

    async def _work_on(self, work: Iterator[Job]) -> None:
        for job in work:
            if isinstance(job, MergedRange):
                await self._read_long(job)
            else:
                async with self._links.datanodes.batches:
                    await self._read_together(job)

    async def _read_long(self, merged: MergedRange) -> None:
        buffer = memoryview(bytearray(merged.end - merged.start))
        try:
            await self._read_into(merged.start, buffer)
        except DolmenError as error:
            self._fail(merged, error)
        else:
            self._give(merged, buffer)

    async def _read_together(self, job: Together) -> None:
        ranges, start = job.batch.ranges, job.place.located.offset_bytes
        buffers = [memoryview(bytearray(each.end - each.start)) for each in ranges]
        read = BlockRead(
            Part(Piece(start, each.start - start, len(buffer)), buffer)
            for each, buffer in zip(ranges, buffers, strict=True)
        )
        failed = await self._read_what_can_be_had(job.place, read)
        for number, (each, buffer) in enumerate(zip(ranges, buffers, strict=True)):
            if number in failed:
                self._fail(each, failed[number])
            else:
                self._give(each, buffer)

    async def _read_what_can_be_had(
        self, place: BlockPlace, read: BlockRead
    ) -> dict[int, DolmenError]:
        """Return the errors of the parts that could not be read, by their numbers."""
        failed: dict[int, DolmenError] = {}
        count, in_a_row, after = read.part_count, 0, 0
        while not read.is_done:
            try:
                await self._pieces.read(place, read, retry=not failed)
            except DolmenError as error:
                number = count - read.part_count
                in_a_row = in_a_row + 1 if number == after else 1
                if not isinstance(error, BlockMissing) or in_a_row == MISSING_MAX:
                    return failed | dict.fromkeys(range(number, count), error)
                failed[number], after = error, number + 1
                read.skip_part()
        return failed

    def _give(self, merged: MergedRange, buffer: memoryview) -> None:
        for index in merged.members:
            start, end = self._ranges[index]
            self._found[index] = bytes(buffer[start - merged.start : end - merged.start])

    def _fail(self, merged: MergedRange, error: DolmenError) -> None:
        for index in merged.members:
            self._found[index] = error
