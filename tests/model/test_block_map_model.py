"""The block map under any interleaving of reports, deaths, returns, deletions and ticks.

After every step what is noted of each block is what a count from scratch gives, and no order takes
a good replica of a live block unless as many as are wanted remain on datanodes that really have
them, and none a damaged one unless a good one remains: the last readable replica is never ordered
away. When everybody is back and has reported, the cluster heals: every block of which a good
replica is left has as many as are wanted, well spread, and nothing else is left anywhere.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dolmen.protocol.datanode_messages import (
    AnyCommand,
    ChangeKind,
    CheckReplica,
    CommandFailed,
    InvalidateReplica,
    QuarantineReplica,
    ReplicaChecked,
    ReplicaReport,
    ReplicaState,
    TransferReplica,
)
from namenode.core.block_map import Worth, row_of, worth_of
from tests.unit.namenode.core.replica_world import (
    STAMP,
    ReplicaWorld,
    block_number,
    datanode_id,
    replica,
)

DATANODES = range(5)
BLOCKS = {100: (1, 2), 101: (3, 4), 102: (5, 6)}
"""Blocks by file; number 7 is of no file."""
INDEX = st.sampled_from(DATANODES)
FILE = st.sampled_from(sorted(BLOCKS))
NUMBER = st.integers(1, 7)
KIND: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"stamp": STAMP - 1},
        {"digest": b"x" * 16},
        {"state": ReplicaState.BEING_WRITTEN, "digest": b""},
        {"state": ReplicaState.TEMPORARY, "digest": b""},
    ]
)


class BlockMapMachine(RuleBasedStateMachine):
    """`held` is what datanodes really have; the cluster knows what they told it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = ReplicaWorld()
        self.connected: set[int] = set()
        self.replication: dict[int, int] = {}
        self.outbox: dict[int, list[AnyCommand]] = {index: [] for index in DATANODES}
        self.ordered: dict[tuple[int, int], int] = {}  # (datanode, block) → stamp

    @initialize(replications=st.tuples(*(st.integers(1, 4) for _ in BLOCKS)))
    def begin(self, replications: tuple[int, ...]) -> None:
        for index in DATANODES:
            self.join(index)
            self.report(index)
        for inode_id, replication in zip(BLOCKS, replications, strict=True):
            self.replication[inode_id] = replication
            self.world.add_file(inode_id, BLOCKS[inode_id], replication)
            for number in BLOCKS[inode_id]:
                for step in range(replication):
                    self.world.store((number + step) % 5, replica(block_number(number)))

    # ------------------------------------------------------------ what can happen

    @rule(index=INDEX, number=NUMBER, kind=KIND)
    def store(self, index: int, number: int, kind: dict[str, Any]) -> None:
        block_id = block_number(number)
        if index in self.connected and not self._is_last_good(index, block_id):
            self._store(index, replica(block_id, **kind))

    @rule(index=INDEX, number=NUMBER)
    def damage(self, index: int, number: int) -> None:
        """Some bytes of a replica go bad and its datanode finds it, also of the last good one."""
        block_id = block_number(number)
        held = self.world.held[index].get(block_id)
        if index in self.connected and held is not None and held.state is ReplicaState.FINALIZED:
            self._store(index, replica(block_id, held.stamp, ReplicaState.DAMAGED, held.digest))

    @rule(index=INDEX, number=NUMBER, corrupt=st.booleans())
    def lose(self, index: int, number: int, corrupt: bool) -> None:
        block_id = block_number(number)
        held = index in self.connected and block_id in self.world.held[index]
        if held and not self._is_last_good(index, block_id):
            self._drop(index, block_id, ChangeKind.CORRUPT if corrupt else ChangeKind.DELETED)

    @rule(index=INDEX)
    def leave(self, index: int) -> None:
        if index in self.connected:
            self.connected.discard(index)
            self.world.leave(index)
            self._forget_commands(index)

    @rule(index=INDEX, obeying=st.booleans())
    def die(self, index: int, obeying: bool) -> None:
        """Leave for so long that repair begins, and ends if the others obey."""
        self.leave(index)
        for _ in range(60):
            self.pass_time(1)
            for other in sorted(self.connected) if obeying else ():
                self.obey(other)

    @rule(index=INDEX)
    def return_with_an_empty_disk(self, index: int) -> None:
        """Until it has reported, it is believed to have what it had."""
        if index in self.connected:
            self.die(index, obeying=True)
        self.world.held[index].clear()
        self.join(index)
        self.pass_time(2)

    @rule(index=INDEX)
    def join(self, index: int) -> None:
        self.world.join(index, host=f"host {index // 2}", rack=f"rack {index // 3}")
        self.connected.add(index)
        self._forget_commands(index)

    @rule(index=INDEX)
    def report(self, index: int) -> None:
        if index in self.connected:
            self.world.report(index)

    @rule(index=INDEX)
    def obey(self, index: int) -> None:
        commands, self.outbox[index] = self.outbox[index], []
        for command in commands:
            self._carry_out(index, command)

    @rule(ticks=st.sampled_from([1, 2, 20, 60]))
    def pass_time(self, ticks: int) -> None:
        for _ in range(ticks):
            for index in sorted(self.connected):
                self.world.beat(index)
            self._send(self.world.tick())

    @rule(inode_id=FILE, replication=st.integers(1, 5))
    def set_replication(self, inode_id: int, replication: int) -> None:
        if inode_id in self.replication:
            self.replication[inode_id] = replication
            self.world.set_replication(inode_id, replication)

    @precondition(lambda self: len(self.replication) > 1)
    @rule(inode_id=FILE)
    def delete(self, inode_id: int) -> None:
        if self.replication.pop(inode_id, None) is not None:
            self.world.delete_file(inode_id)

    @rule()
    def restart(self) -> None:
        for index in DATANODES:
            self._forget_commands(index)
        self.connected.clear()
        self.world.restart()

    # ------------------------------------------------------------ what must hold

    @invariant()
    def what_is_noted_is_true(self) -> None:
        self._send(self.world.tick(passed_ms=0))
        if self.world.cluster.in_safe_mode() is None:
            self.world.check_invariants()

    def teardown(self) -> None:
        if not self.replication:
            return
        for index in DATANODES:
            if index not in self.connected:
                self.join(index)
            self.report(index)
        safe = {number for number in self._numbers() if self._safe_on(block_number(number))}
        for _ in range(80):
            self.pass_time(4)
            for index in DATANODES:
                self.obey(index)
        self.what_is_noted_is_true()
        missing = set[int]()
        for number in self._numbers():
            wanted = self._wanted(block_number(number))
            found = self._good_on(block_number(number))
            if not found and number not in safe:  # else it was copied before it was deleted
                missing.add(block_number(number))
            else:
                assert len(found) == wanted, f"block {number} is on {found}"
        with self.world.durable.snapshot() as view:
            report = self.world.cluster.report(view)
        assert report.missing_blocks == len(missing)
        assert (report.under_replicated_blocks, report.over_replicated_blocks) == (0, 0)
        assert (report.mis_replicated_blocks, report.pending_transfers) == (0, 0)
        self._check_rubbish(missing)

    def _check_rubbish(self, missing: set[int]) -> None:
        """Worthless replicas stay only of blocks that have nothing better."""
        for index in DATANODES:
            for block_id, one in self.world.held[index].items():
                if one.state is not ReplicaState.TEMPORARY and block_id not in missing:
                    assert self._is_good(index, block_id), f"{index} kept {one}"

    def _send(self, commands: list[tuple[int, AnyCommand]]) -> None:
        for index, command in commands:
            if isinstance(command, InvalidateReplica):
                self._check_order(index, command)
            elif isinstance(command, QuarantineReplica):
                self._check_quarantine(index, command)
            self.outbox[index].append(command)

    def _check_order(self, index: int, order: InvalidateReplica) -> None:
        block_id = order.block_id
        repeated = (index, block_id) in self.ordered
        self.ordered[index, block_id] = order.stamp
        wanted = self._wanted(block_id)
        if repeated or wanted is None or not self._is_good(index, block_id):
            return
        proof = [
            other
            for other in self.connected
            if self._is_good(other, block_id) and (other, block_id) not in self.ordered
        ]
        assert len(proof) >= wanted, f"{order} to {index} leaves {proof} of {wanted}"

    def _check_quarantine(self, index: int, order: QuarantineReplica) -> None:
        block_id = order.block_id
        self.ordered[index, block_id] = order.stamp
        assert self._wanted(block_id) is not None, f"{order} to {index}: it is of no file"
        others = [other for other in self._safe_on(block_id) if other in self.connected]
        assert others, f"{order} to {index} leaves nothing to read"
        assert index not in others, f"{order} to {index}: it is good"

    # ------------------------------------------------------------ what datanodes do

    def _carry_out(self, index: int, command: AnyCommand) -> None:
        if index not in self.connected:
            return
        if isinstance(command, TransferReplica):
            if self.connected.intersection(self._good_on(command.block_id)):
                self._store(index, replica(command.block_id))
            else:
                failed = CommandFailed(command.block_id, "no source has it")
                self.world.cluster.take_failures(datanode_id(index), (failed,), self.world.now_ms)
        elif isinstance(command, InvalidateReplica):
            held = self.world.held[index].get(command.block_id)
            if held is not None and held.stamp == command.stamp:
                self._drop(index, command.block_id, ChangeKind.DELETED)
        elif isinstance(command, QuarantineReplica):
            held = self.world.held[index].get(command.block_id)
            state = None if held is None else (held.stamp, held.state)
            if state == (command.stamp, ReplicaState.DAMAGED):
                self._drop(index, command.block_id, ChangeKind.CORRUPT)
        elif isinstance(command, CheckReplica):
            self._check(index, command)

    def _check(self, index: int, command: CheckReplica) -> None:
        block_id, stamp = command.block_id, command.stamp
        held = self.world.held[index].get(block_id)
        sound = held is not None and held == replica(block_id, stamp)
        answer = ReplicaChecked(block_id, stamp, "" if sound else "it is not sound")
        self.world.cluster.take_checked(datanode_id(index), (answer,), self.world.now_ms)

    def _drop(self, index: int, block_id: int, kind: ChangeKind) -> None:
        self.world.lose(index, block_id, kind)
        self.ordered.pop((index, block_id), None)

    def _store(self, index: int, one: ReplicaReport) -> None:
        """An order is for one stamp: for a replica of another one it is void."""
        if self.ordered.get((index, one.block_id)) != one.stamp:
            self.ordered.pop((index, one.block_id), None)
        self.world.store(index, one)

    def _forget_commands(self, index: int) -> None:
        self.outbox[index].clear()
        for other, block_id in list(self.ordered):
            if other == index:
                del self.ordered[other, block_id]

    # ------------------------------------------------------------ the truth

    def _numbers(self) -> list[int]:
        return [number for inode_id in self.replication for number in BLOCKS[inode_id]]

    def _wanted(self, block_id: int) -> int | None:
        for inode_id, replication in self.replication.items():
            if block_id in map(block_number, BLOCKS[inode_id]):
                return replication
        return None

    def _is_good(self, index: int, block_id: int) -> bool:
        held = self.world.held[index].get(block_id)
        number = next(n for n in range(1, 8) if block_number(n) == block_id)
        if held is None or number not in self._numbers():
            return False
        return worth_of(self.world.block(number), row_of(held)) is Worth.GOOD

    def _good_on(self, block_id: int) -> list[int]:
        return [index for index in DATANODES if self._is_good(index, block_id)]

    def _safe_on(self, block_id: int) -> list[int]:
        """Where it is good and not ordered deleted."""
        return [i for i in self._good_on(block_id) if (i, block_id) not in self.ordered]

    def _is_last_good(self, index: int, block_id: int) -> bool:
        return self._safe_on(block_id) == [index]


TestBlockMap = BlockMapMachine.TestCase
TestBlockMap.settings = settings(max_examples=60, stateful_step_count=30)
