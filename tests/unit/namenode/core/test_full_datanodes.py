"""Allocating blocks when datanodes have no room is another refusal than when they are missing."""

import pytest

from dolmen.protocol.client_messages import RebuildPipeline
from dolmen.protocol.errors import NoSpace, TooFewDatanodes
from tests.unit.namenode.core.driver import Driver


@pytest.fixture
def driver() -> Driver:
    return Driver(datanodes=4)


def test_datanodes_without_room_are_told_from_datanodes_that_are_missing(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    names = [target.datanode_id for target in driver.knowledge.datanodes]
    driver.knowledge.full = set(names)
    with pytest.raises(NoSpace, match=r"0 datanodes have room .* bytes, .* 0 free"):
        driver.allocate(inode_id, 0)
    driver.knowledge.full = set(names[1:])
    with pytest.raises(NoSpace, match="1 datanodes have room for the block and 2 must"):
        driver.allocate(inode_id, 0)
    driver.knowledge.dead = set(names[1:])
    with pytest.raises(TooFewDatanodes):
        driver.allocate(inode_id, 0)


def test_a_pipeline_whose_only_survivor_finds_no_other_one_with_room_is_told_so(
    driver: Driver,
) -> None:
    inode_id = driver.create("/x").inode_id
    block = driver.allocate(inode_id, 0)
    survivor, *others = (target.datanode_id for target in block.targets)
    driver.knowledge.full = {target.datanode_id for target in driver.knowledge.datanodes}
    excluded = tuple(others)
    rebuild = RebuildPipeline(inode_id, block.block_id, block.stamp, (survivor,), excluded)
    with pytest.raises(NoSpace, match="1 datanodes have room for the block and 2 must"):
        driver.do(rebuild)
    driver.knowledge.dead = set(others)
    driver.knowledge.datanodes = [one for one in driver.knowledge.datanodes if one in block.targets]
    with pytest.raises(TooFewDatanodes):
        driver.do(rebuild)
