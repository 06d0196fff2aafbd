"""For every block that waits the real reason, read from what decides, and when it is over."""

import msgspec

from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CommandFailed,
    ReplicaChecked,
    ReplicaState,
)
from namenode.core import why
from namenode.core.block_map import good, look_up
from namenode.core.conditions import Condition
from namenode.core.lookup import load_meta
from namenode.core.records import AdminState
from namenode.core.why import Why
from tests.unit.namenode.core.replica_world import (
    LENGTH_BYTES,
    OPTIONS,
    ROOM_BYTES,
    ReplicaWorld,
    block_number,
    datanode_id,
    replica,
)

B1 = block_number(1)
DAMAGED = replica(B1, state=ReplicaState.DAMAGED)


def world_of(
    datanodes: int, on: int, replication: int = 3, rate_bytes: int = 1 << 30
) -> ReplicaWorld:
    repair = msgspec.structs.replace(OPTIONS.repair, rate_bytes=rate_bytes)
    world = ReplicaWorld(msgspec.structs.replace(OPTIONS, repair=repair))
    world.add_datanodes(*range(datanodes))
    world.add_file(50, [1], replication=replication)
    for index in range(on):
        world.store(index, replica(B1))
    return world


def explain(world: ReplicaWorld, block_id: int = B1) -> Why:
    cluster = world.cluster
    with world.durable.snapshot() as view, cluster.sight(view, world.now_ms) as sight:
        known = look_up(view, load_meta(view), block_id)
        held = sight.assessor.held(known, sight.soft)
        corrupt = frozenset(sight.assessor.corrupt.get(block_id, ()))
        noted = sight.assessor.conditions.get(block_id) if good(held) else Condition.MISSING
        trouble = why.Trouble(known, held, noted, corrupt)
        return why.explain(trouble, sight.around)


def test_a_cluster_of_too_few_datanodes_can_do_nothing() -> None:
    world = world_of(2, on=2)
    assert explain(world) == Why("no other datanode: 2 usable, 3 wanted", None)


def test_no_datanode_with_room_is_named_with_what_it_has() -> None:
    world = world_of(3, on=2)
    world.room_bytes[2] = 7
    world.beat(2)
    told = explain(world)
    assert "no target with room: it needs 1000 bytes, and of 1 possible datanode" in told.reason
    assert told.reason.endswith("has most, 7")
    assert told.expected_in_s is None


def test_a_copy_under_way_is_told_with_its_target_and_age() -> None:
    world = world_of(3, on=2)
    world.tick()
    world.now_ms += 2000
    told = explain(world)
    assert told.reason == "copy to host2:9002 under way since 2 s"
    assert told.expected_in_s == 2.0


def test_a_copy_that_takes_long_is_expected_before_its_deadline() -> None:
    world = world_of(3, on=2)
    world.tick()
    world.now_ms += 29_000
    assert explain(world).expected_in_s == 1.0


def test_a_copy_that_failed_is_tried_again_elsewhere_or_later() -> None:
    world = world_of(3, on=2)
    world.tick()
    failure = CommandFailed(B1, "the disk is full")
    world.cluster.take_failures(datanode_id(2), (failure,), world.now_ms)
    told = explain(world)
    assert told.reason == "the last copy failed: host2:9002 is asked again in 10 s"
    assert told.expected_in_s is not None
    assert 10 <= told.expected_in_s < 11


def test_whoever_has_not_reported_in_full_is_waited_for() -> None:
    world = world_of(3, on=2)
    world.join(2)
    assert "datanode 2 has not reported in full yet" in explain(world).reason


def test_safe_mode_is_the_first_of_all_reasons() -> None:
    world = world_of(3, on=2)
    world.restart()
    assert explain(world).reason.startswith("in safe mode: 0 of 1 blocks have a replica")


def test_a_spent_throttle_is_a_busy_source_and_says_when_it_is_over() -> None:
    world = world_of(4, on=2, rate_bytes=100)
    world.add_file(51, [2])
    world.store(0, replica(block_number(2)))
    world.store(1, replica(block_number(2)))
    world.tick()
    reasons = {explain(world, block_number(number)).reason for number in (1, 2)}
    assert any("under way" in reason for reason in reasons)
    waiting = [explain(world, block_number(n)) for n in (1, 2)]
    told = next(one for one in waiting if "under way" not in one.reason)
    assert told.reason.startswith(("throttle: ", "source busy: "))
    assert told.expected_in_s is not None
    assert told.expected_in_s >= LENGTH_BYTES / 200


def test_what_waits_for_a_throttle_waits_for_all_that_are_as_urgent() -> None:
    world = world_of(3, on=2, rate_bytes=100)
    world.add_file(51, range(2, 12))
    for number in range(2, 12):
        world.store(0, replica(block_number(number)))
        world.store(1, replica(block_number(number)))
    world.tick()
    waiting = [explain(world, block_number(number)) for number in range(1, 12)]
    told = [one for one in waiting if "throttle: " in one.reason]
    assert told, waiting
    for one in told:
        assert one.expected_in_s is not None
        assert one.expected_in_s >= 10 * LENGTH_BYTES / 100


def test_a_block_whose_holders_are_dead_names_them() -> None:
    world = world_of(2, on=1, replication=1)
    world.leave(0)
    world.pass_time(15_000, beating=(1,))
    told = explain(world)
    assert told.reason.startswith("missing since all holders are dead: last seen on host0:9000")
    assert told.reason.endswith("comes back with datanode host0:9000")
    assert told.expected_in_s is None


def test_a_block_that_nobody_has_says_so() -> None:
    world = world_of(2, on=0, replication=1)
    assert explain(world).reason == "no datanode that is here has it"


def test_only_damaged_replicas_left_are_named() -> None:
    world = world_of(2, on=2, replication=2)
    world.store(0, DAMAGED)
    world.store(1, DAMAGED)
    told = explain(world).reason
    assert told.startswith("only damaged replicas are left on host0:9000 and host1:9001")


def test_a_damaged_replica_tells_where_it_is_and_what_repair_waits_for() -> None:
    world = world_of(3, on=3)
    world.store(0, DAMAGED)
    assert explain(world).reason == (
        "the damaged replica on host0:9000 stays for now: what is good, on host1:9001 and"
        " host2:9002, is read whole first; no other datanode: 3 usable, 3 wanted"
    )
    world.tick()
    answer = ReplicaChecked(B1, DAMAGED.stamp, "")
    world.cluster.take_checked(datanode_id(1), (answer,), world.now_ms)
    world.tick()
    assert explain(world).reason.startswith(
        "the damaged replica on host0:9000 goes into quarantine"
    )
    world.lose(0, B1, ChangeKind.CORRUPT)
    assert explain(world).reason == (
        "a damaged replica was found on host0:9000; it is its turn now"
    )


def test_excess_waits_for_proof_and_for_those_that_vanished() -> None:
    world = world_of(4, on=4)
    assert explain(world) == Why("the excess goes soon", why.SOON_S)
    world.join(3)
    assert "host3:9003 is silent, or has not reported in full yet" in explain(world).reason
    world.report(3)
    world.leave(2)
    world.leave(3)
    told = explain(world)
    assert told.reason.startswith("deletions wait: 2 of 4 datanodes are away")
    assert told.expected_in_s == 60


def test_a_badly_spread_block_names_its_rule() -> None:
    world = world_of(3, on=3)
    world.join(3, rack="/other")
    world.report(3)
    world.tick()
    assert explain(world).reason == "rack rule: all replicas are in /default; it is its turn now"


def test_many_datanodes_are_counted_and_not_all_named() -> None:
    world = ReplicaWorld()
    world.add_datanodes(*range(8))
    world.add_file(50, [1], replication=8)
    for index in range(8):
        world.store(index, DAMAGED)
    assert "3 more" in explain(world).reason


def address(world: ReplicaWorld, index: int) -> str:
    datanode = world.cluster.datanodes.get(datanode_id(index))
    assert datanode is not None
    return datanode.address


def test_who_leaves_or_rests_is_named() -> None:
    world = world_of(3, on=3)
    world.set_admin_state(0, AdminState.DECOMMISSIONING)
    world.tick()
    told = explain(world).reason
    assert told == f"{address(world, 0)} is DECOMMISSIONING; no other datanode: 2 usable, 3 wanted"
    world.set_admin_state(0, AdminState.MAINTENANCE)
    world.set_admin_state(1, AdminState.DECOMMISSIONING)
    world.tick()
    told = explain(world).reason
    assert told.startswith(
        f"{address(world, 1)} is DECOMMISSIONING; {address(world, 0)} is MAINTENANCE; no other"
    )


def test_a_source_that_leaves_is_named_when_it_is_busy() -> None:
    world = world_of(2, on=1, replication=1, rate_bytes=100)
    world.add_file(51, [2], replication=1)
    world.store(0, replica(block_number(2)))
    world.set_admin_state(0, AdminState.DECOMMISSIONING)
    world.tick()
    reasons = [explain(world, block_number(number)).reason for number in (1, 2)]
    waiting = next(reason for reason in reasons if "under way" not in reason)
    assert "source busy:  sends" not in waiting
    assert address(world, 0) in waiting


def test_nothing_is_changed_by_asking() -> None:
    world = world_of(4, on=2)
    before = ROOM_BYTES
    explain(world)
    world.check_invariants()
    datanode = world.cluster.datanodes.get(datanode_id(2))
    assert datanode is not None
    assert (datanode.free_bytes, datanode.transfers) == (before, 0)


def test_a_damaged_replica_waits_until_the_only_good_one_was_read() -> None:
    world = world_of(2, on=2, replication=2)
    world.store(0, DAMAGED)
    assert "what is good, on host1:9001, is read whole first" in explain(world).reason
