"""Transfers under way and blocks that wait, whatever happens to them: what is promised to a
datanode is given back, nothing is pending past its time, and the worst off come first, in turn."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dolmen.protocol.datanode_messages import CommandFailed, TransferReplica
from namenode.core.conditions import REPAIRED, UNDER_REPLICATED, Condition, Conditions, urgency
from namenode.core.redundancy import patience_ms
from tests.unit.namenode.core.replica_world import (
    LENGTH_BYTES,
    ReplicaWorld,
    block_number,
    datanode_id,
    replica,
)

DATANODES = range(5)
INDEX = st.sampled_from(DATANODES)
PATIENCE_MS = patience_ms(LENGTH_BYTES)


class TransferMachine(RuleBasedStateMachine):
    """Blocks of which one replica is left, and transfers that end in every way, or never do."""

    def __init__(self) -> None:
        super().__init__()
        self.world = ReplicaWorld()
        self.world.add_datanodes(*DATANODES)
        self.connected = set(DATANODES)
        for number in range(1, 6):
            self.world.add_file(100 + number, [number])
            self.world.store(number % 5, replica(block_number(number)))
        self.under_way: dict[tuple[int, int], int] = {}  # (datanode, block) → deadline

    @rule(ticks=st.sampled_from([1, 2, 20, 130]))
    def pass_time(self, ticks: int) -> None:
        for _ in range(ticks):
            for index in sorted(self.connected):
                self.world.beat(index)
            for index, command in self.world.tick():
                if isinstance(command, TransferReplica):
                    key = (index, command.block_id)
                    assert self.under_way.get(key, 0) <= self.world.now_ms, "planned twice"
                    self.under_way[key] = self.world.now_ms + PATIENCE_MS

    @rule(index=INDEX, data=st.data())
    def end(self, index: int, data: st.DataObject) -> None:
        """The target has the replica, or could not copy it; also when that is long over."""
        known = sorted(block_id for other, block_id in self.under_way if other == index)
        if index not in self.connected or not known:
            return
        block_id = data.draw(st.sampled_from(known))
        del self.under_way[index, block_id]
        if data.draw(st.booleans()):
            self.world.store(index, replica(block_id))
            return
        failed = CommandFailed(block_id, "out of luck")
        self.world.cluster.take_failures(datanode_id(index), (failed,), self.world.now_ms)

    @rule(index=INDEX)
    def leave(self, index: int) -> None:
        if len(self.connected) > 1 and index in self.connected:
            self.connected.discard(index)
            self.world.leave(index)  # what is on its way to it may still arrive

    @rule(index=INDEX)
    def join(self, index: int) -> None:
        self.world.join(index)
        self.world.report(index)
        self.connected.add(index)
        for key in [key for key in self.under_way if key[0] == index]:
            del self.under_way[key]

    @rule(number=st.integers(1, 5))
    def delete(self, number: int) -> None:
        if self.world.blocks_of(100 + number):
            self.world.delete_file(100 + number)

    @invariant()
    def nothing_is_pending_past_its_time(self) -> None:
        with self.world.durable.snapshot() as view:
            pending = self.world.cluster.report(view).pending_transfers
        left = [until_ms for until_ms in self.under_way.values() if until_ms > self.world.now_ms]
        assert pending <= len(left)

    @invariant()
    def what_is_noted_is_true(self) -> None:
        self.world.check_invariants()

    def teardown(self) -> None:
        """Nobody copies any more and no file is left: nothing stays promised."""
        for number in range(1, 6):
            self.delete(number)
        self.pass_time(PATIENCE_MS // 250 + 10)
        with self.world.durable.snapshot() as view:
            assert self.world.cluster.report(view).pending_transfers == 0
        self.world.check_invariants()


TestTransfers = TransferMachine.TestCase
TestTransfers.settings = settings(max_examples=25, stateful_step_count=20)


@given(st.integers(1, 10), st.integers(1, 10))
def test_the_fewer_are_left_the_more_urgent(readable: int, wanted: int) -> None:
    levels = [urgency(count, wanted) for count in range(1, readable + 1)]
    assert levels[0] is Condition.ONE_LEFT
    assert all(before <= after for before, after in pairwise(levels))
    assert list(REPAIRED) == sorted(REPAIRED)
    assert set(levels) <= set(UNDER_REPLICATED)


@settings(max_examples=25)
@given(st.permutations([1, 1, 2, 2, 3, 3, 4, 4]))
def test_the_worst_off_are_copied_first_whatever_their_order(left: list[int]) -> None:
    """Of each block so many replicas are left, of seven."""
    world = ReplicaWorld()
    world.add_datanodes(*range(7))
    world.tick()
    for number, count in enumerate(left, start=1):
        for step in range(count):
            world.store((number + step) % 7, replica(block_number(number)))
        world.add_file(100 + number, [number], replication=7)
    by_block = {block_number(number): count for number, count in enumerate(left, start=1)}
    while not (sent := [c for _, c in world.tick() if isinstance(c, TransferReplica)]):
        pass
    order = list(dict.fromkeys(urgency(by_block[c.block_id], 7) for c in sent))
    assert order == [Condition.ONE_LEFT, Condition.FEW_LEFT, Condition.SOME_GONE]


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([None, *Condition])), max_size=60))
def test_each_block_has_one_condition_and_each_comes_to_its_turn(
    changes: list[tuple[int, Condition | None]],
) -> None:
    conditions, model = Conditions(), dict[int, Condition]()
    for block_id, condition in changes:
        conditions.set(block_id, condition)
        model.pop(block_id, None)
        if condition is not None:
            model[block_id] = condition
    for condition in Condition:
        expected = {block_id for block_id, one in model.items() if one is condition}
        assert set(conditions.of(condition)) == expected
        assert conditions.count(condition) == len(expected)
        turns = [b for _ in range(len(expected)) for b in conditions.take_turn(condition, 1)]
        assert set(turns) == expected, "in as many turns as there are blocks, each has one"
