"""What was on a volume that a datanode has no more is gone, however the namenode hears of it."""

from dolmen.protocol.datanode_messages import Heartbeat
from tests.unit.namenode.core.replica_world import datanode_id
from tests.unit.namenode.core.test_block_map import counts
from tests.unit.namenode.core.test_redundancy import cluster_of, transfers


def test_a_lost_volume_loses_its_replicas_and_nothing_else() -> None:
    world = cluster_of(4, on=(0, 1, 2))
    world.pass_time(4000, range(4))
    world.cluster.hear(datanode_id(0), Heartbeat((), 0))
    world.pass_time(500, (1, 2, 3))
    assert counts(world)["under"] == 1
    assert transfers(world) == [3]


def test_a_volume_that_is_missing_when_its_datanode_registers_again_is_lost_too() -> None:
    world = cluster_of(4, on=(0, 1, 2))
    world.pass_time(4000, range(4))
    world.leave(0)
    world.join(0, volume_failed=True)
    world.pass_time(500, (1, 2, 3))
    assert counts(world)["under"] == 1
    assert transfers(world) == [3]
