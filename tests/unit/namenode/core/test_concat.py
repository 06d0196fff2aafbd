"""Files joined into one: their blocks are another's, and those who read them find them there."""

import pytest

from dolmen.protocol.client_messages import Delete, FileInfo, LocateBlocks, LocatedBlocks
from dolmen.protocol.draft_messages import ConcatFiles, LocateBlock, ReopenFile
from dolmen.protocol.errors import (
    DolmenError,
    InvalidRequest,
    IsADirectory,
    LeaseConflict,
    NoSuchPath,
    StaleHandle,
)
from namenode.core.case import NamesystemSettings
from namenode.core.outcome import FileReplicationChanged
from tests.unit.namenode.core.driver import Driver

SETTINGS = NamesystemSettings(delete_after_ms=1000, block_token_life_ms=10_000)
SMALL = 65536


@pytest.fixture
def driver() -> Driver:
    return Driver.long_up(SETTINGS)


def test_joined_files_are_one_and_the_others_are_gone(driver: Driver) -> None:
    target = driver.write("/f", (SMALL, 5), block_size_bytes=SMALL, replication=2)
    blocks = driver.block_ids(target.inode_id)
    for path, lengths in (("/d/a", (SMALL * 2, 3)), ("/d/empty", ()), ("/b", (7,))):
        blocks += driver.block_ids(driver.write(path, lengths).inode_id)
    driver.effects.clear()
    info = driver.do(ConcatFiles("/f", ("/d/a", "/d/empty", "/b")))
    assert info == driver.info("/f")
    assert isinstance(info, FileInfo)
    assert (info.inode_id, info.replication, info.content_hash) == (target.inode_id, 2, b"")
    assert driver.block_ids(target.inode_id) == blocks
    assert [length for _, length in driver.shape("/f")] == [SMALL, 5, SMALL * 2, 3, 7]
    for path in ("/d/a", "/d/empty", "/b"):
        with pytest.raises(NoSuchPath):
            driver.info(path)
    assert driver.take_effects(FileReplicationChanged) == [FileReplicationChanged(target.inode_id)]


def test_empty_files_joined_to_a_file_leave_it_as_it_is(driver: Driver) -> None:
    before = driver.write("/f", (5,))
    driver.write("/a")
    assert driver.do(ConcatFiles("/f", ("/a",))) == before == driver.info("/f")


@pytest.mark.parametrize(
    ("target", "sources", "error"),
    [
        ("/f", (), InvalidRequest),
        ("/f", ("/f",), InvalidRequest),
        ("/f", ("/a", "/b", "//a"), InvalidRequest),
        ("/f", ("/a",) * 1001, InvalidRequest),
        ("/f", ("/a", "/none"), NoSuchPath),
        ("/none", ("/a",), NoSuchPath),
        ("/f", ("/d",), IsADirectory),
        ("/d", ("/f",), IsADirectory),
        ("/f", ("/written",), LeaseConflict),
        ("/written", ("/f",), LeaseConflict),
    ],
)
def test_files_that_cannot_be_joined(
    driver: Driver, target: str, sources: tuple[str, ...], error: type[DolmenError]
) -> None:
    for path in ("/f", "/a", "/b", "/d/x", "/written"):
        driver.write(path, (5,))
    driver.open_draft("/written")
    with pytest.raises(error):
        driver.do(ConcatFiles(target, sources))


def test_who_reads_a_joined_file_finds_its_blocks_where_they_are(driver: Driver) -> None:
    driver.write("/f", (10,))
    known = driver.opened("/f")
    driver.write("/g", (5,))
    driver.do(ConcatFiles("/g", ("/f",)))
    with pytest.raises(StaleHandle):
        driver.ask(LocateBlocks(known.info.inode_id))
    with pytest.raises(StaleHandle):
        driver.ask(ReopenFile(known.info.inode_id))
    driver.do(Delete("/g"))
    driver.now_ms += SETTINGS.block_token_life_ms
    driver.tick()
    assert not driver.dropped()
    page = driver.ask(LocateBlock(known.blocks[0].block_id))
    assert isinstance(page, LocatedBlocks)
    assert (page.blocks[0].block_id, page.more) == (known.blocks[0].block_id, False)
