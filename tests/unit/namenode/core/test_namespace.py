"""Directories made, entries renamed and deleted, attributes set: every answer and every refusal."""

import msgspec
import pytest

from dolmen.protocol.client_messages import (
    CreateFile,
    Delete,
    Done,
    EntryKind,
    FileInfo,
    GetInfo,
    ListDirectory,
    Listing,
    MakeDirectory,
    Rename,
    SetAttributes,
)
from dolmen.protocol.errors import (
    DirectoryFull,
    DirectoryNotEmpty,
    DolmenError,
    InvalidRequest,
    IsADirectory,
    NameTooLong,
    NoSuchPath,
    NotADirectory,
    PathExists,
    SafeMode,
)
from dolmen.protocol.identifiers import DIRECTORY_ENTRIES_LIMIT
from namenode.core.lookup import load_inode
from namenode.core.outcome import BlocksForgotten, FileReplicationChanged
from namenode.core.records import INODE
from namenode.core.tables import INODES, number_key
from tests.unit.namenode.core.driver import Driver


@pytest.fixture
def driver() -> Driver:
    """/d/e/f (file) · /d/g (file) · /empty · /full/x (file)"""
    driver = Driver()
    for path in ("/d/e", "/empty", "/full"):
        driver.do(MakeDirectory(path, parents=True))
    for path in ("/d/e/f", "/d/g", "/full/x"):
        driver.write(path, (10,))
    driver.effects.clear()
    return driver


@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("/", "/x", InvalidRequest),
        ("/d", "/", InvalidRequest),
        ("/no", "/x", NoSuchPath),
        ("/no/f", "/x", NoSuchPath),
        ("/d/g/f", "/x", NotADirectory),
        ("/d/g", "/no/x", NoSuchPath),
        ("/d/g", "/d/e/f/x", NotADirectory),
        ("/d/g", "/d/g/x", NotADirectory),
        ("/d", "/d/e/x", InvalidRequest),
        ("/d", "/d/e", InvalidRequest),
        ("/d", "/d/no/x", NoSuchPath),
        ("/d/g", "/empty", IsADirectory),
        ("/d/g", "/d", IsADirectory),
        ("/d/e", "/d/g", NotADirectory),
        ("/d/e", "/full", DirectoryNotEmpty),
        ("/d/e", "/d", DirectoryNotEmpty),
        ("relative", "/x", InvalidRequest),
        ("/d/g", "/d/..", InvalidRequest),
        ("/d/g", "/" + "n" * 256, NameTooLong),
    ],
)
def test_a_rename_that_posix_refuses_is_refused_the_same_way(
    driver: Driver, source: str, target: str, error: type[DolmenError]
) -> None:
    with pytest.raises(error) as caught:
        driver.do(Rename(source, target))
    assert caught.value.path is not None


def test_a_file_replaces_a_file_whose_blocks_are_forgotten(driver: Driver) -> None:
    moved = driver.info("/d/g")
    driver.do(Rename("/d/g", "/full/x"))
    assert driver.info("/full/x").inode_id == moved.inode_id
    assert len(driver.take_effects(BlocksForgotten)) == 1
    with pytest.raises(NoSuchPath):
        driver.info("/d/g")


def test_a_directory_replaces_an_empty_one_and_keeps_its_tree(driver: Driver) -> None:
    driver.do(Rename("/d", "/empty"))
    assert driver.info("/empty/e/f").length_bytes == 10


def test_a_rename_onto_itself_does_nothing(driver: Driver) -> None:
    size = len(driver.log)
    assert driver.do(Rename("/d/g", "/d//g/")) == Done()
    assert driver.do(Rename("/d", "/d")) == Done()
    assert len(driver.log) == size


@pytest.mark.parametrize("target", ["/full/x", "/empty", "/d/g"])
def test_without_replace_an_existing_target_is_refused(driver: Driver, target: str) -> None:
    with pytest.raises(PathExists):
        driver.do(Rename("/d/g", target, replace=False))
    driver.do(Rename("/d/g", "/new", replace=False))
    assert driver.info("/new").length_bytes == 10


def test_a_rename_changes_the_times_of_both_directories_and_keeps_the_files_own(
    driver: Driver,
) -> None:
    before = driver.info("/d/g").modified_ms
    driver.now_ms += 5
    driver.do(Rename("/d/g", "/full/g"))
    assert driver.info("/d").modified_ms == driver.info("/full").modified_ms == driver.now_ms
    assert driver.info("/full/g").modified_ms == before


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (MakeDirectory("/d"), PathExists),
        (MakeDirectory("/"), PathExists),
        (MakeDirectory("/d/g", exist_ok=True), PathExists),
        (MakeDirectory("/d/g/x", parents=True), NotADirectory),
        (MakeDirectory("/no/x"), NoSuchPath),
        (MakeDirectory("/x", mode=0o10000), InvalidRequest),
        (MakeDirectory("/x\0"), InvalidRequest),
        (MakeDirectory("/./x"), InvalidRequest),
        (MakeDirectory("/" + "ä" * 128), NameTooLong),
        (MakeDirectory("/" + "/".join(["d"] * 1001), parents=True), NameTooLong),
        (MakeDirectory("/" + "/".join(["d" * 200] * 41), parents=True), NameTooLong),
        (Delete("/"), InvalidRequest),
        (Delete("/", recursive=True), InvalidRequest),
        (Delete("/no"), NoSuchPath),
        (Delete("/d/g/x"), NotADirectory),
        (Delete("/d"), DirectoryNotEmpty),
        (SetAttributes("/no", mode=0), NoSuchPath),
        (SetAttributes("/d", replication=2), InvalidRequest),
        (SetAttributes("/d/g", replication=0), InvalidRequest),
        (SetAttributes("/d/g", replication=513), InvalidRequest),
        (SetAttributes("/d/g", mode=-1), InvalidRequest),
        (SetAttributes("/d/g", owner="o" * 129), InvalidRequest),
        (SetAttributes("/d/g", group="\udc80"), InvalidRequest),
        (SetAttributes("/d/g", modified_ms=1 << 62), InvalidRequest),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    driver: Driver, request_: MakeDirectory, error: type[DolmenError]
) -> None:
    size = len(driver.log)
    with pytest.raises(error):
        driver.do(request_)
    assert len(driver.log) == size


def test_parents_are_made_to_the_greatest_depth(driver: Driver) -> None:
    path = "/" + "/".join(["d"] * 1000)
    made = driver.do(MakeDirectory(path, mode=0o700, parents=True))
    assert made == driver.info(path)
    assert driver.info(path).mode == 0o700
    assert driver.info("/d/d").mode == 0o755


def test_an_existing_directory_is_fine_if_the_caller_says_so(driver: Driver) -> None:
    size = len(driver.log)
    assert driver.do(MakeDirectory("/d", exist_ok=True)) == driver.info("/d")
    assert driver.do(MakeDirectory("/", parents=True, exist_ok=True)) == driver.info("/")
    assert len(driver.log) == size


def test_the_owner_is_the_caller_and_the_group_the_parents(driver: Driver) -> None:
    driver.do(SetAttributes("/d", group="analysts"))
    driver.do(MakeDirectory("/d/new"))
    driver.write("/d/deep/file")
    for path in ("/d/new", "/d/deep", "/d/deep/file"):
        assert (driver.info(path).owner, driver.info(path).group) == ("somebody", "analysts")


def test_attributes_are_set_and_a_new_replication_has_its_blocks_looked_at(driver: Driver) -> None:
    reply = driver.do(
        SetAttributes("/d/g", replication=2, mode=0o600, owner="o", group="g", modified_ms=-5)
    )
    info = driver.info("/d/g")
    assert reply == info
    assert (info.replication, info.mode, info.owner, info.group) == (2, 0o600, "o", "g")
    assert info.modified_ms == -5
    assert driver.take_effects(FileReplicationChanged) == [FileReplicationChanged(info.inode_id)]
    driver.do(SetAttributes("/d/g", replication=2, mode=0))
    assert not driver.take_effects(FileReplicationChanged)


def test_every_change_gives_a_file_a_new_version(driver: Driver) -> None:
    versions = [driver.info("/d/g").changed_txid]
    driver.do(SetAttributes("/d/g", mode=0))
    versions.append(driver.info("/d/g").changed_txid)
    driver.do(Rename("/d/g", "/d/h"))
    versions.append(driver.info("/d/h").changed_txid)
    assert versions == sorted(set(versions))


def fill(driver: Driver, path: str) -> None:
    """Make a directory look full: a million entries take too long."""
    driver.checked = False
    transaction = driver.key_value.begin()
    inode = load_inode(transaction, driver.info(path).inode_id)
    full = msgspec.structs.replace(inode, entry_count=DIRECTORY_ENTRIES_LIMIT)
    transaction.put(INODES, number_key(inode.inode_id), INODE.encode(full))
    transaction.commit()


@pytest.mark.parametrize(
    "request_",
    [
        MakeDirectory("/full/new"),
        MakeDirectory("/full/new/x", parents=True),
        CreateFile("/full/new"),
        CreateFile("/full/new/x"),
        Rename("/d/g", "/full/new"),
    ],
)
def test_a_full_directory_takes_no_new_entry(driver: Driver, request_: MakeDirectory) -> None:
    fill(driver, "/full")
    with pytest.raises(DirectoryFull, match=str(DIRECTORY_ENTRIES_LIMIT)):
        driver.do(request_)


def test_a_full_directory_still_replaces_and_renames_its_own(driver: Driver) -> None:
    fill(driver, "/full")
    driver.do(Rename("/d/g", "/full/x"))
    driver.do(Rename("/full/x", "/full/y"))
    driver.do(CreateFile("/full/y"))


def test_a_deleted_tree_is_gone_at_once(driver: Driver) -> None:
    size = len(driver.log)
    driver.do(Delete("/d", recursive=True))
    assert len(driver.log) == size + 1
    listing = driver.ask(ListDirectory("/"))
    assert isinstance(listing, Listing)
    assert [entry.path for entry in listing.entries] == ["/empty", "/full"]
    driver.do(MakeDirectory("/d"))
    with pytest.raises(NoSuchPath):
        driver.ask(GetInfo("/d/e"))


def test_a_file_is_deleted_with_or_without_recursive(driver: Driver) -> None:
    driver.do(Delete("/d/g"))
    driver.do(Delete("/full/x", recursive=True))
    driver.do(Delete("/full"))
    root = driver.info("/")
    assert isinstance(root, FileInfo)


def test_only_what_is_of_the_named_kind_is_deleted(driver: Driver) -> None:
    with pytest.raises(NotADirectory, match="is a file"):
        driver.do(Delete("/d/g", kind=EntryKind.DIRECTORY))
    with pytest.raises(IsADirectory, match="is a directory"):
        driver.do(Delete("/empty", kind=EntryKind.FILE))
    with pytest.raises(IsADirectory):
        driver.do(Delete("/d", recursive=True, kind=EntryKind.FILE))
    driver.do(Delete("/d/g", kind=EntryKind.FILE))
    driver.do(Delete("/empty", kind=EntryKind.DIRECTORY))
    for path in ("/d/g", "/empty"):
        with pytest.raises(NoSuchPath):
            driver.info(path)


def test_in_safe_mode_nothing_changes_and_everything_can_be_read(driver: Driver) -> None:
    driver.knowledge.safe_mode = "waiting for block reports"
    with pytest.raises(SafeMode, match="waiting for block reports"):
        driver.do(MakeDirectory("/new"))
    assert driver.info("/d/g").length_bytes == 10
    assert driver.tick() == 0
