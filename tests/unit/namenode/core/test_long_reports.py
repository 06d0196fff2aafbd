"""A full report that takes long because many datanodes report at once."""

from dolmen.protocol.datanode_messages import ReportBlocks
from namenode.core.replica_reports import SLICE, pieces_of
from tests.unit.namenode.core.replica_world import (
    ReplicaWorld,
    datanode_id,
    replica,
    storage_id,
)

SLOW_MS = 6_000
"""Two pieces take longer than `dead_after`."""


def test_a_report_of_which_piece_after_piece_is_taken_is_waited_for_however_long_a_page_takes() -> (
    None
):
    world = ReplicaWorld()
    world.add_datanodes(2)
    world.add_file(100, range(1, 4 * SLICE), replication=2)
    world.join(1)
    replicas = tuple(replica(block_id) for block_id in world.blocks_of(100))
    page = ReportBlocks(storage_id(1), 1, replicas, True, True, True)
    world.cluster.open_page(datanode_id(1), page)
    for piece in pieces_of(page):
        awaited = world.cluster.datanodes.awaited()
        assert awaited is not None
        assert datanode_id(1) in awaited
        with world.durable.snapshot() as view:
            world.cluster.take_piece(datanode_id(1), storage_id(1), piece, view)
        world.pass_time(SLOW_MS, beating=(1, 2))
    world.cluster.end_report(datanode_id(1))
    assert world.cluster.datanodes.awaited() is None
