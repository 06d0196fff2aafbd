"""When repair has settled, every block is as many times there as wanted, and spread as well as the
cluster allows."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dolmen.protocol.datanode_messages import InvalidateReplica, TransferReplica
from tests.unit.namenode.core.replica_world import ReplicaWorld, block_number, replica

ROUNDS = 40


@st.composite
def topologies(draw: st.DrawFn) -> list[tuple[int, int, bool]]:
    """Of each datanode its rack, its host within the rack, and whether it has room."""
    node = st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([True, True, False]))
    return draw(st.lists(node, min_size=2, max_size=7))


@settings(max_examples=120, deadline=None)
@given(topologies(), st.lists(st.sets(st.integers(0, 6), min_size=1), min_size=1, max_size=4))
def test_blocks_end_spread_over_racks_and_hosts_and_in_the_number_wanted(
    nodes: list[tuple[int, int, bool]], held: list[set[int]]
) -> None:
    world = ReplicaWorld()
    for index, (rack, host, roomy) in enumerate(nodes):
        world.room_bytes[index] = 1 << 40 if roomy else 0
        world.join(index, f"host {rack} {host}", f"rack {rack}")
        world.report(index)
    for number, indexes in enumerate(held, start=1):
        world.add_file(100 + number, [number])
        for index in sorted(i % len(nodes) for i in indexes):
            world.store(index, replica(block_number(number)))
    _settle(world, len(nodes))
    for number in range(1, len(held) + 1):
        _check(world, nodes, block_number(number))
    world.check_invariants()


def _settle(world: ReplicaWorld, count: int) -> None:
    """Let everybody obey, until there is nothing left to do."""
    for _ in range(ROUNDS):
        for index, command in world.pass_time(500, range(count)):
            if isinstance(command, TransferReplica):
                world.store(index, replica(command.block_id))
            elif isinstance(command, InvalidateReplica) and command.block_id in world.held[index]:
                world.lose(index, command.block_id)


def _check(world: ReplicaWorld, nodes: list[tuple[int, int, bool]], block_id: int) -> None:
    holders = [index for index in range(len(nodes)) if block_id in world.held[index]]
    roomy = [index for index, (*_, has_room) in enumerate(nodes) if has_room]
    assert len(holders) == min(3, len(set(holders) | set(roomy)))
    racks = {nodes[index][0] for index in holders}
    if len(holders) > 1 and len(racks) == 1:
        assert all(nodes[index][0] in racks for index in roomy), "another rack could take one"
    hosts = {nodes[index][:2] for index in holders}
    if len(hosts) < len(holders):
        assert all(nodes[index][:2] in hosts for index in roomy), "another host could take one"
