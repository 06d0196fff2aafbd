"""Drives a namesystem as the journal does: decide, apply, log; the datanodes do what tests say."""

from random import Random
from typing import TypeVar

from dolmen.protocol.checksums import content_hash
from dolmen.protocol.client_messages import (
    AllocateBlock,
    AllocatedBlock,
    ClientRequest,
    CommittedBlock,
    CreatedFile,
    CreateFile,
    FileInfo,
    GetInfo,
    OpenedFile,
    OpenFile,
    PublishFile,
    ReplicaLocation,
    StoreFile,
)
from dolmen.protocol.control_messages import ClientCall, Reply
from dolmen.protocol.datanode_messages import RegisterDatanode, StorageStatus
from dolmen.protocol.draft_messages import DraftOpened, ExtendFile, OpenDraft
from dolmen.protocol.operator_messages import DatanodeReport
from dolmen.protocol.tokens import ClusterKeys, Target
from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core.apply import apply_group
from namenode.core.case import NamesystemSettings
from namenode.core.edits import decode_group, encode_group
from namenode.core.invariants import check_invariants
from namenode.core.knowledge import Wish
from namenode.core.lookup import file_block_ids, load_inode
from namenode.core.namesystem import Namesystem
from namenode.core.outcome import AdminStateChanged, BlocksDropped, Effect, Outcome, Waits
from namenode.core.records import Block
from namenode.core.tables import DURABLE_TABLES, View

CLIENT = b"client-of-a-test"
RIVAL = b"rival-of-a-test!"
START_MS = 1_000_000
DIGEST = bytes(range(16))
R = TypeVar("R")


class KnownDatanodes:
    """Knowledge of datanodes that are always live and report what a test says."""

    def __init__(self, count: int) -> None:
        self.random = Random(0)
        self.datanodes = [Target(f"{number:032x}", f"dn{number}:1") for number in range(count)]
        self.safe_mode: str | None = None
        self.eager = True  #: every committed block is reported by its whole pipeline at once
        self.full: set[str] = set()
        self.dead: set[str] = set()
        self.reported: dict[int, int] = {}
        self.wishes: list[Wish] = []
        self.due: tuple[AdminStateChanged, ...] = ()

    def in_safe_mode(self) -> str | None:
        return self.safe_mode

    def registered_count(self) -> int:
        return len(self.datanodes)

    def describe(self, datanode_id: str) -> DatanodeReport | None:
        return DatanodeReport(datanode_id, "", "", "", "LIVE", "IN_SERVICE", 0, 0, 0, None)

    def due_changes(self, now_ms: int) -> tuple[AdminStateChanged, ...]:
        return self.due

    def choose_targets(self, wish: Wish) -> tuple[Target, ...]:
        self.wishes.append(wish)
        full = self.full if wish.length_bytes else ()
        unfit = {*wish.holders, *wish.excluded, *full, *self.dead}
        fit = [target for target in self.datanodes if target.datanode_id not in unfit]
        return tuple(fit[: wish.wanted])

    def most_room_bytes(self) -> int:
        return 0 if len(self.full) == len(self.datanodes) else 1 << 30

    def targets_of(self, datanode_ids: tuple[str, ...]) -> tuple[Target, ...]:
        by_id = {target.datanode_id: target for target in self.datanodes}
        return tuple(
            by_id[datanode_id] for datanode_id in datanode_ids if datanode_id not in self.dead
        )

    def good_replicas(self, block: Block) -> int:
        return self.reported.get(block.block_id, len(block.expected) if self.eager else 0)

    def locations(self, block: Block, reader_host: str) -> tuple[ReplicaLocation, ...]:
        return tuple(
            ReplicaLocation(self.datanodes[number - 1].datanode_id, "address:1", "host", "/rack")
            for number in block.expected[: self.good_replicas(block)]
        )


class Driver:
    """A formatted namespace, its log, and a clock that only moves when told."""

    def __init__(
        self, settings: NamesystemSettings | None = None, datanodes: int = 3, checked: bool = True
    ) -> None:
        self.settings = settings or NamesystemSettings()
        self.keys = ClusterKeys(b"a secret of tests")
        self.knowledge = KnownDatanodes(datanodes)
        self.key_value = SimKeyValueStore().open("/namespace", DURABLE_TABLES)
        self.log: list[bytes] = []
        self.effects: list[Effect] = []
        self.now_ms = START_MS
        self.number = 0
        self.checked = checked
        self.start()
        self.commit(self.namesystem.format("ab" * 16, 7, self.now_ms))
        for target in self.knowledge.datanodes:
            self.register(target)

    @classmethod
    def long_up(cls, settings: NamesystemSettings, *, checked: bool = True) -> "Driver":
        """Return one that has been up for longer than any token of its predecessor."""
        driver = cls(settings, checked=checked)
        driver.tick()
        driver.now_ms += settings.block_token_life_ms + 1
        return driver

    def start(self) -> None:
        """A namenode begins: what is soft is lost."""
        self.namesystem = Namesystem(self.settings, self.keys, self.knowledge)

    def register(self, target: Target) -> Outcome:
        storages = (StorageStatus(target.datanode_id[::-1] + "s", 1, 0, 1),)
        request = RegisterDatanode(
            target.datanode_id, b"", target.address, "host", "/rack", 0, "1", storages
        )
        with self.key_value.snapshot() as view:
            outcome = self.namesystem.register_datanode(request, view, self.now_ms)
        self.commit(outcome)
        return outcome

    def commit(self, outcome: Outcome) -> None:
        """Apply and log an outcome as the next transaction, then let its effects go."""
        if outcome.edits:
            group = encode_group(outcome.edits)
            transaction = self.key_value.begin()
            self.log.append(group)
            apply_group(decode_group(group), transaction, len(self.log))
            transaction.commit()
            if self.checked:
                self.check()
        self.effects.extend(outcome.effects)
        self.namesystem.take_effects(outcome.effects, self.now_ms)

    def check(self) -> None:
        with self.key_value.snapshot() as view:
            check_invariants(view)

    def decide(
        self, request: ClientRequest, number: int = 0, client_id: bytes = CLIENT
    ) -> Outcome | Waits:
        """Decide a mutation with the next call number, or a repeated one; nothing changes."""
        if not number:
            self.number += 1
            number = self.number
        call = ClientCall(client_id, number, "somebody", request)
        with self.key_value.snapshot() as view:
            return self.namesystem.handle(call, view, self.now_ms)

    def do(self, request: ClientRequest, number: int = 0, client_id: bytes = CLIENT) -> Reply:
        """Decide and commit a mutation that need not wait."""
        outcome = self.decide(request, number, client_id)
        assert isinstance(outcome, Outcome), outcome
        self.commit(outcome)
        return outcome.reply

    def ask(self, request: ClientRequest, client_id: bytes = CLIENT) -> Reply:
        """Read from a snapshot."""
        with self.key_value.snapshot() as view:
            call = ClientCall(client_id, 0, "somebody", request)
            return self.namesystem.read(call, view, self.now_ms)

    def tick(self) -> int:
        """Do all background work that is due; return in how many pieces."""
        pieces = 0
        while True:
            with self.key_value.snapshot() as view:
                outcome = self.namesystem.tick(view, self.now_ms)
            if outcome is None:
                return pieces
            self.commit(outcome)
            pieces += 1

    def take_effects(self, kind: type[R]) -> list[R]:
        """Return the effects of a kind since this was last asked, and forget all."""
        found: list[R] = [effect for effect in self.effects if isinstance(effect, kind)]
        self.effects.clear()
        return found

    # ------------------------------------------------------------ shorter ways to the same

    def create(self, path: str, **fields: int | bool) -> CreatedFile:
        reply = self.do(CreateFile(path, **fields))  # type: ignore[arg-type]
        assert isinstance(reply, CreatedFile)
        return reply

    def allocate(
        self,
        inode_id: int,
        index: int,
        previous: CommittedBlock | None = None,
        client_id: bytes = CLIENT,
    ) -> AllocatedBlock:
        reply = self.do(AllocateBlock(inode_id, index, previous), client_id=client_id)
        assert isinstance(reply, AllocatedBlock)
        return reply

    def write_blocks(
        self, inode_id: int, lengths: tuple[int, ...], client_id: bytes = CLIENT
    ) -> CommittedBlock | None:
        last: CommittedBlock | None = None
        for index, length_bytes in enumerate(lengths):
            block = self.allocate(inode_id, index, last, client_id)
            last = CommittedBlock(block.block_id, block.stamp, length_bytes, DIGEST)
        return last

    def write(self, path: str, lengths: tuple[int, ...] = (), **fields: int | bool) -> FileInfo:
        """Create, write and publish a file."""
        inode_id = self.create(path, **fields).inode_id
        last = self.write_blocks(inode_id, lengths)
        reply = self.do(PublishFile(inode_id, path, last, DIGEST))
        assert isinstance(reply, FileInfo)
        return reply

    def store(self, path: str, content: bytes, **fields: int | bool) -> FileInfo:
        """Store an inline file."""
        file = CreateFile(path, **fields)  # type: ignore[arg-type]
        reply = self.do(StoreFile(file, content, content_hash(content)))
        assert isinstance(reply, FileInfo)
        return reply

    def open_draft(self, path: str, client_id: bytes = CLIENT) -> DraftOpened:
        reply = self.do(OpenDraft(path), client_id=client_id)
        assert isinstance(reply, DraftOpened)
        return reply

    def extend(self, request: ExtendFile) -> FileInfo:
        reply = self.do(request)
        assert isinstance(reply, FileInfo)
        return reply

    def opened(self, path: str) -> OpenedFile:
        reply = self.ask(OpenFile(path))
        assert isinstance(reply, OpenedFile)
        return reply

    def shape(self, path: str) -> list[tuple[int, int]]:
        """Return (offset, length) of a file's blocks."""
        return [(block.offset_bytes, block.length_bytes) for block in self.opened(path).blocks]

    def dropped(self) -> set[int]:
        """Return the blocks that have left the namespace since effects were last asked for."""
        return {
            block_id for effect in self.take_effects(BlocksDropped) for block_id in effect.block_ids
        }

    def block_ids(self, inode_id: int) -> list[int]:
        """Return the ids of a file's blocks."""
        with self.key_value.snapshot() as view:
            return list(file_block_ids(view, load_inode(view, inode_id)))

    def info(self, path: str) -> FileInfo:
        reply = self.ask(GetInfo(path))
        assert isinstance(reply, FileInfo)
        return reply


def contents(view: View) -> dict[str, list[tuple[bytes, bytes]]]:
    """Return everything in the durable tables."""
    return {table: list(view.scan(table)) for table in DURABLE_TABLES}
