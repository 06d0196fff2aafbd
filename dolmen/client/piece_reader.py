"""Reads one piece of one block into its place, from whichever replica has it right.

The replicas are asked in the order of `core/replica_ranking`; each that fails is remembered and the
next one is asked for what is still missing (`core/piece_progress`). When all have failed, the
namenode is asked again where they are, until `retry_for` is over: it may have new ones, or fresh
tokens, or the datanodes may just be starting.
"""

import asyncio

from dolmen.client.checksum_lists import ChecksumLists
from dolmen.client.core.piece_progress import PieceProgress
from dolmen.client.core.read_plan import Piece, checksums_of, runs, widen
from dolmen.client.core.replica_ranking import rank_replicas
from dolmen.client.file_blocks import BlockPlace, FileBlocks
from dolmen.client.links import Links
from dolmen.protocol.block_messages import RangesFollow, ReadRanges
from dolmen.protocol.checksums import CHUNK_BYTES, first_bad_chunk
from dolmen.protocol.client_messages import LocatedBlock, ReplicaLocation, ReportCorruptReplica
from dolmen.protocol.errors import (
    AccessDenied,
    BlockMissing,
    ChecksumMismatch,
    DataDamaged,
    DolmenError,
)
from dolmen.protocol.identifiers import format_block_id
from dolmen.runtime.transport import PIECE_BYTES, IncomingBody

TRIED_SHOWN = 12
"""Failures named in an error: of each replica the last ones."""


class PieceReader:
    """Reads pieces for one reader."""

    def __init__(self, links: Links, blocks: FileBlocks, checksums: ChecksumLists) -> None:
        self._links = links
        self._blocks = blocks
        self._checksums = checksums

    async def read(self, place: BlockPlace, piece: Piece, buffer: memoryview) -> None:
        """Fill `buffer` with the piece, verified; BlockMissing after `retry_for`."""
        patience = self._links.patience()
        tried: dict[str, str] = {}
        progress = PieceProgress(piece, buffer)
        while True:
            async with self._links.datanodes.streams:
                while not progress.is_done and await self._read_on(place, progress, tried):
                    pass
            if progress.is_done:
                return
            if not patience.left_s:
                raise _missing(place.located, tried)
            await patience.pause()
            place = await self._blocks.renew(place)

    async def _read_on(
        self, place: BlockPlace, progress: PieceProgress, tried: dict[str, str]
    ) -> bool:
        """Read what is left, or a part of it, from any replica; return whether to go on at once."""
        failures = self._links.datanodes.read_failures
        untried, left_bytes, damaged = list(place.replicas), progress.piece.length, False
        while untried:
            # Ranked anew each time: other pieces learn of failures meanwhile.
            failed = failures.current(asyncio.get_running_loop().time())
            replica = rank_replicas(untried, self._links.host, failed)[0]
            untried.remove(replica)
            try:
                await self._read_from(place.located, replica, progress)
            except AccessDenied as error:
                tried[replica.address] = error.message
                return False  # not the datanode's fault: the token is too old
            except DolmenError as error:
                tried[replica.address] = error.message
                self._blame(place.located, replica, error)
                damaged |= isinstance(error, DataDamaged)
            else:
                failures.clear(replica.datanode_id)
            if progress.piece.length < left_bytes:
                return True
        return damaged and progress.narrow()

    def _blame(self, block: LocatedBlock, replica: ReplicaLocation, error: DolmenError) -> None:
        now_s = asyncio.get_running_loop().time()
        self._links.datanodes.read_failures.add(replica.datanode_id, now_s)
        if isinstance(error, ChecksumMismatch):
            hint = ReportCorruptReplica(block.block_id, block.stamp, replica.datanode_id)
            self._links.hints.report(hint)

    async def _read_from(
        self, block: LocatedBlock, replica: ReplicaLocation, progress: PieceProgress
    ) -> None:
        checksums = await self._checksums.of(block, replica)
        piece = progress.wanted
        wide = widen(piece.offset, piece.length, block.length_bytes)
        head = ReadRanges(block.token, block.block_id, block.stamp, (wide,))
        asking = self._links.datanodes.asking(replica.address, head, RangesFollow)
        async with asking as (reply, body):
            if (reply.length_bytes, body.length_bytes) != (wide[1], wide[1]):
                raise ChecksumMismatch(
                    f"{body.length_bytes} bytes came where {wide[1]} were asked for"
                )
            await _receive(body, block, checksums, progress)


async def _receive(
    body: IncomingBody, block: LocatedBlock, checksums: bytes, progress: PieceProgress
) -> None:
    """Receive a widened range: whole runs straight into their place, edges through a small
    buffer."""
    edge = memoryview(bytearray(CHUNK_BYTES))
    piece = progress.wanted
    for run in runs(piece.offset, piece.length, block.length_bytes, PIECE_BYTES):
        received = progress.buffer[: run.length] if run.is_whole else edge[: run.length]
        await body.read_into(received)
        bad = first_bad_chunk(received, checksums_of(checksums, run.offset, run.length))
        if bad is not None:
            if run.is_whole:
                progress.got(bad * CHUNK_BYTES)
            number = run.offset // CHUNK_BYTES + bad
            raise ChecksumMismatch(f"chunk {number} fails its checksum")
        if not run.is_whole:
            progress.buffer[: run.keep] = edge[run.skip : run.skip + run.keep]
        progress.got(run.keep)


def _missing(block: LocatedBlock, tried: dict[str, str]) -> BlockMissing:
    shown = list(tried.items())[-TRIED_SHOWN:]
    story = "; ".join(f"{address}: {reason}" for address, reason in shown)
    return BlockMissing(
        f"no replica of block {format_block_id(block.block_id)} can be read:"
        f" {story or 'no living datanode has one'}"
    )
