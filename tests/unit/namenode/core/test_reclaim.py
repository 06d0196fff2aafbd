"""Deleted and replaced files: their readers finish, and then their blocks go, in small pieces."""

import pytest

from dolmen.protocol.client_messages import (
    Delete,
    LocateBlocks,
    LocatedBlocks,
    MakeDirectory,
    OpenedFile,
    OpenFile,
)
from dolmen.protocol.errors import IsADirectory, NoSuchPath, StaleHandle
from namenode.core import reclaim
from namenode.core.case import NamesystemSettings
from namenode.core.lookup import load_meta
from namenode.core.outcome import BlocksDropped, BlocksForgotten
from namenode.core.tables import BLOCKS, DETACHED, DOOMED, INODES
from tests.unit.namenode.core.driver import Driver

SETTINGS = NamesystemSettings(delete_after_ms=1000, block_token_life_ms=10_000)
DAY_MS = 24 * 60 * 60_000


@pytest.fixture
def driver() -> Driver:
    return Driver.long_up(SETTINGS)


def dropped(driver: Driver) -> set[int]:
    return {
        block_id for effect in driver.take_effects(BlocksDropped) for block_id in effect.block_ids
    }


def test_the_blocks_of_a_file_nobody_reads_go_soon_after_the_grace(driver: Driver) -> None:
    blocks = set(driver.block_ids(driver.write("/f", (1, 1)).inode_id))
    driver.do(Delete("/f"))
    driver.now_ms += 999
    assert driver.tick() == 0
    driver.now_ms += 1
    driver.tick()
    assert dropped(driver) == blocks
    with driver.key_value.snapshot() as view:
        assert view.count(BLOCKS) == view.count(DOOMED) == 0
        assert view.count(INODES) == 1


def test_the_blocks_of_a_file_somebody_opened_stay_while_the_token_is_valid(
    driver: Driver,
) -> None:
    driver.write("/f", (1,))
    opened = driver.ask(OpenFile("/f"))
    assert isinstance(opened, OpenedFile)
    driver.do(Delete("/f"))
    driver.now_ms += 10_000
    driver.tick()
    assert not dropped(driver)
    driver.keys.open_token(opened.blocks[0].token, driver.now_ms)
    driver.now_ms += 1
    driver.tick()
    assert len(dropped(driver)) == 1
    with pytest.raises(StaleHandle):
        driver.ask(LocateBlocks(opened.info.inode_id))


def test_a_reader_that_renews_keeps_a_replaced_file_for_a_day_and_no_longer(
    driver: Driver,
) -> None:
    old = driver.write("/f", (1,)).inode_id
    driver.ask(OpenFile("/f"))
    driver.write("/f", (2,))
    ends_ms = driver.now_ms + SETTINGS.delete_after_ms + DAY_MS
    driver.checked = False
    while driver.now_ms < ends_ms - 9_000:
        driver.now_ms += 9_000
        driver.tick()
        located = driver.ask(LocateBlocks(old))
        assert isinstance(located, LocatedBlocks)
        token = driver.keys.open_token(located.blocks[0].token, driver.now_ms)
        assert token.expires_ms < ends_ms
    assert not dropped(driver)
    driver.now_ms = ends_ms
    with pytest.raises(StaleHandle):
        driver.ask(LocateBlocks(old))
    driver.tick()
    assert len(dropped(driver)) == 1


def test_after_a_restart_files_from_before_count_as_opened_and_new_ones_do_not() -> None:
    driver = Driver(SETTINGS)
    driver.write("/old", (1,))
    driver.start()
    driver.tick()
    new = set(driver.block_ids(driver.write("/new", (1,)).inode_id))
    driver.do(Delete("/old"))
    driver.do(Delete("/new"))
    driver.now_ms += 1000
    driver.tick()
    assert dropped(driver) == new
    driver.now_ms += 9_001
    driver.tick()
    assert len(dropped(driver)) == 1


def test_a_tree_is_taken_apart_in_pieces_also_over_a_restart(driver: Driver) -> None:
    driver.checked = False
    for number in range(700):
        driver.write(f"/d/{number % 3}/{number}", (1,))
    driver.do(Delete("/d", recursive=True))
    driver.take_effects(BlocksForgotten)
    with driver.key_value.snapshot() as view:
        piece = driver.namesystem.tick(view, driver.now_ms)
    assert piece is not None
    driver.commit(piece)
    driver.check()
    driver.start()
    assert driver.tick() >= 3
    forgotten = [len(effect.block_ids) for effect in driver.take_effects(BlocksForgotten)]
    assert sum(forgotten) == 700
    assert max(forgotten) <= reclaim.BLOCKS_PER_PIECE
    driver.now_ms += SETTINGS.block_token_life_ms + 1
    driver.tick()
    assert len(dropped(driver)) == 700
    driver.check()
    with driver.key_value.snapshot() as view:
        meta = load_meta(view)
        assert (meta.files, meta.directories, meta.blocks) == (0, 1, 0)
        assert view.count(DETACHED) == view.count(DOOMED) == 0


def test_a_file_of_many_blocks_goes_in_pieces_from_its_end(driver: Driver) -> None:
    driver.checked = False
    blocks = driver.block_ids(driver.write("/f", (1,) * 1000).inode_id)
    driver.do(Delete("/f"))
    driver.now_ms += 1000
    with driver.key_value.snapshot() as view:
        piece = driver.namesystem.tick(view, driver.now_ms)
    assert piece is not None
    driver.commit(piece)
    assert dropped(driver) == set(blocks[-reclaim.BLOCKS_PER_PIECE :])
    driver.check()
    assert driver.tick() == 1000 // reclaim.BLOCKS_PER_PIECE - 1
    assert dropped(driver) == set(blocks[: -reclaim.BLOCKS_PER_PIECE])


def test_a_file_in_a_deleted_tree_can_still_be_read_by_who_has_it_open(driver: Driver) -> None:
    inode_id = driver.write("/d/f", (1,)).inode_id
    driver.ask(OpenFile("/d/f"))
    driver.do(Delete("/d", recursive=True))
    driver.ask(LocateBlocks(inode_id))
    driver.now_ms += 5_000
    driver.tick()
    driver.ask(LocateBlocks(inode_id))
    with pytest.raises(NoSuchPath):
        driver.ask(OpenFile("/d/f"))


def test_opened_files_are_remembered_up_to_a_limit_and_then_all_count_as_opened() -> None:
    opened = reclaim.OpenedFiles()
    for inode_id in range(1, reclaim.OPENED_LIMIT + 2):
        opened.note(inode_id, until_ms=100 + inode_id, now_ms=0)
    assert opened.until_ms(1) == 101
    assert opened.until_ms(1 << 40) == 101
    assert opened.until_ms(2) == 102


def test_blocks_are_located_in_pages_with_their_offsets(driver: Driver) -> None:
    lengths = tuple(range(1, 1202))
    driver.checked = False
    info = driver.write("/f", lengths)
    opened = driver.ask(OpenFile("/f"))
    assert isinstance(opened, OpenedFile)
    blocks, more = list(opened.blocks), opened.more
    while more:
        page = driver.ask(LocateBlocks(info.inode_id, len(blocks)))
        assert isinstance(page, LocatedBlocks)
        blocks, more = blocks + list(page.blocks), page.more
    assert tuple(block.length_bytes for block in blocks) == lengths
    assert [block.offset_bytes for block in blocks] == [sum(lengths[:i]) for i in range(1201)]


def test_a_block_without_replicas_is_told_as_one(driver: Driver) -> None:
    inode_id = driver.write("/f", (1,)).inode_id
    driver.knowledge.reported[driver.block_ids(inode_id)[0]] = 0
    opened = driver.ask(OpenFile("/f"))
    assert isinstance(opened, OpenedFile)
    assert opened.blocks[0].replicas == ()


def test_only_published_files_are_opened(driver: Driver) -> None:
    driver.do(MakeDirectory("/d"))
    with pytest.raises(IsADirectory):
        driver.ask(OpenFile("/d"))
    for inode_id in (driver.create("/x").inode_id, driver.info("/d").inode_id, -1, 1 << 70):
        with pytest.raises(StaleHandle):
            driver.ask(LocateBlocks(inode_id))
