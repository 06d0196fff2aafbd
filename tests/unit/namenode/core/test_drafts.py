"""A published file's one writer: its draft is opened, taken over, and ended."""

import pytest
from msgspec.structs import replace

from dolmen.protocol.client_messages import (
    AbandonFile,
    AllocateBlock,
    Delete,
    FileInfo,
    MakeDirectory,
    PublishFile,
    Rename,
    RenewLeases,
)
from dolmen.protocol.draft_messages import (
    ExtendFile,
    OpenDraft,
    RecoverLease,
)
from dolmen.protocol.errors import (
    DataDamaged,
    DolmenError,
    InvalidRequest,
    IsADirectory,
    LeaseConflict,
    NoSuchPath,
    StaleHandle,
)
from dolmen.protocol.tokens import Access
from namenode.core.case import NamesystemSettings
from namenode.core.invariants import check_invariants
from namenode.core.lookup import find_lease, load_inode
from namenode.core.records import INODE, LEASE
from namenode.core.tables import INODES, LEASES, number_key
from tests.unit.namenode.core.driver import CLIENT, DIGEST, RIVAL, Driver

SETTINGS = NamesystemSettings(lease_soft_limit_ms=10_000, lease_hard_limit_ms=30_000)


@pytest.fixture
def driver() -> Driver:
    driver = Driver(SETTINGS)
    driver.do(MakeDirectory("/d"))
    driver.tick()
    return driver


def test_who_opens_a_draft_learns_all_that_a_writer_needs(driver: Driver) -> None:
    info = driver.write("/f", (70_000, 5), block_size_bytes=131072, replication=2)
    draft = driver.open_draft("/f")
    assert (draft.inode_id, draft.path, draft.length_bytes) == (info.inode_id, "/f", 70_005)
    assert (draft.block_size_bytes, draft.replication) == (131072, 2)
    assert draft.tail is not None
    tail = (draft.tail.block_id, draft.tail.offset_bytes, draft.tail.length_bytes)
    assert tail == (driver.block_ids(info.inode_id)[1], 70_000, 5)
    assert driver.keys.open_token(draft.tail.token, driver.now_ms).access is Access.READ
    assert driver.info("/f") == info


def test_an_empty_file_has_no_tail(driver: Driver) -> None:
    driver.write("/f")
    assert driver.open_draft("/f").tail is None


def test_a_draft_needs_a_file_that_is_there_and_is_the_one_that_is_meant(driver: Driver) -> None:
    inode_id = driver.write("/f").inode_id
    refused: list[tuple[OpenDraft | RecoverLease, type[DolmenError]]] = [
        (OpenDraft("/none"), NoSuchPath),
        (OpenDraft("/d"), IsADirectory),
        (OpenDraft("/f", inode_id + 1), StaleHandle),
        (RecoverLease("/none"), NoSuchPath),
        (RecoverLease("/d"), IsADirectory),
    ]
    for request, error in refused:
        with pytest.raises(error):
            driver.do(request)
    driver.do(OpenDraft("/f", inode_id))


@pytest.mark.parametrize("rival", [RIVAL, CLIENT])
def test_a_file_has_one_writer_while_he_is_heard_and_the_next_one_fences_him(
    driver: Driver, rival: bytes
) -> None:
    driver.write("/f")
    first = driver.open_draft("/f").draft_id
    driver.now_ms += 9_000
    driver.ask(RenewLeases((first,)))
    driver.now_ms += 9_999
    with pytest.raises(LeaseConflict, match="/f: another handle has been writing it for 19 s"):
        driver.open_draft("/f", rival)
    driver.now_ms += 1
    second = driver.open_draft("/f", rival).draft_id
    for late in (ExtendFile(first, 0, 0), AllocateBlock(first, 0)):
        with pytest.raises(LeaseConflict):
            driver.do(late)
    driver.do(ExtendFile(second, 0, 0), client_id=rival)


def test_a_file_can_be_written_again_when_its_draft_has_ended(driver: Driver) -> None:
    driver.write("/f")
    driver.do(AbandonFile(driver.open_draft("/f").draft_id))
    driver.do(ExtendFile(driver.open_draft("/f").draft_id, 0, 0, final=True))
    driver.open_draft("/f")
    driver.now_ms += SETTINGS.lease_hard_limit_ms
    driver.tick()
    fenced = driver.open_draft("/f").draft_id
    assert isinstance(driver.do(RecoverLease("/f"), client_id=RIVAL), FileInfo)
    driver.open_draft("/f")
    with pytest.raises(LeaseConflict):
        driver.do(ExtendFile(fenced, 0, 0))


def test_a_lease_that_a_namenode_finds_at_its_start_counts_as_heard(driver: Driver) -> None:
    driver.write("/f")
    driver.open_draft("/f")
    driver.now_ms += SETTINGS.lease_soft_limit_ms
    driver.start()
    with pytest.raises(LeaseConflict):
        driver.open_draft("/f")
    driver.tick()
    driver.now_ms += SETTINGS.lease_soft_limit_ms
    driver.open_draft("/f")


def test_to_recover_the_lease_of_a_file_that_nobody_writes_changes_nothing(driver: Driver) -> None:
    info = driver.write("/f", (5,))
    before = len(driver.log)
    assert driver.do(RecoverLease("/f")) == info
    assert len(driver.log) == before


def test_a_draft_is_not_published_and_a_new_file_extends_nothing(driver: Driver) -> None:
    driver.write("/f")
    draft = driver.open_draft("/f").draft_id
    with pytest.raises(InvalidRequest, match="draft"):
        driver.do(PublishFile(draft, "/g", None, DIGEST))
    with pytest.raises(InvalidRequest, match="publish it"):
        driver.do(ExtendFile(driver.create("/g").inode_id, 0, 0))


@pytest.mark.parametrize("gone", ["deleted", "replaced", "with its tree", "reclaimed"])
def test_the_draft_of_a_file_that_is_gone_extends_nothing(driver: Driver, gone: str) -> None:
    driver.write("/d/f", (5,))
    draft = driver.open_draft("/d/f").draft_id
    if gone == "replaced":
        driver.write("/d/f")
    else:
        driver.do(Delete("/d" if gone == "with its tree" else "/d/f", recursive=True))
    if gone == "reclaimed":
        driver.now_ms += SETTINGS.block_token_life_ms + 1
        driver.ask(RenewLeases((draft,)))
        driver.tick()
    with pytest.raises(StaleHandle, match="/d/f"):
        driver.do(ExtendFile(draft, 5, 5))
    driver.do(AbandonFile(draft))
    driver.tick()


@pytest.mark.parametrize("target", [True, False])
def test_a_file_and_a_draft_that_do_not_name_each_other_are_told(
    driver: Driver, target: bool
) -> None:
    driver.write("/f")
    draft = driver.open_draft("/f")
    transaction = driver.key_value.begin()
    if target:
        inode = load_inode(transaction, draft.inode_id)
        key, value = number_key(inode.inode_id), INODE.encode(replace(inode, draft_id=0))
        transaction.put(INODES, key, value)
    else:
        lease = find_lease(transaction, draft.draft_id)
        assert lease is not None
        key, value = number_key(draft.draft_id), LEASE.encode(replace(lease, target_id=0))
        transaction.put(LEASES, key, value)
    with pytest.raises(DataDamaged, match=f"inode {draft.inode_id} names the draft"):
        check_invariants(transaction)
    transaction.abort()


def test_a_file_may_be_renamed_while_it_is_written(driver: Driver) -> None:
    driver.write("/d/f", (5,))
    draft = driver.open_draft("/d/f").draft_id
    driver.do(Rename("/d/f", "/g"))
    info = driver.do(ExtendFile(draft, 5, 5, final=True))
    assert info == driver.info("/g")
