"""What becomes of a file's blocks when it is extended, cut or joined, and of those who read it."""

import pytest

from dolmen.protocol.client_messages import (
    CommittedBlock,
    Delete,
    LocatedBlocks,
    Rename,
    SetAttributes,
)
from dolmen.protocol.draft_messages import (
    ConcatFiles,
    ExtendFile,
    LocateBlock,
    ReopenFile,
)
from dolmen.protocol.errors import (
    FileTooLarge,
    InvalidRequest,
    StaleHandle,
)
from dolmen.protocol.identifiers import FILE_BLOCKS_LIMIT
from namenode.core.case import NamesystemSettings
from namenode.core.edits import RECORDS_PER_EDIT_LIMIT, BlocksMoved
from namenode.core.lookup import load_meta, trash_count
from namenode.core.outcome import (
    BlocksChanged,
    BlocksForgotten,
    FileReplicationChanged,
    Outcome,
    Waits,
)
from tests.unit.namenode.core.driver import DIGEST, Driver

SETTINGS = NamesystemSettings(delete_after_ms=1000, block_token_life_ms=10_000)
SMALL = 65536


@pytest.fixture
def driver() -> Driver:
    return Driver.long_up(SETTINGS)


def test_bytes_are_appended_flush_by_flush_behind_whole_blocks(driver: Driver) -> None:
    before = driver.write("/f", (SMALL, 5), block_size_bytes=SMALL)
    old = driver.block_ids(before.inode_id)
    draft = driver.open_draft("/f").draft_id
    driver.effects.clear()
    last = driver.write_blocks(draft, (SMALL, 7))
    info = driver.extend(ExtendFile(draft, SMALL, SMALL + 5, last))
    assert driver.shape("/f") == [(0, SMALL), (SMALL, SMALL), (2 * SMALL, 7)]
    assert info == driver.info("/f")
    assert (info.length_bytes, info.content_hash, info.cut_txid) == (2 * SMALL + 7, b"", 0)
    assert (info.inode_id, info.modified_ms) == (before.inode_id, driver.now_ms)
    blocks = driver.block_ids(before.inode_id)
    assert driver.take_effects(BlocksChanged) == [BlocksChanged(tuple(blocks[1:]))]
    last = driver.write_blocks(draft, (9,))
    info = driver.extend(ExtendFile(draft, 2 * SMALL + 7, 2 * SMALL + 7, last, True, 77))
    assert (info.length_bytes, info.modified_ms) == (2 * SMALL + 16, 77)
    assert driver.block_ids(before.inode_id)[:3] == [old[0], *blocks[1:]]


def test_a_file_that_is_closed_without_a_new_byte_is_what_it_was(driver: Driver) -> None:
    before = driver.write("/f", (5,))
    draft = driver.open_draft("/f").draft_id
    log = len(driver.log)
    driver.now_ms += 5
    assert driver.extend(ExtendFile(draft, 5, 5)) == before
    assert len(driver.log) == log
    assert driver.extend(ExtendFile(draft, 5, 5, final=True)) == before == driver.info("/f")
    draft = driver.open_draft("/f").draft_id
    info = driver.extend(ExtendFile(draft, 5, 5, final=True, modified_ms=99))
    assert info == driver.info("/f")
    assert (info.modified_ms, info.content_hash) == (99, DIGEST)


@pytest.mark.parametrize(
    ("start", "keep", "lengths", "left"),
    [
        (0, 0, (), []),
        (10, 10, (), [(0, 10)]),
        (10, 15, (5,), [(0, 10), (10, 5)]),
        (0, 3, (3,), [(0, 3)]),
        (20, 25, (9,), [(0, 10), (10, 10), (20, 9)]),
    ],
)
def test_a_file_is_cut_anywhere(
    driver: Driver, start: int, keep: int, lengths: tuple[int, ...], left: list[tuple[int, int]]
) -> None:
    driver.write("/f", (10, 10, 10))
    draft = driver.open_draft("/f").draft_id
    last = driver.write_blocks(draft, lengths)
    info = driver.extend(ExtendFile(draft, start, keep, last, final=True))
    assert driver.shape("/f") == left
    assert info == driver.info("/f")
    assert info.length_bytes == sum(length for _, length in left)
    assert info.cut_txid == info.changed_txid == len(driver.log)


@pytest.mark.parametrize(
    ("start", "keep", "lengths"),
    [(-1, 5, (9,)), (6, 5, (9,)), (20, 21, (9,)), (21, 21, ()), (5, 20, (99,)), (10, 20, (9,))],
)
def test_what_does_not_fit_the_file_is_refused(
    driver: Driver, start: int, keep: int, lengths: tuple[int, ...]
) -> None:
    before = driver.write("/f", (10, 10))
    draft = driver.open_draft("/f").draft_id
    last = driver.write_blocks(draft, lengths)
    with pytest.raises(InvalidRequest, match="/f"):
        driver.do(ExtendFile(draft, start, keep, last))
    with pytest.raises(InvalidRequest, match="time"):
        driver.do(ExtendFile(draft, 20, 20, last, modified_ms=1 << 60))
    assert driver.info("/f") == before


def test_extending_waits_until_the_last_two_blocks_are_complete(driver: Driver) -> None:
    driver.write("/f")
    draft = driver.open_draft("/f").draft_id
    last = driver.write_blocks(draft, (SMALL, 5))
    assert last is not None
    request = ExtendFile(draft, 0, 0, last)
    first = driver.block_ids(draft)[0]
    for block_id in (first, last.block_id):
        driver.knowledge.reported = {block_id: 1}
        waits = driver.decide(request)
        assert isinstance(waits, Waits)
        assert waits.block_ids == (block_id,)
    driver.knowledge.reported = {}
    assert driver.extend(request).length_bytes == SMALL + 5


def test_only_the_drafts_own_last_block_is_committed(driver: Driver) -> None:
    inode_id = driver.write("/f", (5,)).inode_id
    draft = driver.open_draft("/f").draft_id
    foreign = CommittedBlock(driver.block_ids(inode_id)[0], 1, 5, DIGEST)
    with pytest.raises(InvalidRequest):
        driver.do(ExtendFile(draft, 5, 5, foreign))
    driver.write_blocks(draft, (5,))
    with pytest.raises(InvalidRequest):
        driver.do(ExtendFile(draft, 5, 5))


def test_a_repeated_call_extends_once(driver: Driver) -> None:
    driver.write("/f", (5,))
    draft = driver.open_draft("/f").draft_id
    last = driver.write_blocks(draft, (7,))
    request = ExtendFile(draft, 5, 5, last)
    first = driver.do(request, 1000)
    log = len(driver.log)
    assert driver.do(request, 1000) == first
    assert (len(driver.log), driver.shape("/f")) == (log, [(0, 5), (5, 7)])


def test_who_reads_the_old_blocks_keeps_them_as_those_of_a_deleted_file(driver: Driver) -> None:
    driver.write("/f", (10, 10, 10))
    known = driver.opened("/f").blocks
    driver.effects.clear()
    driver.extend(ExtendFile(driver.open_draft("/f").draft_id, 10, 10, final=True))
    assert driver.take_effects(BlocksForgotten) == [
        BlocksForgotten((known[1].block_id, known[2].block_id))
    ]
    for _ in range(3):
        driver.now_ms += 9_000
        driver.tick()
        page = driver.ask(LocateBlock(known[2].block_id))
        assert isinstance(page, LocatedBlocks)
        assert page.blocks[0].digest == known[2].digest
        driver.keys.open_token(page.blocks[0].token, driver.now_ms + 9_999)
    assert not driver.dropped()
    driver.now_ms += 10_001
    driver.tick()
    assert driver.dropped() == {known[1].block_id, known[2].block_id}
    with pytest.raises(StaleHandle):
        driver.ask(LocateBlock(known[2].block_id))
    driver.ask(LocateBlock(known[0].block_id))


def test_what_nobody_read_goes_after_the_grace(driver: Driver) -> None:
    inode_id = driver.write("/f", (10, 10)).inode_id
    gone = driver.block_ids(inode_id)[1]
    draft = driver.open_draft("/f").draft_id
    driver.now_ms += SETTINGS.block_token_life_ms + 1  # that of the tail
    driver.extend(ExtendFile(draft, 10, 10, final=True))
    driver.now_ms += 1000
    driver.tick()
    assert driver.dropped() == {gone}


def test_the_tail_that_a_writer_was_shown_is_kept_while_he_may_read_it(driver: Driver) -> None:
    driver.write("/f", (10,))
    draft = driver.open_draft("/f")
    assert draft.tail is not None
    driver.extend(ExtendFile(draft.draft_id, 0, 0, final=True))
    driver.now_ms += SETTINGS.block_token_life_ms
    driver.tick()
    driver.keys.open_token(draft.tail.token, driver.now_ms)
    assert not driver.dropped()


def test_what_a_file_gave_up_is_kept_over_a_restart(driver: Driver) -> None:
    inode_id = driver.write("/f", (10,)).inode_id
    block_id = driver.block_ids(inode_id)[0]
    driver.opened("/f")
    driver.extend(ExtendFile(driver.open_draft("/f").draft_id, 0, 0, final=True))
    driver.start()
    driver.now_ms += 1000
    driver.tick()
    driver.ask(LocateBlock(block_id))
    assert not driver.dropped()


def test_hidden_files_are_neither_files_nor_trash(driver: Driver) -> None:
    driver.write("/f", (10, 10, 10))
    driver.write("/g", (10,))
    driver.extend(ExtendFile(driver.open_draft("/f").draft_id, 20, 20))
    driver.do(Delete("/g"))
    with driver.key_value.snapshot() as view:
        meta = load_meta(view)
        assert (meta.files, meta.blocks, trash_count(view)) == (1, 2, 1)
    driver.now_ms += 60_000
    driver.tick()
    with driver.key_value.snapshot() as view:
        assert (load_meta(view).hidden_files, trash_count(view)) == (0, 0)


def test_blocks_move_in_edits_of_bounded_size_and_in_one_step(driver: Driver) -> None:
    driver.checked = False
    old = driver.block_ids(driver.write("/f", (1,) * 1201).inode_id)
    draft = driver.open_draft("/f").draft_id
    last = driver.write_blocks(draft, (2,) * 1100)
    outcome = driver.decide(ExtendFile(draft, 1, 1, last, final=True))
    assert isinstance(outcome, Outcome)
    moved = [edit.count for edit in outcome.edits if isinstance(edit, BlocksMoved)]
    assert max(moved) * 3 + 2 <= RECORDS_PER_EDIT_LIMIT
    assert sum(moved) == 2300
    driver.commit(outcome)
    driver.check()
    changed = [e for e in outcome.effects if isinstance(e, FileReplicationChanged)]
    forgotten = [e for e in outcome.effects if isinstance(e, BlocksForgotten)]
    assert (len(changed), forgotten) == (1, [BlocksForgotten(tuple(old[1:]))])
    assert driver.info("/f").length_bytes == 2201


def test_a_file_has_a_bounded_number_of_blocks(driver: Driver) -> None:
    driver.checked = False
    driver.write("/f", (1,) * (FILE_BLOCKS_LIMIT - 1))
    driver.write("/g", (1, 1))
    with pytest.raises(FileTooLarge, match="/f"):
        driver.do(ConcatFiles("/f", ("/g",)))
    draft = driver.open_draft("/f").draft_id
    last = driver.write_blocks(draft, (1, 1))
    with pytest.raises(FileTooLarge, match="/f"):
        driver.do(ExtendFile(draft, 9999, 9999, last))
    last = CommittedBlock(last.block_id, last.stamp, 2, DIGEST) if last else None
    driver.extend(ExtendFile(draft, 9998, 9999, last))
    driver.check()


# ---------------------------------------------------------------- asking again


def test_a_file_is_opened_again_wherever_it_is(driver: Driver) -> None:
    inode_id = driver.write("/d/f", (10,)).inode_id
    driver.do(Rename("/d", "/e"))
    again = driver.ask(ReopenFile(inode_id))
    assert again == driver.opened("/e/f")
    driver.do(Delete("/e", recursive=True))
    with pytest.raises(StaleHandle):
        driver.ask(ReopenFile(inode_id))


def test_only_blocks_and_files_that_can_be_read_are_found_again(driver: Driver) -> None:
    driver.write("/d/f")
    draft = driver.open_draft("/d/f").draft_id
    driver.write_blocks(draft, (5,))
    for request in (
        LocateBlock(driver.block_ids(draft)[0]),
        LocateBlock(-1),
        LocateBlock(1 << 70),
        ReopenFile(draft),
        ReopenFile(driver.info("/d").inode_id),
        ReopenFile(-1),
    ):
        with pytest.raises(StaleHandle):
            driver.ask(request)


def test_a_file_whose_replication_changed_meanwhile_gives_it_to_what_is_appended(
    driver: Driver,
) -> None:
    driver.write("/f", (5,))
    draft = driver.open_draft("/f").draft_id
    driver.do(SetAttributes("/f", replication=1))
    last = driver.write_blocks(draft, (7,))
    assert driver.extend(ExtendFile(draft, 5, 5, last)).replication == 1
