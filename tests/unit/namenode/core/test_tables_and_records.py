"""Records, edits, members and invariants: what is damaged or foreign is told, never believed."""

from typing import Any

import msgspec
import pytest
import xxhash

from dolmen.protocol.client_messages import Delete, MakeDirectory
from dolmen.protocol.datanode_messages import RegisterDatanode, StorageStatus
from dolmen.protocol.errors import (
    DataDamaged,
    DolmenError,
    InvalidRequest,
    UnsupportedVersion,
    WrongCluster,
)
from dolmen.protocol.identifiers import ROOT_INODE_ID
from dolmen.protocol.tokens import Target
from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core import tables
from namenode.core.apply import apply_group, seal
from namenode.core.edits import (
    BlocksMoved,
    ClusterFormatted,
    DraftAttached,
    EntryDeleted,
    EpochRaised,
    FileExtended,
    FileJoined,
    HiddenFileMade,
    TreeDismantled,
    decode_group,
    encode_group,
)
from namenode.core.lookup import load_inode, load_meta
from namenode.core.records import (
    DATANODE,
    ENTRY,
    INODE,
    META_KEY,
    META_RECORD,
    RECORD_FORMAT,
    AdminState,
    Entry,
)
from namenode.core.sheet import Sheet
from tests.unit.namenode.core.driver import Driver


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.write("/d/f", (1, 2))
    driver.write("/d/doomed")
    driver.write("/tree/f")
    driver.create("/open")
    driver.do(Delete("/d/doomed"))
    driver.do(Delete("/tree", recursive=True))
    return driver


def test_a_record_is_what_was_stored() -> None:
    entry = Entry(7, 8)
    assert ENTRY.decode(ENTRY.encode(entry)) == entry


@pytest.mark.parametrize("value", [b"", b"\0", b"1234", b"12345678"])
def test_a_value_that_is_no_record_is_damage(value: bytes) -> None:
    with pytest.raises(DataDamaged):
        ENTRY.decode(value)


def test_a_record_with_any_byte_changed_is_damage() -> None:
    value = ENTRY.encode(Entry(7, 8))
    for place in range(len(value)):
        with pytest.raises(DataDamaged):
            ENTRY.decode(value[:place] + bytes((value[place] ^ 1,)) + value[place + 1 :])


@pytest.mark.parametrize(("step", "fit"), [(1, "a newer"), (-1, "an older")])
def test_a_record_of_another_format_says_which_software_to_start(step: int, fit: str) -> None:
    payload = bytes((RECORD_FORMAT + step,)) + b"\x92\x07\x08"
    with pytest.raises(UnsupportedVersion, match=f"start {fit} one"):
        ENTRY.decode(payload + xxhash.xxh32_digest(payload))


def test_every_edit_of_a_log_is_what_was_logged(driver: Driver) -> None:
    for group in driver.log:
        assert encode_group(decode_group(group)) == group


def test_an_edit_that_this_software_does_not_know_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_group(msgspec.msgpack.encode([[99, 1]]))


def test_a_sealed_namespace_knows_how_far_its_log_was_applied(driver: Driver) -> None:
    transaction = driver.key_value.begin()
    assert load_meta(transaction).applied_txid == len(driver.log)
    seal(Sheet(transaction), 40, b"digest")
    meta = load_meta(transaction)
    assert (meta.applied_txid, meta.applied_digest) == (40, b"digest")


def test_edits_that_do_not_fit_the_tables_are_damage(driver: Driver) -> None:
    for edit in (
        EntryDeleted(999, 1, 1),
        TreeDismantled(ROOT_INODE_ID, 10),
        DraftAttached(999, ROOT_INODE_ID),
        HiddenFileMade(1000, 999, 1, 1),
        BlocksMoved(ROOT_INODE_ID, 0, 1, ROOT_INODE_ID),
        FileExtended(999, 1),
        FileJoined(999, 1),
    ):
        transaction = driver.key_value.begin()
        with pytest.raises(DataDamaged):
            apply_group((edit,), transaction, 99)
        transaction.abort()


def test_a_namespace_is_formatted_once_and_first() -> None:
    transaction = SimKeyValueStore().open("/new", tables.DURABLE_TABLES).begin()
    with pytest.raises(DataDamaged, match="never formatted"):
        apply_group((EpochRaised(1, 1),), transaction, 1)
    apply_group((ClusterFormatted("c" * 32, 1, 5),), transaction, 1)
    assert load_inode(transaction, ROOT_INODE_ID).group == "supergroup"
    with pytest.raises(DataDamaged):
        apply_group((EpochRaised(1, 1), ClusterFormatted("c" * 32, 1, 5)), transaction, 2)


def test_each_start_as_active_raises_the_epoch(driver: Driver) -> None:
    for epoch in (1, 2):
        with driver.key_value.snapshot() as view:
            outcome = driver.namesystem.raise_epoch(view, driver.now_ms)
        driver.commit(outcome)
        with driver.key_value.snapshot() as view:
            assert load_meta(view).epoch == epoch


def test_a_known_datanode_registers_without_an_edit_and_a_moved_one_with_one(
    driver: Driver,
) -> None:
    target = driver.knowledge.datanodes[0]
    assert driver.register(target).edits == ()
    assert len(driver.register(Target(target.datanode_id, "elsewhere:2")).edits) == 1
    with driver.key_value.snapshot() as view:
        record = DATANODE.decode(view.get(tables.DATANODES, target.datanode_id.encode()) or b"")
    assert (record.number, record.address, record.admin_state) == (
        1,
        "elsewhere:2",
        AdminState.IN_SERVICE,
    )


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"datanode_id": ""}, InvalidRequest),
        ({"datanode_id": "d" * 65}, InvalidRequest),
        ({"address": "nowhere"}, InvalidRequest),
        ({"host": "h" * 256}, InvalidRequest),
        ({"rack": ""}, InvalidRequest),
        ({"storages": (StorageStatus("s", 1, 0, 1),) * 2}, InvalidRequest),
        ({"storages": (StorageStatus("0" * 32 + "s", 1, 0, 1),)}, WrongCluster),
    ],
)
def test_a_datanode_that_cannot_be_one_is_refused(
    driver: Driver, fields: dict[str, Any], error: type[DolmenError]
) -> None:
    sound = RegisterDatanode("new", b"", "host:1", "host", "/rack", 0, "1", ())
    request = msgspec.structs.replace(sound, **fields)
    with driver.key_value.snapshot() as view, pytest.raises(error):
        driver.namesystem.register_datanode(request, view, driver.now_ms)


def first(driver: Driver, table: str) -> tuple[bytes, bytes]:
    with driver.key_value.snapshot() as view:
        return next(view.scan(table))


@pytest.mark.parametrize(
    "table",
    [
        tables.ENTRIES,
        tables.FILE_BLOCKS,
        tables.BLOCKS,
        tables.LEASES,
        tables.ANSWERS,
        tables.ANSWERS_BY_AGE,
        tables.DETACHED,
        tables.DOOMED,
        tables.DATANODES,
    ],
)
def test_a_record_that_is_missing_is_told(driver: Driver, table: str) -> None:
    key, _ = first(driver, table)
    transaction = driver.key_value.begin()
    transaction.delete(table, key)
    transaction.commit()
    with pytest.raises(DataDamaged, match="not sound"):
        driver.check()


@pytest.mark.parametrize("counter", ["files", "directories", "blocks", "next_inode_id"])
def test_a_counter_that_is_wrong_is_told(driver: Driver, counter: str) -> None:
    transaction = driver.key_value.begin()
    meta = msgspec.structs.replace(load_meta(transaction), **{counter: 9})
    transaction.put(tables.META, META_KEY, META_RECORD.encode(meta))
    transaction.commit()
    with pytest.raises(DataDamaged, match="not sound"):
        driver.check()


@pytest.mark.parametrize(
    "fields", [{"entry_count": 9}, {"parent_id": 9}, {"name": "x"}, {"inode_id": 9}]
)
def test_a_directory_that_does_not_fit_its_place_is_told(
    driver: Driver, fields: dict[str, Any]
) -> None:
    driver.do(MakeDirectory("/new"))
    inode_id = driver.info("/new").inode_id
    transaction = driver.key_value.begin()
    inode = msgspec.structs.replace(load_inode(transaction, inode_id), **fields)
    transaction.put(tables.INODES, tables.number_key(inode_id), INODE.encode(inode))
    transaction.commit()
    with pytest.raises(DataDamaged, match=str(inode_id)):
        driver.check()
