"""Readers of long files: they are given all ids at once, and ask for the blocks by these later."""

from struct import unpack

import pytest

from dolmen.protocol.client_messages import Delete, Done, LocatedBlocks
from dolmen.protocol.draft_messages import (
    LISTED_LIMIT,
    ConcatFiles,
    ExtendFile,
    KeepBlocks,
    LocateBlock,
    LocateListed,
)
from dolmen.protocol.errors import InvalidRequest, StaleHandle
from namenode.core.case import NamesystemSettings
from namenode.core.opening import BLOCKS_PAGE_LIMIT
from tests.unit.namenode.core.driver import Driver

SETTINGS = NamesystemSettings(delete_after_ms=1000, block_token_life_ms=10_000)


@pytest.fixture
def driver() -> Driver:
    return Driver.long_up(SETTINGS, checked=False)


def listed(driver: Driver, inode_id: int, block_ids: list[int]) -> LocatedBlocks:
    page = driver.ask(LocateListed(inode_id, tuple(block_ids)))
    assert isinstance(page, LocatedBlocks)
    return page


def test_who_opens_a_long_file_is_given_the_ids_of_all_its_blocks(driver: Driver) -> None:
    short = (1,) * BLOCKS_PAGE_LIMIT
    for path, lengths in (("/short", short), ("/long", (*short, 1, 1))):
        inode_id = driver.write(path, lengths).inode_id
        opened = driver.opened(path)
        ids = list(unpack(f">{len(opened.block_ids) // 8}Q", opened.block_ids))
        assert (opened.more, ids) == (
            (True, driver.block_ids(inode_id)) if path == "/long" else (False, [])
        )


def test_listed_blocks_are_found_in_their_file_and_wherever_they_were_moved(driver: Driver) -> None:
    inode_id = driver.write("/f", (10, 10, 10, 10)).inode_id
    known = driver.block_ids(inode_id)
    assert listed(driver, inode_id, known[1:]).moved is False
    draft = driver.open_draft("/f").draft_id
    driver.extend(ExtendFile(draft, 20, 20, final=True))
    page = listed(driver, inode_id, known[:2])
    assert [block.offset_bytes for block in page.blocks] == [0, 10]
    assert not page.moved
    page = listed(driver, inode_id, known)
    assert [block.block_id for block in page.blocks] == known
    assert page.moved
    driver.write("/g", (10,))
    driver.do(ConcatFiles("/g", ("/f",)))
    assert listed(driver, inode_id, known[:2]).moved
    driver.do(Delete("/g"))
    assert [block.block_id for block in listed(driver, inode_id, known).blocks] == known


def test_what_is_kept_no_longer_ends_a_page_and_is_stale_where_it_begins(driver: Driver) -> None:
    inode_id = driver.write("/f", (10, 10, 10)).inode_id
    known = driver.block_ids(inode_id)
    driver.extend(ExtendFile(driver.open_draft("/f").draft_id, 10, 10, final=True))
    driver.now_ms += SETTINGS.block_token_life_ms + 1
    driver.tick()
    assert [block.block_id for block in listed(driver, inode_id, known).blocks] == known[:1]
    with pytest.raises(StaleHandle):
        listed(driver, inode_id, known[1:])


def test_what_somebody_says_he_still_reads_is_kept_wherever_it_is(driver: Driver) -> None:
    inode_id = driver.write("/f", (10, 10, 10)).inode_id
    driver.opened("/f")
    known = tuple(driver.block_ids(inode_id))
    for start in (20, 10):  # each time to a hidden file of its own
        driver.extend(ExtendFile(driver.open_draft("/f").draft_id, start, start, final=True))
    for _ in range(3):
        driver.now_ms += SETTINGS.block_token_life_ms
        driver.tick()
        assert driver.ask(KeepBlocks((*known, -1, 12345))) == Done()
    assert not driver.dropped()
    driver.now_ms += SETTINGS.block_token_life_ms + 1
    driver.tick()
    assert driver.dropped() == set(known[1:])
    assert driver.ask(KeepBlocks(known)) == Done()
    driver.ask(LocateBlock(known[0]))


@pytest.mark.parametrize("count", [0, LISTED_LIMIT + 1])
def test_a_call_names_some_blocks_and_not_too_many(driver: Driver, count: int) -> None:
    for request in (LocateListed(1, (1,) * count), KeepBlocks((1,) * count)):
        with pytest.raises(InvalidRequest):
            driver.ask(request)
