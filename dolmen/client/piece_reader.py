"""Reads one piece of one block into its place, from whichever replica has it right.

The replicas are asked in the order of `core/replica_ranking`; each that fails is remembered and the
next one is asked. When all have failed, the namenode is asked again where they are, until
`retry_for` is over: it may have new ones, or fresh tokens, or the datanodes may just be starting.
"""

import asyncio

from dolmen.client.checksum_lists import ChecksumLists
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
        while True:
            async with self._links.datanodes.streams:
                if await self._read_from_any(place, piece, buffer, tried):
                    return
            if not patience.left_s:
                raise _missing(place.located, tried)
            await patience.pause()
            place = await self._blocks.locate(place.index, place)

    async def _read_from_any(
        self, place: BlockPlace, piece: Piece, buffer: memoryview, tried: dict[str, str]
    ) -> bool:
        failures = self._links.datanodes.read_failures
        untried = list(place.replicas)
        while untried:
            # Ranked anew each time: other pieces learn of failures meanwhile.
            failed = failures.current(asyncio.get_running_loop().time())
            replica = rank_replicas(untried, self._links.host, failed)[0]
            untried.remove(replica)
            try:
                await self._read_from(place.located, replica, piece, buffer)
            except AccessDenied as error:
                tried[replica.address] = error.message
                return False  # not the datanode's fault: the token is too old
            except DolmenError as error:
                tried[replica.address] = error.message
                self._blame(place.located, replica, error)
            else:
                failures.clear(replica.datanode_id)
                return True
        return False

    def _blame(self, block: LocatedBlock, replica: ReplicaLocation, error: DolmenError) -> None:
        now_s = asyncio.get_running_loop().time()
        self._links.datanodes.read_failures.add(replica.datanode_id, now_s)
        if isinstance(error, ChecksumMismatch):
            hint = ReportCorruptReplica(block.block_id, block.stamp, replica.datanode_id)
            self._links.hints.report(hint)

    async def _read_from(
        self, block: LocatedBlock, replica: ReplicaLocation, piece: Piece, buffer: memoryview
    ) -> None:
        checksums = await self._checksums.of(block, replica)
        wide = widen(piece.offset, piece.length, block.length_bytes)
        head = ReadRanges(block.token, block.block_id, block.stamp, (wide,))
        asking = self._links.datanodes.asking(replica.address, head, RangesFollow)
        async with asking as (reply, body):
            if (reply.length_bytes, body.length_bytes) != (wide[1], wide[1]):
                raise ChecksumMismatch(
                    f"{body.length_bytes} bytes came where {wide[1]} were asked for"
                )
            await _receive(body, block, checksums, piece, buffer)


async def _receive(
    body: IncomingBody, block: LocatedBlock, checksums: bytes, piece: Piece, buffer: memoryview
) -> None:
    """Receive a widened range: whole runs straight into `buffer`, edges through a small one."""
    edge = memoryview(bytearray(CHUNK_BYTES))
    at = 0
    for run in runs(piece.offset, piece.length, block.length_bytes, PIECE_BYTES):
        received = buffer[at : at + run.length] if run.is_whole else edge[: run.length]
        await body.read_into(received)
        bad = first_bad_chunk(received, checksums_of(checksums, run.offset, run.length))
        if bad is not None:
            number = run.offset // CHUNK_BYTES + bad
            raise ChecksumMismatch(f"chunk {number} fails its checksum")
        if not run.is_whole:
            buffer[at : at + run.keep] = edge[run.skip : run.skip + run.keep]
        at += run.keep


def _missing(block: LocatedBlock, tried: dict[str, str]) -> BlockMissing:
    shown = list(tried.items())[-TRIED_SHOWN:]
    story = "; ".join(f"{address}: {reason}" for address, reason in shown)
    return BlockMissing(
        f"no replica of block {format_block_id(block.block_id)} can be read:"
        f" {story or 'no living datanode has one'}"
    )
