"""Walks over blocks in slices: those of a list come to its end, each block once."""

from dolmen.protocol.identifiers import make_block_id
from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core import tables
from namenode.core.deletions import ORDERS_LIMIT
from namenode.core.rounds import FRUITLESS_LIMIT
from namenode.core.walks import SLICE, BlocksWalk, Walks
from tests.unit.namenode.core.replica_world import ReplicaWorld, replica


def test_a_list_of_blocks_is_walked_slice_by_slice_to_its_end() -> None:
    block_ids = [make_block_id(7, number) for number in range(5 * SLICE + 3)]
    walks, seen = Walks(), list[int]()
    walks.add(BlocksWalk(list(block_ids)))
    with SimKeyValueStore().open("none", tables.DURABLE_TABLES).snapshot() as view:
        while (taken := walks.take_slice(view, view)) is not None:
            assert len(taken[1]) <= SLICE
            seen += taken[1]
    assert seen == block_ids


def test_orders_that_wait_for_a_datanode_are_left_to_the_next_round() -> None:
    world = ReplicaWorld()
    with world.writing() as writer:
        world.put_meta(writer, next_block_number=10_000)
    world.add_datanodes(1)
    world.add_file(100, range(1, 6000), replication=1)
    world.held[1] = {block_id: replica(block_id) for block_id in world.blocks_of(100)}
    world.report(1)
    world.tick()
    world.delete_file(100)
    assert len(world.tick()) == ORDERS_LIMIT
    slices = world.slices
    assert world.tick() == []
    assert world.slices - slices <= FRUITLESS_LIMIT // SLICE + 1
