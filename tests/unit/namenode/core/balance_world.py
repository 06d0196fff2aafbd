"""A cluster whose datanodes have limited space and blocks of different lengths, to be balanced.

Datanodes obey commands in an order that chance decides; copies may fail. What they say of their
space is as old as their last heartbeat.
"""

from collections.abc import Iterable
from random import Random

import msgspec

from dolmen.protocol.datanode_messages import (
    AnyCommand,
    ChangeKind,
    CommandFailed,
    InvalidateReplica,
    ReplicaReport,
    StorageStatus,
    TransferReplica,
)
from dolmen.protocol.operator_messages import Balance, BalanceProgress
from namenode.core import records, tables
from namenode.core.lookup import load_block
from namenode.core.outcome import BlocksChanged
from tests.unit.namenode.core.replica_world import (
    DIGEST,
    FINALIZED,
    STAMP,
    ReplicaWorld,
    block_number,
    datanode_id,
    storage_id,
)

CAPACITY_BYTES = 10_000
BEAT_EVERY = 4
"""Ticks between two heartbeats, if nothing else is said: a second."""


class BalanceWorld(ReplicaWorld):
    """Datanodes are numbers; `capacity_bytes` and `held` say how full they are."""

    def __init__(self) -> None:
        self.capacity_bytes: dict[int, int] = {}
        self.waiting: list[tuple[int, AnyCommand]] = []
        self.ticks = 0
        self.beat_every = BEAT_EVERY
        self.prompt = False  # datanodes obey at once
        super().__init__()

    def add_node(self, index: int, rack: str = "/default", host: str | None = None) -> None:
        self.capacity_bytes.setdefault(index, CAPACITY_BYTES)
        self.join(index, host=host, rack=rack)
        self.report(index)

    def used_bytes(self, index: int) -> int:
        return sum(replica.length_bytes for replica in self.held[index].values())

    def share(self, index: int) -> float:
        return self.used_bytes(index) / self.capacity_bytes[index]

    def status(self, index: int) -> StorageStatus:
        capacity_bytes, used_bytes = self.capacity_bytes[index], self.used_bytes(index)
        free_bytes = capacity_bytes - used_bytes
        return StorageStatus(storage_id(index), capacity_bytes, used_bytes, free_bytes)

    def add_block(self, number: int, length_bytes: int, holders: Iterable[int]) -> None:
        """A published file of one block that is where it is wanted."""
        holders = list(holders)
        block_id = block_number(number)
        self.put_file(100 + number, [block_id], len(holders))
        with self.writing() as writer:
            block = load_block(writer, block_id)
            shorter = msgspec.structs.replace(block, length_bytes=length_bytes)
            writer.put(tables.BLOCKS, tables.number_key(block_id), records.BLOCK.encode(shorter))
        for index in holders:
            self.store(index, ReplicaReport(block_id, STAMP, length_bytes, FINALIZED, DIGEST))
        self.tell(BlocksChanged((block_id,)))

    def begin(self) -> None:
        """Let all reports be taken, and what pipelines promised be over."""
        for _ in range(16):
            self.beat_all()
            self.waiting += self.tick()

    def beat_all(self) -> None:
        for index in self.held:
            self.beat(index)

    def holders(self, block_id: int) -> list[int]:
        return [index for index, held in self.held.items() if block_id in held]

    def ask(
        self, threshold_percent: float = 10.0, *, stop: bool = False, asker: str = "ann"
    ) -> BalanceProgress:
        request = Balance(threshold_percent, stop)
        return self.cluster.balancer.ask(request, asker, self.now_ms)

    def turn(self, random: Random, failing: float = 0.0) -> None:
        """One tick: heartbeats when they are due, and some of the commands are obeyed."""
        self.ticks += 1
        if self.ticks % self.beat_every == 0:
            self.beat_all()
        self.waiting += self.tick()
        random.shuffle(self.waiting)
        now = len(self.waiting) if self.prompt else random.randint(0, len(self.waiting))
        for _ in range(now):
            self.obey(*self.waiting.pop(), random.random() < failing)

    def obey(self, index: int, command: AnyCommand, fails: bool = False) -> None:
        match command:
            case TransferReplica(block_id) if fails:
                failed = CommandFailed(block_id, "out of luck")
                self.cluster.take_failures(datanode_id(index), (failed,), self.now_ms)
            case TransferReplica(block_id, stamp, length_bytes, digest):
                copy = ReplicaReport(block_id, stamp, length_bytes, FINALIZED, digest)
                self.store(index, copy)
            case InvalidateReplica(block_id) if block_id in self.held[index]:
                self.lose(index, block_id, ChangeKind.DELETED)
            case _:
                pass

    def balance(
        self, random: Random, threshold_percent: float = 10.0, ticks: int = 2000
    ) -> BalanceProgress:
        """Ask every second until it has ended."""
        for _ in range(ticks // 4):
            progress = self.ask(threshold_percent)
            if progress.ended:
                return progress
            for _ in range(4):
                self.turn(random)
        raise AssertionError(f"it does not end: {progress}")

    def wind_down(self, random: Random) -> None:
        """Let everything that is under way come to its end."""
        for _ in range(60):
            self.turn(random)
