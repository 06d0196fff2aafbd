"""A cluster without processes: durable tables written by hand, and the real `Cluster` on top.

Time stands still unless a test moves it; chance has a seed. Reports are given as calls.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from random import Random

from dolmen.protocol.checksums import block_digest
from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.datanode_messages import (
    AnyCommand,
    ChangeKind,
    Heartbeat,
    RegisterDatanode,
    ReplicaChange,
    ReplicaReport,
    ReplicaState,
    ReportBlocks,
    StorageStatus,
)
from dolmen.protocol.identifiers import make_block_id
from dolmen.protocol.tokens import ClusterKeys
from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core import records, tables
from namenode.core.apply import apply_group
from namenode.core.cluster import Cluster, ClusterOptions, Means
from namenode.core.datanodes import Patience
from namenode.core.dispatch import Moment
from namenode.core.edits import (
    AdminStateSet,
    ClusterFormatted,
    DatanodeRegistered,
    StorageRegistered,
)
from namenode.core.hashing import HashingOptions
from namenode.core.lookup import load_block, load_inode, load_meta
from namenode.core.outcome import (
    AdminStateChanged,
    BlocksChanged,
    BlocksDropped,
    BlocksForgotten,
    Effect,
)
from namenode.core.redundancy import RepairOptions
from namenode.core.replica_reports import pieces_of
from namenode.core.rounds import UpkeepOptions
from namenode.core.safe_mode import SafeModeOptions

NAMESPACE = 7
STAMP = 10
LENGTH_BYTES = 1000
DIGEST = block_digest(LENGTH_BYTES, b"checksum")
ROOM_BYTES = 1 << 40
TICK_MS = 250
FINALIZED = ReplicaState.FINALIZED

OPTIONS = ClusterOptions(
    patience=Patience(stale_after_ms=3000, dead_after_ms=10_000),
    safe_mode=SafeModeOptions(threshold=0.999, quiet_ms=10_000),
    repair=RepairOptions(rate_bytes=1 << 30, publish_grace_ms=3000, min_replicas=2, shun_ms=10_000),
    upkeep=UpkeepOptions(min_replicas=2, order_repeat_ms=10_000, token_life_ms=600_000),
    hashing=HashingOptions(quiet_ms=60_000, rate_bytes=1 << 30),
)


def block_number(number: int) -> int:
    """Return the id of a block of this namespace."""
    return make_block_id(NAMESPACE, number)


def datanode_id(index: int) -> str:
    return f"datanode {index}"


def storage_id(index: int) -> str:
    return f"volume {index}"


def replica(
    block_id: int,
    stamp: int = STAMP,
    state: ReplicaState = FINALIZED,
    digest: bytes = DIGEST,
) -> ReplicaReport:
    return ReplicaReport(block_id, stamp, LENGTH_BYTES, state, digest)


class ReplicaWorld:
    """The durable tables, a cluster on them, and what its datanodes hold if they obey."""

    def __init__(self, options: ClusterOptions = OPTIONS) -> None:
        self.options = options
        self.now_ms = 1_000_000
        store = SimKeyValueStore()
        self.durable = store.open("durable", tables.DURABLE_TABLES)
        self._soft_store = store
        with self.writing() as writer:
            apply_group((ClusterFormatted("c" * 32, NAMESPACE, 1),), writer, 1)
            meta = load_meta(writer)
            self.put_meta(writer, next_block_number=1000, next_stamp=1000, epoch=1)
            assert meta.blocks == 0
        self.racks: dict[int, str] = {}
        self.hosts: dict[int, str] = {}
        self.room_bytes: dict[int, int] = {}
        self.held: dict[int, dict[int, ReplicaReport]] = {}
        self.sent: list[tuple[int, AnyCommand]] = []
        self.slices = 0  # of upkeep's work, so far
        self.restart()

    # ------------------------------------------------------------ durable state

    @contextmanager
    def writing(self) -> Iterator[tables.Writer]:
        transaction = self.durable.begin()
        yield transaction
        transaction.commit()

    def put_meta(self, writer: tables.Writer, **changes: int) -> None:
        meta = load_meta(writer)
        fields = {name: getattr(meta, name) for name in records.Meta.__struct_fields__}
        changed = records.Meta(**(fields | changes))
        writer.put(tables.META, records.META_KEY, records.META_RECORD.encode(changed))

    def add_file(self, inode_id: int, numbers: Iterable[int], replication: int = 3) -> None:
        """Make a published file of these blocks; the cluster is told of it."""
        block_ids = [block_number(number) for number in numbers]
        self.put_file(inode_id, block_ids, replication)
        self.tell(BlocksChanged(tuple(block_ids)))

    def put_file(
        self, inode_id: int, block_ids: list[int], replication: int, *, published: bool = True
    ) -> None:
        with self.writing() as writer:
            for index, block_id in enumerate(block_ids):
                block = records.Block(
                    block_id=block_id,
                    inode_id=inode_id,
                    index=index,
                    stamp=STAMP,
                    length_bytes=LENGTH_BYTES,
                    digest=DIGEST,
                    state=records.BlockState.COMMITTED,
                )
                key = tables.number_key(block_id)
                writer.put(tables.BLOCKS, key, records.BLOCK.encode(block))
                place = tables.file_block_key(inode_id, index)
                writer.put(tables.FILE_BLOCKS, place, key)
            inode = records.Inode(
                inode_id=inode_id,
                parent_id=1,
                name="f",
                kind=EntryKind.FILE,
                mode=0o644,
                owner="ann",
                group="users",
                created_ms=1,
                modified_ms=1,
                created_txid=1,
                changed_txid=1,
                block_count=len(block_ids),
                replication=replication,
                published=published,
            )
            key = tables.number_key(inode_id)
            writer.put(tables.INODES, key, records.INODE.encode(inode))
            if published:
                self.put_meta(writer, blocks=load_meta(writer).blocks + len(block_ids))

    def change_file(self, inode_id: int, **changes: int | bool) -> None:
        with self.writing() as writer:
            inode = load_inode(writer, inode_id)
            fields = {name: getattr(inode, name) for name in records.Inode.__struct_fields__}
            changed = records.Inode(**(fields | changes))
            key = tables.number_key(inode_id)
            writer.put(tables.INODES, key, records.INODE.encode(changed))

    def set_replication(self, inode_id: int, replication: int) -> None:
        self.change_file(inode_id, replication=replication)
        self.tell(BlocksChanged(tuple(self.blocks_of(inode_id))))

    def delete_file(self, inode_id: int) -> None:
        """Doom a file and drop its blocks at once."""
        block_ids = tuple(self.blocks_of(inode_id))
        self.doom_file(inode_id)
        with self.writing() as writer:
            for index, block_id in enumerate(block_ids):
                writer.delete(tables.BLOCKS, tables.number_key(block_id))
                writer.delete(tables.FILE_BLOCKS, tables.file_block_key(inode_id, index))
            writer.delete(tables.INODES, tables.number_key(inode_id))
        self.tell(BlocksDropped(block_ids))

    def doom_file(self, inode_id: int) -> None:
        self.change_file(inode_id, doomed_due_ms=1)
        block_ids = self.blocks_of(inode_id)
        with self.writing() as writer:
            self.put_meta(writer, blocks=load_meta(writer).blocks - len(block_ids))
        self.tell(BlocksForgotten(tuple(block_ids)))

    def blocks_of(self, inode_id: int) -> list[int]:
        with self.durable.snapshot() as view:
            found = view.scan(tables.FILE_BLOCKS, tables.file_block_key(inode_id, 0))
            prefix = tables.number_key(inode_id)
            return [tables.read_number(v) for k, v in found if k.startswith(prefix)]

    def block(self, number: int) -> records.Block:
        with self.durable.snapshot() as view:
            return load_block(view, block_number(number))

    def set_admin_state(self, index: int, state: records.AdminState) -> None:
        edit = AdminStateSet(datanode_id(index), state)
        with self.writing() as writer:
            apply_group((edit,), writer, load_meta(writer).applied_txid + 1)
        self.tell(AdminStateChanged(datanode_id(index), state))

    def settle_admin_states(self) -> list[int]:
        """Make the changes that are due; return who has left."""
        left = []
        for change in self.cluster.due_changes(self.now_ms):
            left.append(self.index_of(change.datanode_id))
            self.set_admin_state(left[-1], change.admin_state)
        return left

    # ------------------------------------------------------------ the namenode

    def restart(self) -> None:
        """A new namenode process: all that is soft is gone."""
        self._soft_store.remove("soft")
        means = Means(
            ClusterKeys(b"secret"),
            self._soft_store.open("soft", tables.SOFT_TABLES),
            Random(1),
        )
        with self.durable.snapshot() as view:
            self.cluster = Cluster(self.options, means, view, self.now_ms)

    def tell(self, *effects: Effect) -> None:
        with self.durable.snapshot() as view:
            self.cluster.release(effects, view, self.moment)

    @property
    def moment(self) -> Moment:
        return Moment(self.now_ms, self.now_ms)

    def tick(self, passed_ms: int = TICK_MS) -> list[tuple[int, AnyCommand]]:
        """Let a tick pass and do all its work; return the commands by datanode."""
        self.now_ms += passed_ms
        dispatches = self.cluster.tick(self.moment)
        more = True
        while more:
            self.slices += 1
            with self.durable.snapshot() as view:
                found, more = self.cluster.step(view, self.moment)
            dispatches += found
        commands = [(self.index_of(d.datanode_id), d.command) for d in dispatches]
        self.sent += commands
        return commands

    def pass_time(self, ms: int, beating: Iterable[int] = ()) -> list[tuple[int, AnyCommand]]:
        """Let time pass while some datanodes send heartbeats."""
        beating = list(beating)
        commands = []
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            for index in beating:
                self.beat(index)
            commands += self.tick()
        return commands

    # ------------------------------------------------------------ datanodes

    def index_of(self, name: str) -> int:
        return int(name.split()[1])

    def status(self, index: int) -> StorageStatus:
        return StorageStatus(storage_id(index), ROOM_BYTES, 0, self.room_bytes[index])

    def add_datanodes(self, *indexes: int, report: bool = True) -> None:
        for index in indexes:
            self.join(index)
            if report:
                self.report(index)

    def join(
        self,
        index: int,
        host: str | None = None,
        rack: str | None = None,
        *,
        volume_failed: bool = False,
    ) -> None:
        self.hosts[index] = host or self.hosts.get(index, f"host {index}")
        self.racks[index] = rack or self.racks.get(index, "/default")
        self.room_bytes.setdefault(index, ROOM_BYTES)
        self.held.setdefault(index, {})
        address = f"{self.hosts[index].replace(' ', '')}:{9000 + index}"
        labels = (address, self.hosts[index], self.racks[index])
        with self.writing() as writer:
            edits = (
                DatanodeRegistered(datanode_id(index), index, *labels),
                StorageRegistered(storage_id(index), index, datanode_id(index)),
            )
            apply_group(edits, writer, load_meta(writer).applied_txid + 1)
        request = RegisterDatanode(
            datanode_id=datanode_id(index),
            proof=b"",
            address=address,
            host=labels[1],
            rack=labels[2],
            highest_epoch=1,
            software_version="0",
            storages=() if volume_failed else (self.status(index),),
        )
        with self.durable.snapshot() as view:
            self.cluster.check_may_join(request, view)
            self.cluster.join(request, view)

    def beat(self, index: int) -> None:
        self.cluster.hear(datanode_id(index), Heartbeat((self.status(index),), 0))

    def leave(self, index: int) -> None:
        self.cluster.leave(datanode_id(index))

    def report(self, index: int) -> None:
        """Report in full what the datanode holds."""
        held = self.held[index]
        replicas = tuple(held[block_id] for block_id in sorted(held))
        page = ReportBlocks(storage_id(index), 1, replicas, True, True, True)
        self.take_page(index, page)
        self.cluster.end_report(datanode_id(index))

    def take_page(self, index: int, page: ReportBlocks) -> None:
        self.cluster.open_page(datanode_id(index), page)
        for piece in pieces_of(page):
            more = True
            while more:
                with self.durable.snapshot() as view:
                    _, more = self.cluster.take_piece(
                        datanode_id(index), page.storage_id, piece, view
                    )

    def store(self, index: int, *replicas: ReplicaReport) -> None:
        """The datanode has these replicas now, and says so."""
        for one in replicas:
            self.held[index][one.block_id] = one
            self.change(index, ChangeKind.STORED, one)

    def lose(self, index: int, block_id: int, kind: ChangeKind = ChangeKind.DELETED) -> None:
        self.change(index, kind, self.held[index].pop(block_id))

    def change(self, index: int, kind: ChangeKind, one: ReplicaReport) -> None:
        change = ReplicaChange(kind, storage_id(index), one)
        with self.durable.snapshot() as view:
            self.cluster.take_changes(datanode_id(index), (change,), view)

    def check_invariants(self) -> None:
        with self.durable.snapshot() as view:
            block_ids = [tables.read_number(key) for key, _ in view.scan(tables.BLOCKS)]
            self.cluster.check_invariants(view, block_ids)
