"""Which files are hashed anew, when and by whom; and that a hash is only ever that of what is."""

import pytest

from dolmen.protocol.client_messages import Delete, Rename, SetAttributes
from dolmen.protocol.datanode_messages import FileHashed, HashFile, LocateToHash
from dolmen.protocol.draft_messages import ConcatFiles, ExtendFile
from dolmen.protocol.errors import DataDamaged, InvalidRequest, StaleHandle
from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core import tables
from namenode.core.apply import apply_group
from namenode.core.edits import ContentHashed, decode_group
from namenode.core.hashing import FIRST_PAUSE_MS, PATIENCE_MS
from tests.unit.namenode.core.driver import DIGEST, Driver, contents
from tests.unit.namenode.core.replica_world import (
    OPTIONS,
    ReplicaWorld,
    block_number,
    datanode_id,
    replica,
)

QUIET_MS = OPTIONS.hashing.quiet_ms
TXID = 40
HASH = b"h" * 16


# ---------------------------------------------------------------- what is noted, and taken


def unhashed(driver: Driver) -> dict[int, int]:
    """Return which inodes lack their hash, and since when."""
    with driver.key_value.snapshot() as view:
        found = view.scan(tables.UNHASHED)
        return {tables.read_number(key): tables.read_number(value) for key, value in found}


def append(driver: Driver, path: str, length_bytes: int = 9) -> int:
    """Append a block; return the file's inode."""
    opened = driver.open_draft(path)
    last = driver.write_blocks(opened.draft_id, (length_bytes,))
    start = driver.info(path).length_bytes
    return driver.extend(ExtendFile(opened.draft_id, start, start, last, final=True)).inode_id


def take(driver: Driver, report: FileHashed) -> bool:
    """Have a hash taken; return whether it was of use."""
    with driver.key_value.snapshot() as view:
        outcome = driver.namesystem.take_hash(report, view, driver.now_ms)
    driver.commit(outcome)
    return bool(outcome.edits)


def test_a_file_that_grew_is_noted_until_its_hash_is_known_again() -> None:
    driver = Driver()
    driver.write("/f", (5,))
    assert unhashed(driver) == {}
    inode_id = append(driver, "/f")
    assert unhashed(driver) == {inode_id: driver.now_ms}
    before = driver.info("/f")
    assert take(driver, FileHashed(inode_id, before.changed_txid, HASH))
    after = driver.info("/f")
    assert (after.content_hash, after.changed_txid) == (HASH, before.changed_txid)
    assert unhashed(driver) == {}
    assert not take(driver, FileHashed(inode_id, before.changed_txid, HASH))


def test_a_file_that_is_cut_to_nothing_joined_or_deleted_needs_no_hash() -> None:
    driver = Driver()
    for path in ("/cut", "/joined", "/gone", "/target", "/tree/f", "/replaced", "/new"):
        driver.write(path, (5,))
    for path in ("/cut", "/joined", "/gone", "/tree/f", "/replaced"):
        append(driver, path)
    draft_id = driver.open_draft("/cut").draft_id
    driver.extend(ExtendFile(draft_id, 0, 0, final=True))
    driver.do(ConcatFiles("/target", ("/joined",)))
    driver.do(Delete("/gone"))
    driver.do(Delete("/tree", recursive=True))
    driver.do(Rename("/new", "/replaced", replace=True))
    driver.tick()
    assert unhashed(driver) == {driver.info("/target").inode_id: driver.now_ms}


@pytest.mark.parametrize("change", ["grown again", "its mode is another", "deleted", "hashed"])
def test_the_hash_of_what_a_file_was_is_dropped(change: str) -> None:
    driver = Driver()
    driver.write("/f", (5,))
    inode_id = append(driver, "/f")
    txid = driver.info("/f").changed_txid
    match change:
        case "grown again":
            append(driver, "/f")
        case "its mode is another":
            driver.do(SetAttributes("/f", mode=0o600))
        case "deleted":
            driver.do(Delete("/f"))
        case "hashed":
            take(driver, FileHashed(inode_id, txid, DIGEST))
    assert not take(driver, FileHashed(inode_id, txid, HASH))


def test_a_hash_that_is_none_and_one_that_comes_in_safe_mode_are_not_taken() -> None:
    driver = Driver()
    driver.write("/f", (5,))
    inode_id = append(driver, "/f")
    txid = driver.info("/f").changed_txid
    with pytest.raises(InvalidRequest, match="16 bytes"):
        take(driver, FileHashed(inode_id, txid, b"short"))
    driver.knowledge.safe_mode = "an operator wants it"
    assert not take(driver, FileHashed(inode_id, txid, HASH))


def test_what_is_logged_replays_and_a_hash_of_another_moment_is_damage() -> None:
    driver = Driver()
    driver.write("/f", (5,))
    inode_id = append(driver, "/f")
    txid = driver.info("/f").changed_txid
    take(driver, FileHashed(inode_id, txid, HASH))
    replayed = SimKeyValueStore().open("/replayed", tables.DURABLE_TABLES)
    transaction = replayed.begin()
    for number, group in enumerate(driver.log, 1):
        apply_group(decode_group(group), transaction, number)
    transaction.commit()
    with replayed.snapshot() as one, driver.key_value.snapshot() as other:
        assert contents(one) == contents(other)
    transaction = replayed.begin()
    with pytest.raises(DataDamaged, match="gets the hash"):
        apply_group((ContentHashed(inode_id, txid - 1, HASH),), transaction, 99)
    transaction.abort()


def test_where_the_blocks_are_is_told_while_the_file_is_what_it_was() -> None:
    driver = Driver()
    driver.write("/f", (5,))
    inode_id = append(driver, "/f")
    txid = driver.info("/f").changed_txid
    with driver.key_value.snapshot() as view:
        request = LocateToHash(inode_id, txid, 1)
        page = driver.namesystem.locate_to_hash(request, "host", view, driver.now_ms)
        assert [block.offset_bytes for block in page.blocks] == [5]
        request = LocateToHash(inode_id, txid - 1, 0)
        with pytest.raises(StaleHandle, match="changed"):
            driver.namesystem.locate_to_hash(request, "host", view, driver.now_ms)


# ---------------------------------------------------------------- who hashes what, and when


class HashWorld(ReplicaWorld):
    """Datanodes 1 to 3, and files that lack their hash."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[int] = set()
        self.add_datanodes(1, 2, 3)
        self.tick()

    def lose_hash(self, inode_id: int, *holders: int, since_ms: int = 0) -> None:
        """Make a file of one block that these datanodes hold; its hash is lost."""
        self.add_file(inode_id, (inode_id,))
        for index in holders:
            self.store(index, replica(block_number(inode_id)))
        self.change_file(inode_id, length_bytes=1000, changed_txid=TXID)
        with self.writing() as writer:
            key = tables.number_key(inode_id)
            writer.put(tables.UNHASHED, key, tables.number_key(since_ms))

    def orders(self, ms: int = 2000) -> list[tuple[int, int]]:
        """Let time pass; return (datanode, inode) of what is to be hashed."""
        beating = [index for index in (1, 2, 3) if index not in self.gone]
        sent = self.pass_time(ms, beating)
        return [(index, one.inode_id) for index, one in sent if isinstance(one, HashFile)]

    def end(self, index: int, inode_id: int, problem: str = "") -> None:
        hashing = self.cluster.hashing
        hashing.heard(datanode_id(index), inode_id, TXID, self.now_ms)
        if not problem:
            with self.writing() as writer:
                writer.delete(tables.UNHASHED, tables.number_key(inode_id))
        hashing.ended(FileHashed(inode_id, TXID, b"", problem), self.now_ms)


def test_a_quiet_file_is_hashed_by_one_that_has_it_and_a_datanode_hashes_one_at_a_time() -> None:
    world = HashWorld()
    world.lose_hash(10, 2)
    world.lose_hash(11, 2)
    world.lose_hash(12, 2, 3)
    assert world.orders() == [(2, 10), (3, 12)]
    assert world.orders(20_000) == []
    world.end(2, 10)
    assert world.orders() == [(2, 11)]
    assert world.cluster.hashing.order_count == 2


def test_a_file_is_left_alone_until_it_is_quiet() -> None:
    world = HashWorld()
    world.lose_hash(10, 1, since_ms=world.now_ms)
    assert world.orders(QUIET_MS - 2000) == []
    assert world.orders(5000) == [(1, 10)]


def test_a_clock_that_was_set_back_holds_up_nothing() -> None:
    world = HashWorld()
    world.lose_hash(10, 1, since_ms=world.now_ms + 1_000_000_000)
    assert world.orders() == [(1, 10)]


def test_a_file_waits_that_is_written_has_a_block_nowhere_or_stands_in_a_deleted_tree() -> None:
    world = HashWorld()
    for inode_id in (10, 12, 13):
        world.lose_hash(inode_id, 1)
    world.lose_hash(11)
    world.change_file(10, draft_id=99)
    world.change_file(12, parent_id=13)
    world.change_file(13, parent_id=0)
    assert world.orders(5000) == []
    world.change_file(10, draft_id=0)
    assert world.orders() == [(1, 10)]


def test_an_order_is_void_with_its_connection_and_somebody_else_has_it() -> None:
    world = HashWorld()
    world.lose_hash(10, 1, 2)
    assert world.orders() == [(1, 10)]
    world.leave(1)
    world.gone.add(1)
    assert world.orders() == [(2, 10)]
    with pytest.raises(StaleHandle, match="not to hash"):
        world.end(1, 10)
    world.end(2, 10)


def test_a_file_that_could_not_be_hashed_waits_twice_as_long_each_time() -> None:
    world = HashWorld()
    world.lose_hash(10, 1)
    pauses = []
    for _ in range(3):
        assert world.orders(120_000)
        failed_ms = world.now_ms
        world.end(1, 10, "no source")
        while not world.orders(250):
            pass
        pauses.append((world.now_ms - failed_ms) // FIRST_PAUSE_MS)
        world.cluster.hashing.forget_datanode(datanode_id(1))
    assert pauses == [1, 2, 4]


def test_what_changed_since_it_failed_does_not_wait() -> None:
    world = HashWorld()
    world.lose_hash(10, 1)
    assert world.orders()
    world.end(1, 10, "it changed")
    world.change_file(10, changed_txid=TXID + 1)
    assert world.orders() == [(1, 10)]


def test_signs_of_life_keep_an_order_and_silence_ends_it() -> None:
    world = HashWorld()
    world.lose_hash(10, 1)
    assert world.orders()
    for _ in range(3):
        assert world.orders(PATIENCE_MS) == []
        world.cluster.hashing.heard(datanode_id(1), 10, TXID, world.now_ms)
    assert world.orders(PATIENCE_MS + FIRST_PAUSE_MS + 20_000) == [(1, 10)]


def test_after_a_restart_nothing_is_forgotten() -> None:
    world = HashWorld()
    world.lose_hash(10, 1)
    assert world.orders()
    world.restart()
    world.add_datanodes(1, 2, 3)
    assert world.orders(30_000) == [(1, 10)]
