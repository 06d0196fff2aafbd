"""What becomes of a replica that its datanode found damaged: last to be read, never proof, and put
into quarantine when its block lives elsewhere."""

from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CheckReplica,
    InvalidateReplica,
    QuarantineReplica,
    ReplicaChecked,
    ReplicaState,
    TransferReplica,
)
from tests.unit.namenode.core.replica_world import (
    STAMP,
    ReplicaWorld,
    block_number,
    datanode_id,
    replica,
)

BLOCK = block_number(1)
DAMAGED = replica(BLOCK, state=ReplicaState.DAMAGED)
QUARANTINE = QuarantineReplica(BLOCK, STAMP)


def world_of(datanodes: int, replication: int = 3) -> ReplicaWorld:
    """A file of one block, on the first `replication` datanodes."""
    world = ReplicaWorld()
    world.add_datanodes(*range(datanodes))
    world.add_file(50, [1], replication=replication)
    for index in range(replication):
        world.store(index, replica(BLOCK))
    return world


def quarantine_orders(world: ReplicaWorld) -> list[int]:
    return [index for index, command in world.sent if command == QUARANTINE]


def checked(world: ReplicaWorld, index: int, problem: str = "") -> None:
    """This datanode has read its replica."""
    answer = ReplicaChecked(BLOCK, STAMP, problem)
    world.cluster.take_checked(datanode_id(index), (answer,), world.now_ms)


def vouched(world: ReplicaWorld, index: int) -> None:
    """This datanode is asked for its replica, and has read it; what follows is ordered."""
    world.pass_time(1000, beating=range(3))
    assert (index, CheckReplica(BLOCK, STAMP)) in world.sent
    world.sent.clear()
    checked(world, index)
    world.tick()


def locations(world: ReplicaWorld) -> list[tuple[str, bool]]:
    found = world.cluster.locations(world.block(1), "host 0")
    return [(location.datanode_id, location.stale) for location in found]


def test_a_damaged_replica_counts_no_more_and_is_shown_as_corrupt() -> None:
    world = world_of(3)
    world.store(0, DAMAGED)
    assert world.cluster.good_replicas(world.block(1)) == 2
    with world.durable.snapshot() as view:
        report = world.cluster.report(view)
    assert (report.under_replicated_blocks, report.corrupt_replicas) == (1, 1)


def test_a_damaged_replica_is_put_into_quarantine_when_a_good_one_lives_elsewhere() -> None:
    world = world_of(3)
    world.store(0, DAMAGED)
    vouched(world, 2)
    assert quarantine_orders(world) == [0]
    assert not any(isinstance(command, InvalidateReplica) for _, command in world.sent)


def test_one_that_is_damaged_unnoticed_costs_no_replica_that_may_still_be_read() -> None:
    world = world_of(3)
    world.store(0, DAMAGED)
    world.pass_time(1000, beating=range(3))
    assert world.sent == [(index, CheckReplica(BLOCK, STAMP)) for index in (1, 2)]
    for index in (1, 2):
        world.store(index, DAMAGED)
        checked(world, index, "3 of 4 chunks fail their checksums")
    world.pass_time(60_000, beating=range(3))
    assert quarantine_orders(world) == []


def test_nobody_is_asked_to_read_for_a_replica_that_cannot_be_ordered_away() -> None:
    world = world_of(3)
    world.store(0, DAMAGED)
    world.leave(0)
    world.pass_time(30_000, beating=(1, 2))
    assert not any(isinstance(command, CheckReplica) for _, command in world.sent)


def test_the_only_good_replica_is_read_whole_before_others_are_put_into_quarantine() -> None:
    world = world_of(3)
    world.store(0, DAMAGED)
    world.store(1, DAMAGED)
    world.pass_time(11_000, beating=range(3))
    assert world.sent == [(2, CheckReplica(BLOCK, STAMP))]
    checked(world, 2)
    world.tick()
    assert quarantine_orders(world) == [0, 1]


def test_a_check_that_comes_to_nothing_is_ordered_again_and_vouches_for_nothing() -> None:
    world = world_of(2, replication=2)
    world.store(0, DAMAGED)
    world.tick()
    checked(world, 1, "the process has too many files open")
    world.pass_time(2000, beating=(0, 1))
    assert world.sent == 2 * [(1, CheckReplica(BLOCK, STAMP))]
    world.leave(1)
    world.tick()
    assert quarantine_orders(world) == []


def test_after_quarantine_the_replica_is_made_anew_in_place() -> None:
    world = world_of(3)
    world.store(0, DAMAGED)
    vouched(world, 1)
    assert not any(isinstance(command, TransferReplica) for _, command in world.sent)
    world.lose(0, BLOCK, ChangeKind.CORRUPT)
    world.tick()
    transfers = [index for index, c in world.sent if isinstance(c, TransferReplica)]
    assert transfers == [0]
    world.store(0, replica(BLOCK))
    with world.durable.snapshot() as view:
        assert world.cluster.report(view).corrupt_replicas == 0


def test_the_last_readable_replica_is_never_ordered_away() -> None:
    world = world_of(2, replication=2)
    world.store(0, DAMAGED)
    world.store(1, DAMAGED)
    world.pass_time(60_000, beating=(0, 1))
    assert world.sent == []
    with world.durable.snapshot() as view:
        assert world.cluster.report(view).missing_blocks == 1
    assert sorted(locations(world)) == [(datanode_id(0), True), (datanode_id(1), True)]


def test_a_datanode_that_has_not_reported_in_full_is_no_proof_for_a_quarantine() -> None:
    world = world_of(2, replication=2)
    world.join(1)
    world.store(0, DAMAGED)
    world.pass_time(2000, beating=(0, 1))
    assert quarantine_orders(world) == []
    world.report(1)
    world.tick()
    checked(world, 1)
    world.tick()
    assert quarantine_orders(world) == [0]


def test_an_order_into_quarantine_is_repeated_while_there_is_proof() -> None:
    world = world_of(3)
    world.store(0, DAMAGED)
    vouched(world, 1)
    world.pass_time(11_000, beating=range(3))
    assert quarantine_orders(world) == [0, 0]
    world.store(1, DAMAGED)
    world.sent.clear()
    world.store(2, DAMAGED)
    world.pass_time(30_000, beating=range(3))
    assert world.sent == []


def test_an_order_into_quarantine_is_void_once_the_replica_was_made_anew() -> None:
    world = world_of(3)
    world.store(0, DAMAGED)
    vouched(world, 1)
    assert quarantine_orders(world) == [0]
    world.store(0, replica(BLOCK))
    world.sent.clear()
    world.pass_time(30_000, beating=range(3))
    assert world.sent == []
    assert len(locations(world)) == 3


def test_readers_get_a_damaged_replica_last_and_as_stale() -> None:
    world = world_of(3)
    world.store(0, DAMAGED)
    found = locations(world)
    assert found[2] == (datanode_id(0), True)
    assert [stale for _, stale in found] == [False, False, True]


def test_a_damaged_replica_of_a_deleted_file_is_simply_deleted() -> None:
    world = world_of(1, replication=1)
    world.store(0, DAMAGED)
    world.delete_file(50)
    world.tick()
    assert world.sent == [(0, InvalidateReplica(BLOCK, STAMP))]


def test_safe_mode_does_not_count_a_block_of_which_only_damaged_replicas_were_reported() -> None:
    world = world_of(1, replication=1)
    world.held[0][BLOCK] = DAMAGED
    world.restart()
    world.add_datanodes(0)
    assert "0 of 1 blocks" in str(world.cluster.in_safe_mode())
    world.store(0, replica(BLOCK))
    assert world.cluster.in_safe_mode() is None
