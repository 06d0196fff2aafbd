"""Repair, excess and deletions, from what datanodes report to the commands they get."""

import msgspec
import pytest

from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CheckReplica,
    CommandFailed,
    InvalidateReplica,
    ReplicaReport,
    ReplicaState,
    TransferReplica,
)
from dolmen.protocol.tokens import ClusterKeys
from namenode.core.outcome import BlocksChanged
from namenode.core.redundancy import TRANSFER_PATIENCE_MS, RepairOptions
from namenode.core.throttle import Throttle
from namenode.core.walks import SLICE
from tests.unit.namenode.core.replica_world import (
    OPTIONS,
    STAMP,
    ReplicaWorld,
    block_number,
    datanode_id,
    replica,
)
from tests.unit.namenode.core.test_block_map import counts, figures

B1 = block_number(1)


def cluster_of(datanodes: int, on: tuple[int, ...], replication: int = 3) -> ReplicaWorld:
    """One file of one block, with replicas on some of the datanodes."""
    world = ReplicaWorld()
    world.add_datanodes(*range(datanodes))
    world.add_file(50, [1], replication)
    for index in on:
        world.store(index, replica(B1))
    return world


def transfers(world: ReplicaWorld) -> list[int]:
    return [index for index, command in world.sent if isinstance(command, TransferReplica)]


def deletions(world: ReplicaWorld) -> list[int]:
    return [index for index, command in world.sent if isinstance(command, InvalidateReplica)]


def test_a_missing_replica_is_copied_from_those_that_live() -> None:
    world = cluster_of(4, on=(0, 1))
    world.pass_time(4000, range(4))
    ((index, command),) = world.sent
    assert index in (2, 3)
    assert isinstance(command, TransferReplica)
    token = ClusterKeys(b"secret").open_token(command.token, world.now_ms)
    assert {source.datanode_id for source in token.targets} == {"datanode 0", "datanode 1"}
    assert (token.block_id, token.stamp) == (B1, STAMP)
    world.store(index, replica(B1))
    assert counts(world)["under"] == 0


def test_the_blocks_that_a_writer_is_past_are_repaired_before_their_file_is_published() -> None:
    world = ReplicaWorld()
    world.add_datanodes(*range(4))
    block_ids = [block_number(number) for number in (1, 2, 3, 4)]
    world.put_file(50, block_ids, 3, published=False)
    for index in (0, 1, 2):
        world.store(index, *(replica(block_id) for block_id in block_ids))
    world.leave(0)
    world.pass_time(11_000, (1, 2, 3))
    copied = {c.block_id for _, c in world.sent if isinstance(c, TransferReplica)}
    assert copied == set(block_ids[:2]), "the last two may still be changed by their writer"
    assert counts(world)["under"] == 0, "blocks of open files are not counted"
    world.check_invariants()
    world.store(3, *(replica(block_id) for block_id in block_ids[:2]))
    assert counts(world)["under"] == 0
    world.sent.clear()
    world.pass_time(60_000, (1, 2, 3))
    assert world.sent == []
    world.change_file(50, published=True)
    world.tell(BlocksChanged(tuple(block_ids)))
    assert counts(world)["under"] == 2
    world.check_invariants()


def test_an_excess_or_worthless_replica_of_an_open_file_is_left_alone() -> None:
    world = ReplicaWorld()
    world.add_datanodes(*range(5))
    block_ids = [block_number(number) for number in (1, 2, 3)]
    world.put_file(50, block_ids, 3, published=False)
    for index in (0, 1, 2, 3):
        world.store(index, replica(B1))
    world.store(4, replica(B1, stamp=STAMP - 1))
    world.pass_time(20_000, range(5))
    assert world.sent == []
    assert counts(world)["over"] == 0


def test_a_transfer_that_never_ends_is_planned_again() -> None:
    world = cluster_of(3, on=(0, 1))
    world.pass_time(TRANSFER_PATIENCE_MS, range(3))
    assert transfers(world) == [2]
    world.pass_time(15_000, range(3))
    assert transfers(world) == [2, 2]


def test_a_transfer_that_failed_is_given_to_another_datanode() -> None:
    world = cluster_of(4, on=(0, 1))
    world.pass_time(4000, range(4))
    (first,) = transfers(world)
    failed = CommandFailed(B1, "disk full")
    world.cluster.take_failures(datanode_id(first), (failed,), world.now_ms)
    world.pass_time(500, range(4))
    assert sorted(transfers(world)) == [2, 3]


def test_a_target_that_vanishes_is_replaced_at_once() -> None:
    world = cluster_of(4, on=(0, 1))
    world.pass_time(4000, range(4))
    (first,) = transfers(world)
    world.leave(first)
    living = [index for index in range(4) if index != first]
    world.pass_time(250, living)
    assert sorted(transfers(world)) == [2, 3]


def test_nothing_is_copied_while_a_datanode_is_only_stale() -> None:
    world = cluster_of(4, on=(0, 1, 2))
    world.leave(0)
    world.pass_time(9000, (1, 2, 3))
    assert (counts(world)["under"], world.sent) == (0, [])
    world.pass_time(2000, (1, 2, 3))
    assert transfers(world) == [3]
    assert counts(world)["under"] == 1, "a block under repair is under-replicated"


def test_nothing_is_copied_after_a_restart_before_all_have_reported() -> None:
    world = cluster_of(4, on=(0, 1, 2))
    world.restart()
    world.join(0)
    world.report(0)
    assert world.cluster.in_safe_mode() is None
    world.pass_time(3000, (0,))
    assert (counts(world)["under"], world.sent) == (1, [])
    world.add_datanodes(1, 2)
    world.pass_time(1000, (0, 1, 2))
    assert (counts(world)["under"], world.sent) == (0, [])


def test_after_a_restart_a_datanode_that_stays_away_is_dead_and_repaired() -> None:
    world = cluster_of(4, on=(0, 1, 2))
    world.restart()
    world.add_datanodes(1, 2, 3)
    world.pass_time(12_000, (1, 2, 3))
    assert world.sent == []
    world.pass_time(2000, (1, 2, 3))
    assert transfers(world) == [3]


def test_the_worst_off_are_repaired_first() -> None:
    slow = RepairOptions(1000, 3000, 2, 10_000)
    world = ReplicaWorld(msgspec.structs.replace(OPTIONS, repair=slow))
    world.add_datanodes(*range(5))
    world.add_file(50, [1, 2, 3])
    for index, *numbers in ((0, 1, 2, 3), (1, 1, 3)):
        world.store(index, *(replica(block_number(number)) for number in numbers))
    world.pass_time(3000, range(5))
    world.pass_time(250, range(5))
    blocks = [c.block_id for _, c in world.sent if isinstance(c, TransferReplica)]
    assert blocks[0] == block_number(2)


def test_excess_goes_when_a_dead_datanode_returns() -> None:
    world = cluster_of(4, on=(0, 1, 2))
    world.leave(0)
    world.pass_time(11_000, (1, 2, 3))
    world.store(3, replica(B1))
    world.join(0)
    world.pass_time(1000, range(4))
    assert counts(world)["over"] == 1
    assert deletions(world) == [], "who has not reported since it came back proves nothing"
    world.report(0)
    world.pass_time(250, range(4))
    assert len(deletions(world)) == 1
    assert counts(world)["over"] == 0, "what is ordered deleted counts as gone"
    world.lose(deletions(world)[0], B1)
    world.pass_time(30_000, range(4))
    assert len(deletions(world)) == 1
    assert counts(world) == figures(0, over=0, missing=0, corrupt=0, held=3)


def test_an_order_is_repeated_until_it_is_confirmed() -> None:
    world = cluster_of(4, on=(0, 1, 2, 3))
    world.pass_time(500, range(4))
    (victim,) = deletions(world)
    world.pass_time(21_000, range(4))
    assert deletions(world) == [victim] * 3


def test_an_order_is_not_repeated_when_its_proof_is_gone() -> None:
    world = cluster_of(4, on=(0, 1, 2, 3))
    world.pass_time(500, range(4))
    (victim,) = deletions(world)
    other = next(index for index in range(4) if index != victim)
    world.lose(other, B1, ChangeKind.CORRUPT)
    world.pass_time(21_000, range(4))
    assert deletions(world) == [victim]
    world.store(transfers(world)[0], replica(B1))
    world.pass_time(21_000, range(4))
    assert deletions(world)[1:] == [victim] * 2


def test_an_order_is_void_with_the_connection() -> None:
    world = cluster_of(4, on=(0, 1, 2, 3))
    world.pass_time(500, range(4))
    (victim,) = deletions(world)
    world.leave(victim)
    world.pass_time(250, [index for index in range(4) if index != victim])
    assert counts(world)["over"] == 1
    world.check_invariants()


def test_no_deletion_of_live_blocks_while_many_vanish() -> None:
    world = cluster_of(6, on=(0, 1, 2, 3))
    world.add_file(51, [2])
    for index in (0, 1, 2):
        world.store(index, replica(block_number(2)))
    world.leave(4)
    world.leave(5)
    world.delete_file(51)
    world.pass_time(9000, range(4))
    assert {c.block_id for _, c in world.sent if isinstance(c, InvalidateReplica)} == {
        block_number(2)
    }
    assert any("2 of 6 datanodes" in line for line in world.cluster.take_news())
    world.pass_time(60_000, range(4))
    assert B1 in {c.block_id for _, c in world.sent if isinstance(c, InvalidateReplica)}


@pytest.mark.parametrize(
    "worthless",
    [
        replica(B1, stamp=STAMP - 1),
        replica(B1, digest=b"x" * 16),
        replica(B1, state=ReplicaState.BEING_WRITTEN, digest=b""),
        replica(B1, state=ReplicaState.WAITING_FOR_RECOVERY, digest=b""),
    ],
)
def test_a_worthless_replica_goes_with_proof_and_not_without(worthless: ReplicaReport) -> None:
    world = cluster_of(2, on=(0,))
    world.store(1, worthless)
    world.pass_time(5000, (0, 1))
    assert deletions(world) == [1], "nobody else can take a copy, so one proof is enough"
    world = cluster_of(5, on=(0,))
    world.store(4, worthless)
    world.pass_time(5000, range(5))
    assert deletions(world) == []
    world.store(transfers(world)[0], replica(B1))
    world.pass_time(500, range(5))
    assert deletions(world) == [4]


def test_the_only_replica_is_never_deleted_however_worthless() -> None:
    world = cluster_of(3, on=())
    for index in range(3):
        world.store(index, replica(B1, stamp=STAMP - 1))
    world.pass_time(120_000, range(3))
    assert world.sent == []
    assert counts(world)["missing"] == 1


def test_a_block_that_left_the_namespace_goes_everywhere_also_later() -> None:
    world = cluster_of(3, on=(0, 1, 2))
    world.leave(2)
    world.delete_file(50)
    world.pass_time(500, (0, 1))
    assert sorted(deletions(world)) == [0, 1]
    world.lose(0, B1)
    world.lose(1, B1)
    world.join(2)
    world.report(2)
    world.pass_time(500, (0, 1, 2))
    assert sorted(deletions(world)) == [0, 1, 2]


def test_nothing_is_deleted_in_safe_mode() -> None:
    world = ReplicaWorld()
    world.add_file(50, [1, 2])
    world.restart()
    world.add_datanodes(0, 1)
    world.store(0, replica(block_number(3)), replica(block_number(1)))
    world.pass_time(9000, (0, 1))
    assert world.cluster.in_safe_mode() is not None
    assert world.sent == []
    world.pass_time(2000, (0, 1))
    assert deletions(world) == [0]


def test_a_block_from_the_future_ends_all_deletions() -> None:
    world = cluster_of(4, on=(0, 1, 2, 3))
    world.change(0, ChangeKind.STORED, replica(block_number(1000)))
    world.change(1, ChangeKind.STORED, replica(block_number(2), stamp=1000))
    world.pass_time(60_000, range(4))
    assert world.sent == []
    reason = world.cluster.in_safe_mode()
    assert reason is not None
    assert "rolled back" in reason


def test_a_badly_spread_block_gets_a_better_place_when_there_is_one() -> None:
    world = ReplicaWorld()
    for index, host in enumerate(("a", "a", "b")):
        world.join(index, host=host)
        world.report(index)
    world.add_file(50, [1])
    for index in range(3):
        world.store(index, replica(B1))
    world.pass_time(5000, range(3))
    assert world.sent == [], "no other host can take it"
    world.join(3, host="c")
    world.report(3)
    world.pass_time(1000, range(4))
    assert transfers(world) == [3]
    world.store(3, replica(B1))
    world.pass_time(500, range(4))
    assert deletions(world) in ([0], [1])
    world.check_invariants()


def test_a_second_rack_spreads_what_was_on_one() -> None:
    world = cluster_of(3, on=(0, 1, 2))
    world.pass_time(3000, range(3))
    world.join(3, rack="/other")
    world.report(3)
    with world.durable.snapshot() as view:
        assert world.cluster.report(view).mis_replicated_blocks == 0
    world.pass_time(500, range(4))
    with world.durable.snapshot() as view:
        assert world.cluster.report(view).mis_replicated_blocks == 1
    world.store(3, replica(B1))
    world.pass_time(500, range(4))
    assert len(deletions(world)) == 1
    assert 3 not in deletions(world)


def test_many_blocks_of_a_dead_datanode_are_all_repaired() -> None:
    world = ReplicaWorld()
    world.add_datanodes(*range(5))
    numbers = range(1, 3 * SLICE)
    world.add_file(50, numbers, replication=2)
    for index in (0, 1):
        world.store(index, *(replica(block_number(number)) for number in numbers))
    world.leave(0)
    for _ in range(200):
        for index, command in world.pass_time(250, range(1, 5)):
            if isinstance(command, TransferReplica):
                world.store(index, replica(command.block_id))
    assert counts(world)["under"] == 0
    assert len(transfers(world)) == len(numbers)
    world.check_invariants()


def test_a_hint_of_damage_asks_the_datanode_to_look() -> None:
    world = cluster_of(1, on=(0,), replication=1)
    world.cluster.take_hint(B1, STAMP, datanode_id(0))
    world.cluster.take_hint(B1, STAMP, "nobody")
    assert world.tick() == [(0, CheckReplica(B1, STAMP))]
    assert world.tick() == []


def test_the_throttle_lets_through_its_rate_and_one_second_more() -> None:
    throttle = Throttle(1000)
    sent = 0
    for now_ms in range(0, 10_001, 100):
        throttle.refill({"a", "b"}, now_ms)
        while throttle.admit(100, "a", "b"):
            sent += 100
    assert sent == 11 * 1000


def test_the_throttle_lets_through_a_block_longer_than_a_second_and_then_waits() -> None:
    throttle = Throttle(1000)
    passed = []
    for now_ms in range(0, 30_001, 100):
        throttle.refill({"a", "b"}, now_ms)
        if throttle.admit(5000, "a", "b"):
            passed.append(now_ms)
    assert passed == [0, 5000, 10_000, 15_000, 20_000, 25_000, 30_000]
