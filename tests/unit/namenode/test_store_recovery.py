"""What a namenode does with tables that another left when it was killed."""

import asyncio
from collections.abc import Callable

import pytest

from dolmen.protocol.client_messages import EntryKind
from namenode.core.records import (
    BLOCK,
    ENTRY,
    INODE,
    META_KEY,
    Block,
    BlockState,
    Entry,
    Inode,
)
from namenode.core.tables import (
    BLOCKS,
    ENTRIES,
    FILE_BLOCKS,
    INODES,
    META,
    Writer,
    entry_key,
    file_block_key,
    number_key,
)
from namenode.store import Store
from tests.unit.namenode.store_worlds import (
    SimHost,
    Writing,
    in_virtual_time,
    make_directories,
    make_directory,
    open_on,
    stored_names,
)


def test_a_killed_namenode_resumes_with_its_tables() -> None:
    async def check(host: SimHost) -> None:
        store = await open_on(host)
        await make_directories(store, "a")
        spoil_unseen(store)
        store.kill()
        again = await open_on(host)
        assert stored_names(again) == ["a", "only in the tables"]
        again.kill()

    in_virtual_time(check)


def test_tables_that_nobody_could_read_whole_are_trusted_once() -> None:
    async def check(host: SimHost) -> None:
        host.tables.renewals_refused = True
        store = await open_on(host)
        await make_directories(store, "a")
        spoil_unseen(store)
        for expected in (["a", "only in the tables"], ["a"], ["a"]):
            store.kill()
            store = await open_on(host)
            assert stored_names(store) == expected
        store.kill()

    in_virtual_time(check)


def test_after_a_power_loss_the_tables_are_built_anew() -> None:
    async def check(host: SimHost) -> None:
        store = await open_on(host)
        await make_directories(store, "a")
        spoil_unseen(store)
        store.tables.sync()  # whole and well, and still not to be trusted
        host.lose_power()
        again = await open_on(host)
        assert stored_names(again) == ["a"]
        again.kill()

    in_virtual_time(check)


def spoil_unseen(store: Store) -> None:
    """Leave a trace in the tables that the log knows nothing of."""
    writer = store.tables.begin()
    put_directory(writer, "only in the tables", 1 << 40)
    writer.commit()


def put_directory(writer: Writer, name: str, inode_id: int) -> None:
    """Put a record, and an entry that leads to it."""
    nobody, somewhere = "nobody", (1 << 64) - 1
    inode = Inode(inode_id, somewhere, name, EntryKind.DIRECTORY, 0o755, nobody, nobody, 1, 1, 1, 1)
    writer.put(INODES, number_key(inode_id), INODE.encode(inode))
    writer.put(ENTRIES, entry_key(somewhere, name), ENTRY.encode(Entry(inode_id, 1)))


def test_damage_found_while_running_ends_the_journal_and_is_rebuilt() -> None:
    async def check(host: SimHost) -> None:
        store = await open_on(host)
        await make_directories(store, "a")
        writer = store.tables.begin()
        writer.put(META, META_KEY, b"\x01rotten")
        writer.commit()
        writing = Writing(store)
        running = asyncio.create_task(writing.journal.run())
        with pytest.raises(asyncio.CancelledError):
            await writing.journal.submit(make_directory("b"))
        with pytest.raises(Exception, match="fails its checksum"):
            await running
        store.kill()
        again = await open_on(host)
        assert stored_names(again) == ["a"]
        again.kill()

    in_virtual_time(check)


def test_a_damaged_record_is_found_at_the_start_after_a_kill() -> None:
    async def check(host: SimHost) -> None:
        store = await open_on(host)
        await make_directories(store, "a")
        writer = store.tables.begin()
        writer.put(ENTRIES, b"\xff" * 8 + b"rotten", b"\x01rotten")
        writer.commit()
        store.kill()
        again = await open_on(host)
        assert stored_names(again) == ["a"]
        again.kill()

    in_virtual_time(check)


def entry_under_another_name(writer: Writer) -> None:
    put_directory(writer, "known to its inode", 1 << 40)
    writer.put(ENTRIES, entry_key(1, "another"), ENTRY.encode(Entry(1 << 40, 1)))


def entry_of_nothing(writer: Writer) -> None:
    writer.put(ENTRIES, entry_key(1, "dangling"), ENTRY.encode(Entry(1 << 40, 1)))


def inode_under_another_number(writer: Writer) -> None:
    put_directory(writer, "sound", 1 << 40)
    moved = writer.get(INODES, number_key(1 << 40))
    assert moved is not None
    writer.put(INODES, number_key(1 << 41), moved)


def block_under_another_number(writer: Writer) -> None:
    block = Block(1 << 40, 1, 0, 1, 1, b"", BlockState.COMMITTED)
    writer.put(BLOCKS, number_key(1 << 41), BLOCK.encode(block))


def place_of_a_block_that_is_not_found(writer: Writer) -> None:
    writer.put(FILE_BLOCKS, file_block_key(1, 0), number_key(1 << 40))


@pytest.mark.parametrize(
    "rot",
    [
        entry_under_another_name,
        entry_of_nothing,
        inode_under_another_number,
        block_under_another_number,
        place_of_a_block_that_is_not_found,
    ],
)
def test_a_key_that_rotted_is_found_at_the_start_after_a_kill(
    rot: Callable[[Writer], None],
) -> None:
    async def check(host: SimHost) -> None:
        store = await open_on(host)
        await make_directories(store, "a")
        writer = store.tables.begin()
        rot(writer)
        writer.commit()
        store.kill()
        again = await open_on(host)
        assert stored_names(again) == ["a"]
        again.kill()

    in_virtual_time(check)


def test_an_opening_that_was_cut_off_makes_the_next_one_rebuild() -> None:
    async def check(host: SimHost) -> None:
        store = await open_on(host)
        await make_directories(store, "a")
        spoil_unseen(store)
        await store.mark_damaged("rot")
        store.kill()
        again = await open_on(host)
        assert stored_names(again) == ["a"]
        await again.close_clean()

    in_virtual_time(check)
