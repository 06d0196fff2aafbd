"""A new file whose first block is allocated with it, in one group of edits."""

import pytest

from dolmen.protocol.client_messages import (
    AllocateBlock,
    AllocatedBlock,
    CommittedBlock,
    CreatedFile,
    CreateFile,
    FileInfo,
    FirstBlock,
    PublishFile,
)
from dolmen.protocol.errors import DolmenError, PathExists
from dolmen.protocol.tokens import Access
from namenode.core.outcome import BlocksDropped
from tests.unit.namenode.core.driver import DIGEST, Driver


@pytest.fixture
def driver() -> Driver:
    return Driver(datanodes=4)


def begin(driver: Driver, path: str, *excluded: str, number: int | None = None) -> CreatedFile:
    request = CreateFile(path, first_block=FirstBlock(excluded, "my-host"))
    reply = driver.do(request) if number is None else driver.do(request, number=number)
    assert isinstance(reply, CreatedFile)
    return reply


def test_a_first_block_has_targets_and_a_token_and_is_published_as_any_other(
    driver: Driver,
) -> None:
    excluded = driver.knowledge.datanodes[0].datanode_id
    created = begin(driver, "/x", excluded)
    block = created.first_block
    assert block is not None
    assert block.targets == tuple(driver.knowledge.datanodes[1:])
    token = driver.keys.open_token(block.token, driver.now_ms)
    assert (token.block_id, token.stamp, token.access) == (
        block.block_id,
        block.stamp,
        Access.WRITE,
    )
    assert token.length_limit_bytes == created.block_size_bytes
    wish = driver.knowledge.wishes[-1]
    assert (wish.wanted, wish.writer_host) == (3, "my-host")
    driver.knowledge.reported[block.block_id] = 2
    last = CommittedBlock(block.block_id, block.stamp, 5, DIGEST)
    info = driver.do(PublishFile(created.inode_id, "/x", last, DIGEST))
    assert isinstance(info, FileInfo)
    assert driver.shape("/x") == [(0, 5)]


def test_a_first_block_that_broke_is_replaced(driver: Driver) -> None:
    created = begin(driver, "/x")
    assert created.first_block is not None
    driver.effects.clear()
    again = driver.do(AllocateBlock(created.inode_id, 0))
    assert isinstance(again, AllocatedBlock)
    assert again.block_id != created.first_block.block_id
    assert driver.take_effects(BlocksDropped) == [BlocksDropped((created.first_block.block_id,))]


def test_a_file_is_created_without_a_block_where_that_has_not_all_its_replicas(
    driver: Driver,
) -> None:
    excluded = [target.datanode_id for target in driver.knowledge.datanodes[:2]]
    created = begin(driver, "/x", *excluded)
    assert created.first_block is None
    assert isinstance(driver.do(AllocateBlock(created.inode_id, 0)), AllocatedBlock)


def test_a_repeated_call_gets_the_first_block_again(driver: Driver) -> None:
    first = begin(driver, "/x", number=7)
    assert begin(driver, "/x", number=7) == first
    assert begin(driver, "/x", number=8).first_block != first.first_block


def test_what_is_refused_takes_no_block(driver: Driver) -> None:
    driver.write("/x", (5,))
    with pytest.raises(PathExists):
        driver.do(CreateFile("/x", exclusive=True, first_block=FirstBlock()))
    with pytest.raises(DolmenError, match="excluded"):
        begin(driver, "/y", *map(str, range(1001)))
