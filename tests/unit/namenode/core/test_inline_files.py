"""Files whose bytes the namenode keeps: stored in one step, read, grown, cut, joined and deleted.

The driver compares every table after each step: a content without its file, or a file without its
content, is found there.
"""

import msgspec
import pytest

from dolmen.protocol.checksums import content_hash
from dolmen.protocol.client_messages import (
    CONTENT_LIMIT_BYTES,
    CheckCreation,
    CreateFile,
    Delete,
    Done,
    MakeDirectory,
    OpenedFile,
    Rename,
    SetAttributes,
    StoreFile,
)
from dolmen.protocol.draft_messages import ConcatFiles, ExtendFile, ReopenFile
from dolmen.protocol.errors import (
    ChecksumMismatch,
    DirectoryFull,
    DolmenError,
    InvalidRequest,
    IsADirectory,
    LeaseConflict,
    NameTooLong,
    NeedsBlocks,
    NotADirectory,
    PathExists,
    SafeMode,
)
from dolmen.protocol.identifiers import DIRECTORY_ENTRIES_LIMIT
from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core import tables
from namenode.core.apply import apply_group
from namenode.core.case import NamesystemSettings
from namenode.core.edits import EDIT_LIMIT_BYTES, FileStored, decode_group, encode_group
from namenode.core.lookup import load_meta, trash_count
from namenode.core.outcome import BlocksChanged, BlocksForgotten, FileOpened, Outcome
from namenode.core.records import INODE
from namenode.core.tables import DURABLE_TABLES
from tests.unit.namenode.core.driver import RIVAL, Driver, contents

SETTINGS = NamesystemSettings(
    inline_limit_bytes=100, delete_after_ms=1000, block_token_life_ms=10_000
)
SMALL = 65536


@pytest.fixture
def driver() -> Driver:
    return Driver.long_up(SETTINGS)


def kept(driver: Driver) -> int:
    with driver.key_value.snapshot() as view:
        return view.count(tables.CONTENTS)


def counted(driver: Driver) -> tuple[int, int, int]:
    with driver.key_value.snapshot() as view:
        meta = load_meta(view)
    return meta.files, meta.inline_files, meta.inline_bytes


def test_a_file_is_stored_whole_by_one_call_and_read_by_one(driver: Driver) -> None:
    driver.effects.clear()
    log = len(driver.log)
    info = driver.store("/d/e/f", b"small", replication=2, mode=0o600)
    assert len(driver.log) == log + 1
    assert info == driver.info("/d/e/f")
    assert (info.length_bytes, info.inline, info.replication, info.mode) == (5, True, 2, 0o600)
    assert (info.content_hash, info.owner) == (content_hash(b"small"), "somebody")
    opened = driver.opened("/d/e/f")
    assert opened == OpenedFile(info, (), more=False, content=b"small")
    assert driver.ask(ReopenFile(info.inode_id)) == opened
    assert driver.effects == []
    assert counted(driver) == (1, 1, 5)


def test_an_empty_file_has_no_content_to_keep(driver: Driver) -> None:
    info = driver.store("/f", b"")
    assert (info.length_bytes, info.inline) == (0, False)
    assert info == driver.info("/f")
    assert driver.opened("/f").content == b""
    assert (kept(driver), counted(driver)) == (0, (1, 0, 0))


def test_what_is_stored_replaces_a_file_in_the_same_step(driver: Driver) -> None:
    old = driver.write("/f", (7,))
    block_ids = tuple(driver.block_ids(old.inode_id))
    driver.effects.clear()
    first = driver.store("/f", b"first")
    assert driver.take_effects(BlocksForgotten) == [BlocksForgotten(block_ids)]
    second = driver.store("/f", b"the second")
    assert driver.opened("/f").content == b"the second"
    assert len({old.inode_id, first.inode_id, second.inode_id}) == 3
    assert (kept(driver), counted(driver)) == (2, (1, 1, 10))
    written = driver.write("/f", (9,))
    assert driver.info("/f") == written
    with driver.key_value.snapshot() as view:
        assert trash_count(view) == 3
    driver.now_ms += SETTINGS.delete_after_ms
    driver.tick()
    assert (kept(driver), counted(driver)) == (0, (1, 0, 0))


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (CreateFile("/d"), IsADirectory),
        (CreateFile("/"), IsADirectory),
        (CreateFile("/f/below"), NotADirectory),
        (CreateFile("/f", exclusive=True), PathExists),
        (CreateFile("/" + 256 * "x"), NameTooLong),
        (CreateFile("not absolute"), InvalidRequest),
        (CreateFile("/new", replication=513), InvalidRequest),
        (CreateFile("/new", block_size_bytes=7), InvalidRequest),
        (CreateFile("/new", mode=0o10000), InvalidRequest),
    ],
)
def test_it_is_refused_as_a_file_would_be_that_is_created(
    driver: Driver, file: CreateFile, error: type[DolmenError]
) -> None:
    driver.do(MakeDirectory("/d"))
    driver.write("/f", (1,))
    log = len(driver.log)
    for refused in (
        lambda: driver.do(file),
        lambda: driver.ask(CheckCreation(file)),
        lambda: driver.do(StoreFile(file, b"x", content_hash(b"x"))),
    ):
        with pytest.raises(error):
            refused()
    assert len(driver.log) == log


def test_a_full_directory_and_safe_mode_refuse_it_too(driver: Driver) -> None:
    driver.do(MakeDirectory("/d"))
    file = CreateFile("/d/f")
    assert driver.ask(CheckCreation(file)) == Done()
    with driver.key_value.snapshot() as view:
        meta = load_meta(view)
    driver.knowledge.safe_mode = "starting"
    for refused in (lambda: driver.ask(CheckCreation(file)), lambda: driver.store("/d/f", b"x")):
        with pytest.raises(SafeMode):
            refused()
    driver.knowledge.safe_mode = None
    driver.checked = False  # it counts what is not there
    writer = driver.key_value.begin()
    key = tables.number_key(meta.next_inode_id - 1)
    directory = INODE.decode(writer.get(tables.INODES, key) or b"")
    full = msgspec.structs.replace(directory, entry_count=DIRECTORY_ENTRIES_LIMIT)
    writer.put(tables.INODES, key, INODE.encode(full))
    writer.commit()
    for refused in (lambda: driver.ask(CheckCreation(file)), lambda: driver.store("/d/f", b"x")):
        with pytest.raises(DirectoryFull):
            refused()


def test_a_content_that_is_too_long_or_does_not_have_its_hash_is_refused(driver: Driver) -> None:
    longest = bytes(CONTENT_LIMIT_BYTES)
    assert driver.store("/f", longest).length_bytes == CONTENT_LIMIT_BYTES
    with pytest.raises(InvalidRequest, match="write blocks"):
        driver.store("/f", longest + b"x")
    with pytest.raises(ChecksumMismatch):
        driver.do(StoreFile(CreateFile("/f"), b"flipped", content_hash(b"written")))
    assert driver.opened("/f").content == longest


def test_the_longest_content_at_the_longest_path_fits_into_an_edit(driver: Driver) -> None:
    path = "".join(f"/{number:02}{'x' * 250}" for number in range(31))
    file = CreateFile(path)
    driver.do(MakeDirectory(path.rpartition("/")[0], parents=True))
    longest = bytes(CONTENT_LIMIT_BYTES)
    outcome = driver.decide(StoreFile(file, longest, content_hash(longest)))
    assert isinstance(outcome, Outcome)
    [stored] = (edit for edit in outcome.edits if isinstance(edit, FileStored))
    assert len(encode_group((stored,))) <= EDIT_LIMIT_BYTES


def test_a_repeated_call_stores_nothing_again(driver: Driver) -> None:
    request = StoreFile(CreateFile("/f", exclusive=True), b"once", content_hash(b"once"))
    first = driver.do(request, number=70)
    driver.do(Rename("/f", "/g"))
    driver.start()
    assert driver.do(request, number=70) == first
    assert counted(driver) == (1, 1, 4)


def test_attributes_and_names_change_and_the_content_stays(driver: Driver) -> None:
    driver.store("/f", b"same")
    driver.do(SetAttributes("/f", replication=5, mode=0o400, modified_ms=9))
    driver.do(MakeDirectory("/d"))
    driver.do(Rename("/f", "/d/g"))
    info = driver.info("/d/g")
    assert (info.replication, info.modified_ms, info.inline) == (5, 9, True)
    assert driver.opened("/d/g").content == b"same"


def test_a_tree_that_is_deleted_takes_its_contents_with_it(driver: Driver) -> None:
    for number in range(20):
        driver.store(f"/d/{number}", b"content")
    assert (kept(driver), counted(driver)) == (20, (20, 20, 140))
    driver.do(Delete("/d", recursive=True))
    driver.tick()
    assert (kept(driver), counted(driver)) == (20, (0, 0, 0))
    driver.now_ms += SETTINGS.delete_after_ms
    driver.tick()
    assert kept(driver) == 0


def test_bytes_behind_a_content_make_a_block_of_both(driver: Driver) -> None:
    before = driver.store("/f", b"12345", block_size_bytes=SMALL)
    opened = driver.open_draft("/f")
    assert (opened.length_bytes, opened.tail) == (5, None)
    driver.effects.clear()
    last = driver.write_blocks(opened.draft_id, (12,))
    info = driver.extend(ExtendFile(opened.draft_id, 0, 5, last))
    assert info == driver.info("/f")
    assert (info.inode_id, info.length_bytes, info.inline) == (before.inode_id, 12, False)
    assert (info.content_hash, info.cut_txid) == (b"", 0)
    assert driver.shape("/f") == [(0, 12)]
    blocks = tuple(driver.block_ids(info.inode_id))
    assert driver.take_effects(BlocksChanged) == [BlocksChanged(blocks)]
    assert (kept(driver), counted(driver)) == (0, (1, 0, 0))


def test_a_content_gives_way_wholly_or_not_at_all_to_blocks(driver: Driver) -> None:
    driver.store("/f", b"12345", block_size_bytes=SMALL)
    draft = driver.open_draft("/f").draft_id
    last = driver.write_blocks(draft, (12,))
    for start in (2, 5):
        with pytest.raises(InvalidRequest, match="no block"):
            driver.do(ExtendFile(draft, start, 5, last))
    assert driver.opened("/f").content == b"12345"
    cut = driver.extend(ExtendFile(draft, 0, 3, last, final=True))
    assert (cut.length_bytes, cut.cut_txid > 0) == (12, True)


@pytest.mark.parametrize("length_bytes", [0, 1, 4])
def test_a_content_is_cut_by_one_edit_and_its_hash_is_known(
    driver: Driver, length_bytes: int
) -> None:
    driver.store("/f", b"12345")
    left = b"12345"[:length_bytes]
    draft = driver.open_draft("/f").draft_id
    info = driver.extend(ExtendFile(draft, length_bytes, length_bytes, None, final=True))
    assert info == driver.info("/f")
    assert (info.length_bytes, info.content_hash) == (length_bytes, content_hash(left))
    assert info.cut_txid == len(driver.log)
    assert driver.opened("/f").content == left
    assert counted(driver) == (1, int(length_bytes > 0), length_bytes)


def test_a_draft_that_ends_without_a_byte_leaves_the_content(driver: Driver) -> None:
    before = driver.store("/f", b"12345")
    draft = driver.open_draft("/f").draft_id
    assert driver.extend(ExtendFile(draft, 5, 5, None, final=True)) == before
    driver.open_draft("/f")
    with pytest.raises(LeaseConflict):
        driver.do(ConcatFiles("/f", ("/f",)))
    assert driver.opened("/f").content == b"12345"


def test_contents_that_are_short_together_are_joined(driver: Driver) -> None:
    target = driver.store("/f", b"a")
    driver.store("/g", b"bc")
    driver.store("/empty", b"")
    driver.store("/h", 97 * b"d")
    info = driver.do(ConcatFiles("/f", ("/g", "/empty", "/h")))
    assert info == driver.info("/f")
    joined = b"abc" + 97 * b"d"
    assert driver.opened("/f").content == joined
    assert driver.info("/f").content_hash == content_hash(joined)
    assert driver.info("/f").inode_id == target.inode_id
    assert (kept(driver), counted(driver)) == (1, (1, 1, 100))


def test_contents_are_joined_to_an_empty_file_and_empty_files_to_a_content(driver: Driver) -> None:
    driver.store("/empty", b"")
    before = driver.store("/f", b"abc")
    assert driver.do(ConcatFiles("/f", ("/empty",))) == before == driver.info("/f")
    driver.write("/other")
    info = driver.do(ConcatFiles("/other", ("/f",)))
    assert info == driver.info("/other")
    assert driver.opened("/other").content == b"abc"


@pytest.mark.parametrize(
    ("target", "sources"),
    [("/f", ("/long",)), ("/f", ("/blocks",)), ("/blocks", ("/f",)), ("/blocks", ("/g", "/f"))],
)
def test_contents_that_are_to_be_joined_to_blocks_or_are_too_long_must_be_blocks_first(
    driver: Driver, target: str, sources: tuple[str, ...]
) -> None:
    driver.store("/f", b"ab")
    driver.store("/long", 99 * b"c")
    driver.write("/blocks", (7,))
    driver.write("/g", (7,))
    log = len(driver.log)
    with pytest.raises(NeedsBlocks):
        driver.do(ConcatFiles(target, sources))
    assert len(driver.log) == log


def test_who_reads_a_content_keeps_nothing_from_being_given_up(driver: Driver) -> None:
    driver.store("/f", b"12345")
    opened = driver.opened("/f")
    driver.do(Delete("/f"))
    driver.now_ms += SETTINGS.delete_after_ms
    driver.tick()
    assert kept(driver) == 0
    assert opened.content == b"12345"
    assert driver.take_effects(FileOpened) == []


def test_replayed_edits_give_the_same_contents(driver: Driver) -> None:
    driver.store("/f", b"first")
    driver.store("/g", b"second")
    driver.store("/f", b"third")
    draft = driver.open_draft("/g").draft_id
    driver.extend(ExtendFile(draft, 3, 3, None, final=True))
    driver.do(ConcatFiles("/f", ("/g",)), client_id=RIVAL)
    again = SimKeyValueStore().open("/again", DURABLE_TABLES)
    writer = again.begin()
    for txid, group in enumerate(driver.log, 1):
        apply_group(decode_group(group), writer, txid)
    with driver.key_value.snapshot() as view:
        assert contents(writer) == contents(view)
