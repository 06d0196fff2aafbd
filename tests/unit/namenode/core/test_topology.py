"""The topology file, line by line, and what it does to datanodes and their blocks."""

import pytest

from dolmen.protocol.errors import InvalidRequest
from namenode.core.conditions import Condition
from namenode.core.topology import FILE_LIMIT_BYTES, Topology, parse_topology
from tests.unit.namenode.core.replica_world import ReplicaWorld, block_number, datanode_id, replica

FILE = b"""
# the hall on the left
stone-1\t/left/1   # by its label
10.0.0.2  /left/2

10.0.0.3:9864 /right
"""


def test_comments_tabs_and_empty_lines_are_fine() -> None:
    racks = {"stone-1": "/left/1", "10.0.0.2": "/left/2", "10.0.0.3:9864": "/right"}
    assert parse_topology(FILE).racks == racks
    assert parse_topology(FILE.replace(b"\n", b"\r\n")).racks == racks
    assert parse_topology(b"").racks == {}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"a /one\nb\n", "line 2.*is one word"),
        (b"a /one /two", "line 1.*are 3 words"),
        (b"a /one\nb /one\na /two", "line 3: a is in rack /two here and in rack /one in line 1"),
        (b"a /one\n\xff /two", "line 2: it is no UTF-8"),
        (b"a " + b"x" * 256, "line 1: a name has at most"),
        (b"a /o\0ne", "line 1: a name has at most"),
        (b" " * (FILE_LIMIT_BYTES + 1), "bytes, more than"),
    ],
)
def test_an_error_names_its_line(content: bytes, wanted: str) -> None:
    with pytest.raises(InvalidRequest, match=wanted):
        parse_topology(content)


def test_the_id_counts_before_the_address_the_label_and_the_host() -> None:
    names = ("id", "10.0.0.1:9864", "stone", "10.0.0.1")
    racks = {name: f"/{name}" for name in names}
    for name in names:
        assert Topology(racks).rack_of("id", "10.0.0.1:9864", "stone") == f"/{name}"
        del racks[name]
    assert Topology(racks).rack_of("id", "10.0.0.1:9864", "stone") is None


def test_a_datanode_the_file_does_not_have_is_where_it_says() -> None:
    world = ReplicaWorld()
    for index in range(2):
        world.join(index, rack="/own")
    assert world.cluster.take_topology(Topology({"host 0": "/file"})) == 1
    assert world.cluster.take_topology(Topology({"host 0": "/file"})) == 0
    racks = {d.datanode_id: d.rack for d in world.cluster.datanodes}
    assert racks == {datanode_id(0): "/file", datanode_id(1): "/own"}
    world.leave(0)
    world.join(0)  # it registers again, and the file still counts
    assert {d.rack for d in world.cluster.datanodes} == {"/file", "/own"}
    assert world.cluster.take_topology(Topology()) == 1
    assert {d.rack for d in world.cluster.datanodes} == {"/own"}


def test_blocks_are_judged_again_when_racks_change() -> None:
    world = ReplicaWorld()
    world.add_datanodes(0, 1, 2, 3)
    world.add_file(100, [1])
    for index in range(3):
        world.store(index, replica(block_number(1)))
    world.pass_time(4000, range(4))
    conditions = world.cluster._assessor.conditions
    assert conditions.get(block_number(1)) is None
    world.cluster.take_topology(Topology({"host 3": "/far"}))
    world.pass_time(500, range(4))
    assert conditions.get(block_number(1)) is Condition.MIS_REPLICATED
    assert [index for index, _ in world.sent] == [3]
    world.cluster.take_topology(Topology())
    world.pass_time(500, range(4))
    assert conditions.get(block_number(1)) is None
    world.check_invariants()


def test_a_rack_that_gains_room_has_its_blocks_spread() -> None:
    world = ReplicaWorld()
    for index, rack in enumerate(("/a", "/a", "/a", "/b")):
        world.room_bytes[index] = 10 if rack == "/b" else 1 << 40
        world.join(index, rack=rack)
        world.report(index)
    world.add_file(100, [1])
    for index in range(3):
        world.store(index, replica(block_number(1)))
    world.pass_time(4000, range(4))
    conditions = world.cluster._assessor.conditions
    assert conditions.get(block_number(1)) is None  # nobody else could take it
    assert world.sent == []
    world.room_bytes[3] = 1 << 40
    world.pass_time(1000, range(4))
    assert conditions.get(block_number(1)) is Condition.MIS_REPLICATED
    assert [index for index, _ in world.sent] == [3]
