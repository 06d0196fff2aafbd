"""Reads parts of one block into their places, from whichever replica has them right.

The replicas are asked in the order of `core/replica_ranking`; one that is late is raced against the
next (`hedging`); each that fails is remembered and the next one is asked for what is still missing
(`core/block_read`). When all have failed, the namenode is asked again where they are, until
`retry_for` is over: it may have new ones, or fresh tokens, or the datanodes may just be starting.
"""

import asyncio

from dolmen.client.at_hand import AtHand
from dolmen.client.checksum_lists import ChecksumLists
from dolmen.client.core.block_read import BlockRead
from dolmen.client.core.read_plan import checksums_of, runs, widen
from dolmen.client.core.replica_ranking import (
    Standing,
    rank_replicas,
    rival_among,
    rotate_replicas,
)
from dolmen.client.file_blocks import FRESH_SHARE, BlockPlace, FileBlocks
from dolmen.client.hedging import Contest
from dolmen.client.links import Links
from dolmen.client.local_replica import LocalReplica
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
    """Reads parts of blocks for one reader."""

    def __init__(self, links: Links, blocks: FileBlocks, checksums: ChecksumLists) -> None:
        self._links = links
        self._blocks = blocks
        self._checksums = checksums
        self._fresh_s = FRESH_SHARE * links.namenode.greeting.block_token_life_ms / 1000
        self.at_hand = AtHand(asyncio.get_running_loop().time, links.local.count)
        """What other threads may read."""

    async def read(self, place: BlockPlace, read: BlockRead, *, retry: bool = True) -> None:
        """Bring all that is wanted of the block, verified; BlockMissing after `retry_for`, or when
        each replica was asked once."""
        if self._read_at_once(place, read):
            await asyncio.sleep(0)  # others have their turn, however long the range is
            return
        patience = self._links.patience()
        tried: dict[str, str] = {}
        while True:
            async with self._links.datanodes.streams:
                while not read.is_done and await self._read_on(place, read, tried):
                    pass
            if read.is_done:
                self._note(place)
                return
            if not retry or not patience.left_s:
                raise _missing(place.located, tried)
            await patience.pause()
            place = await self._blocks.renew(place)

    async def _read_on(self, place: BlockPlace, read: BlockRead, tried: dict[str, str]) -> bool:
        """Read what is left, or a part of it, from any replica; return whether to go on at once."""
        left_bytes = read.left_bytes
        turn = read.wanted[0].offset // self._links.options.read_piece_bytes
        near = await self._links.local.look(place.replicas)
        asking = _Asking(self._links, self._checksums, place, 0 if near else turn)
        asking.near = near
        contest = Contest(
            "listed" if self._checksums.has(place.located) else "unlisted",
            read,
            asking.ask,
            asking.failed,
            asking.rival,
        )
        while asking.untried:
            await self._links.hedging.run(asking.next(), contest)
            if read.left_bytes < left_bytes:
                break
        tried.update(asking.tried)
        if asking.is_denied:
            return False
        return read.left_bytes < left_bytes or (asking.met_damage and read.narrow())

    def _read_at_once(self, place: BlockPlace, read: BlockRead) -> bool:
        """Read what our own host has in memory; return whether that is all."""
        replica = self._note(place)
        if replica is None:
            return False
        left_bytes = read.left_bytes
        while not read.is_done:
            wanted = read.first
            count = replica.read_at_once(wanted.offset, read.buffer[: wanted.length])
            if count:
                read.got(count)
            if count < wanted.length:
                break
        if left_bytes > read.left_bytes:
            self._links.local.count(left_bytes - read.left_bytes)
        return read.is_done

    def _note(self, place: BlockPlace) -> LocalReplica | None:
        """Return the block if it is open on our own host, having let other threads read it."""
        replica = self._links.local.get(place.located)
        if replica is not None:
            self.at_hand.note(place.located, replica, place.since_s + self._fresh_s)
        return replica


class _Asking:
    """The replicas of one block, each of them asked once."""

    def __init__(
        self, links: Links, checksums: ChecksumLists, place: BlockPlace, turn: int
    ) -> None:
        self._links = links
        self._checksums = checksums
        self._block: LocatedBlock = place.located
        self.untried = rotate_replicas(place.replicas, turn)
        self.tried: dict[str, str] = {}
        self.near: tuple[str, ...] = ()
        """The datanodes on our host."""
        self.is_denied = False
        self.met_damage = False

    def next(self) -> ReplicaLocation:
        """Return whom to ask now; he is not asked again."""
        # Ranked anew each time: other reads learn of failures meanwhile.
        replica = rank_replicas(self.untried, self._standing())[0]
        self.untried.remove(replica)
        return replica

    def rival(self) -> ReplicaLocation | None:
        """Return whom to race against the one that is late."""
        return rival_among(self.untried, self._standing())

    def failed(self, replica: ReplicaLocation, error: DolmenError) -> None:
        """Remember that he failed, and tell the namenode if his bytes were wrong."""
        self.tried[replica.address] = error.message
        if replica in self.untried:
            self.untried.remove(replica)
        if isinstance(error, AccessDenied):
            self.is_denied = True  # not the datanode's fault: the token is too old
            self.untried.clear()
            return
        self._links.local.drop(self._block, replica.datanode_id)
        self.met_damage |= isinstance(error, DataDamaged)
        self._links.datanodes.read_failures.add(replica.datanode_id, _now_s())
        if isinstance(error, ChecksumMismatch):
            block = self._block
            hint = ReportCorruptReplica(block.block_id, block.stamp, replica.datanode_id)
            self._links.hints.report(hint)

    async def ask(self, replica: ReplicaLocation, read: BlockRead) -> None:
        """Fill what `read` wants from one replica."""
        block = self._block
        local = await self._links.local.open(block, replica, self._checksums)
        if local is not None and await self._read_locally(local, read):
            self._links.datanodes.read_failures.clear(replica.datanode_id)
            return
        checksums = await self._checksums.of(block, replica)
        wide = tuple(widen(each.offset, each.length, block.length_bytes) for each in read.wanted)
        length_bytes = sum(length for _, length in wide)
        head = ReadRanges(block.token, block.block_id, block.stamp, wide)
        asking = self._links.datanodes.asking(replica.address, head, RangesFollow)
        async with asking as (reply, body):
            if (reply.length_bytes, body.length_bytes) != (length_bytes, length_bytes):
                raise ChecksumMismatch(
                    f"{body.length_bytes} bytes came where {length_bytes} were asked for"
                )
            await _receive(body, block, checksums, read)
        self._links.datanodes.read_failures.clear(replica.datanode_id)

    async def _read_locally(self, local: LocalReplica, read: BlockRead) -> bool:
        """Fill what `read` wants; return False if the replica was given up meanwhile."""
        left_bytes = read.left_bytes
        is_done = await local.fill(read)
        self._links.local.count(left_bytes - read.left_bytes)
        return is_done

    def _standing(self) -> Standing:
        now_s = _now_s()
        failed = self._links.datanodes.read_failures.current(now_s)
        slow = self._links.hedging.lost.current(now_s)
        return Standing(self._links.host, failed, slow, self.near)


async def _receive(
    body: IncomingBody, block: LocatedBlock, checksums: bytes, read: BlockRead
) -> None:
    """Receive widened ranges: whole runs straight into their place, edges through a small
    buffer."""
    edge = memoryview(bytearray(CHUNK_BYTES))
    for piece in read.wanted:
        for run in runs(piece.offset, piece.length, block.length_bytes, PIECE_BYTES):
            received = read.buffer[: run.length] if run.is_whole else edge[: run.length]
            await body.read_into(received)
            bad = first_bad_chunk(received, checksums_of(checksums, run.offset, run.length))
            if bad is not None:
                if run.is_whole:
                    read.got(bad * CHUNK_BYTES)
                number = run.offset // CHUNK_BYTES + bad
                raise ChecksumMismatch(f"chunk {number} fails its checksum")
            if not run.is_whole:
                read.buffer[: run.keep] = edge[run.skip : run.skip + run.keep]
            read.got(run.keep)


def _missing(block: LocatedBlock, tried: dict[str, str]) -> BlockMissing:
    shown = list(tried.items())[-TRIED_SHOWN:]
    story = "; ".join(f"{address}: {reason}" for address, reason in shown)
    return BlockMissing(
        f"no replica of block {format_block_id(block.block_id)} can be read:"
        f" {story or 'no living datanode has one'}"
    )


def _now_s() -> float:
    return asyncio.get_running_loop().time()
