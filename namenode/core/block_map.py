"""Which replicas were reported, and what each is worth to its block.

A row says what a datanode reported of one replica on one volume, and nothing else: whether that is
good is judged against the block's record whenever somebody asks, so that no commit, restamp or
deletion has to touch rows. Rows of a dead datanode stay; its liveness is looked up in its
descriptor. The rows are soft: every start begins with none, and the full reports bring them back.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from dolmen.protocol.datanode_messages import ReplicaReport, ReplicaState
from dolmen.protocol.identifiers import block_namespace, block_number
from namenode.core.datanodes import Datanodes, DatanodeState, Liveness
from namenode.core.lookup import load_meta
from namenode.core.records import (
    BLOCK,
    INODE,
    REPLICA,
    Block,
    BlockState,
    Inode,
    Meta,
    Replica,
)
from namenode.core.tables import (
    BLOCKS,
    INODES,
    REPLICAS,
    STORAGE_BLOCKS,
    View,
    Writer,
    number_key,
    replica_key,
    storage_block_key,
)

UNSETTLED_BLOCKS = 2
"""The last blocks of an open file, which its writer may still change (rule 15)."""


class Worth(enum.IntEnum):
    """What a replica is worth to its block."""

    GOOD = 1
    """FINALIZED with the committed stamp, length and digest."""
    DAMAGED = 2
    """FINALIZED once, and some of its bytes are bad now: the others may still be read. It is never
    proof and never a source, and goes into quarantine when the block lives elsewhere (rule 21)."""
    WRONG = 3
    """FINALIZED with the block's stamp, and not what was committed."""
    OLD = 4
    """Of another stamp than the block's: left behind when a pipeline was rebuilt."""
    UNFINISHED = 5
    """Not FINALIZED, or the block is not committed yet."""


class Standing(enum.IntEnum):
    """What the namespace knows of a block that somebody reported."""

    COMPLETE = 1
    """Of a published file: every replica counts."""
    OPEN = 2
    """Of a file that is being written, and not known to be complete."""
    DOOMED = 3
    """Of a deleted or replaced file, kept for those who read it."""
    UNKNOWN = 4
    """Below the counters and of no file: it was deleted."""
    FROM_FUTURE = 5
    """Above the counters: this namespace has been rolled back."""
    FOREIGN = 6
    """Of another namespace."""
    SETTLED = 7
    """Of a file that is being written, and complete: its writer is past it."""
    GIVEN_UP = 8
    """Of a future that was lost when this namespace was rolled back, and given up by an operator:
    kept, because nobody knows what it is (rule 25)."""


class Row(msgspec.Struct, frozen=True):
    """One reported replica and where it is."""

    storage_number: int
    replica: Replica


class Holding(msgspec.Struct, frozen=True):
    """A replica, what it is worth, and the datanode that has it now."""

    datanode: DatanodeState
    replica: Replica
    worth: Worth


class Known(msgspec.Struct, frozen=True):
    """A block and what its file asks for."""

    standing: Standing
    block: Block | None = None
    wanted: int = 0


def look_up(view: View, meta: Meta, block_id: int, stamp: int = 0) -> Known:
    """Return what the namespace knows of `block_id`, reported with `stamp`."""
    if block_namespace(block_id) != meta.namespace_id:
        return Known(Standing.FOREIGN)
    if _within(meta.given_up_blocks, block_number(block_id)) or _within(
        meta.given_up_stamps, stamp
    ):
        return Known(Standing.GIVEN_UP)
    if block_number(block_id) >= meta.next_block_number or stamp >= meta.next_stamp:
        return Known(Standing.FROM_FUTURE)
    value = view.get(BLOCKS, number_key(block_id))
    if value is None:
        return Known(Standing.UNKNOWN)
    block = BLOCK.decode(value)
    inode_value = view.get(INODES, number_key(block.inode_id))
    if inode_value is None:
        return Known(Standing.DOOMED, block)
    inode = INODE.decode(inode_value)
    if inode.doomed_due_ms:
        return Known(Standing.DOOMED, block)
    return Known(_standing_of(block, inode), block, inode.replication)


def _within(ranges: Iterable[tuple[int, int]], number: int) -> bool:
    return any(first <= number < end for first, end in ranges)


def _standing_of(block: Block, inode: Inode) -> Standing:
    """Return the standing of a file's block. A block is allocated when the one before the last is
    complete (see `blocks`): those before the last two are."""
    if inode.published:
        return Standing.COMPLETE
    settled = block.index < inode.block_count - UNSETTLED_BLOCKS
    return Standing.SETTLED if settled else Standing.OPEN


def worth_of(block: Block, replica: Replica) -> Worth:
    """Return what `replica` is worth to `block`."""
    if replica.stamp != block.stamp:
        newer = replica.stamp > block.stamp and block.state is not BlockState.COMMITTED
        return Worth.UNFINISHED if newer else Worth.OLD
    if block.state is not BlockState.COMMITTED:
        return Worth.UNFINISHED
    if replica.state == ReplicaState.DAMAGED:
        return Worth.DAMAGED
    if replica.state != ReplicaState.FINALIZED:
        return Worth.UNFINISHED
    fits = replica.length_bytes == block.length_bytes and replica.digest == block.digest
    return Worth.GOOD if fits else Worth.WRONG


def row_of(report: ReplicaReport) -> Replica:
    """Return the row for a reported replica."""
    return Replica(report.stamp, report.length_bytes, int(report.state), report.digest)


def rows_of(soft: View, block_id: int) -> list[Row]:
    """Return the reported replicas of a block."""
    prefix = number_key(block_id)
    rows = []
    for key, value in soft.scan(REPLICAS, prefix):
        if not key.startswith(prefix):
            break
        rows.append(Row(int.from_bytes(key[8:], "big"), REPLICA.decode(value)))
    return rows


def blocks_on(soft: View, storage_number: int, after: int = -1) -> Iterator[int]:
    """Yield the blocks reported on a storage, in ascending order, from the one after `after`."""
    prefix = storage_number.to_bytes(4, "big")
    for key, _ in soft.scan(STORAGE_BLOCKS, storage_block_key(storage_number, after + 1)):
        if not key.startswith(prefix):
            return
        yield int.from_bytes(key[4:], "big")


def get_row(soft: View, block_id: int, storage_number: int) -> Replica | None:
    """Return what was reported of a block on a storage."""
    value = soft.get(REPLICAS, replica_key(block_id, storage_number))
    return None if value is None else REPLICA.decode(value)


class Tables:
    """The durable view and the soft tables, for the length of one slice of work."""

    def __init__(self, view: View, soft: Writer, counts: Counter[int]) -> None:
        self.view = view
        self.soft = soft
        self.meta = load_meta(view)
        self._counts = counts  # rows by storage

    def put_row(self, block_id: int, storage_number: int, replica: Replica) -> None:
        """Remember a reported replica, in both directions."""
        known = get_row(self.soft, block_id, storage_number)
        if known == replica:
            return
        self.soft.put(REPLICAS, replica_key(block_id, storage_number), REPLICA.encode(replica))
        if known is None:
            self.soft.put(STORAGE_BLOCKS, storage_block_key(storage_number, block_id), b"")
            self._counts[storage_number] += 1

    def remove_row(self, block_id: int, storage_number: int) -> None:
        """Forget a replica, if it is known."""
        if self.soft.delete(REPLICAS, replica_key(block_id, storage_number)):
            self.soft.delete(STORAGE_BLOCKS, storage_block_key(storage_number, block_id))
            self._counts[storage_number] -= 1


def holdings(rows: Iterable[Row], block: Block, datanodes: Datanodes) -> list[Holding]:
    """Return the replicas of a block with their datanodes; on storages that are gone there are
    none.

    A datanode that has the block twice counts once, with the better replica.
    """
    best: dict[str, Holding] = {}
    for row in rows:
        datanode = datanodes.holder(row.storage_number)
        if datanode is None:
            continue
        worth = worth_of(block, row.replica)
        known = best.get(datanode.datanode_id)
        if known is None or worth < known.worth:
            best[datanode.datanode_id] = Holding(datanode, row.replica, worth)
    return list(best.values())


def good(held: Iterable[Holding]) -> list[DatanodeState]:
    """Return the datanodes whose replica is good and that are not DEAD."""
    return [
        holding.datanode
        for holding in held
        if holding.worth is Worth.GOOD and holding.datanode.liveness is not Liveness.DEAD
    ]


def damaged(held: Iterable[Holding]) -> list[DatanodeState]:
    """Return the datanodes that are not DEAD and of whose replica a part can still be read."""
    return [
        holding.datanode
        for holding in held
        if holding.worth is Worth.DAMAGED and holding.datanode.liveness is not Liveness.DEAD
    ]


def counting(held: Iterable[Holding], block_id: int) -> list[DatanodeState]:
    """Return the datanodes that are not DEAD and whose replica counts: good, not ordered deleted,
    and not on its way out."""
    return [
        datanode
        for datanode in good(held)
        if block_id not in datanode.orders and not datanode.leaves
    ]
