"""What the simulated disk does that a real one does only on a bad day."""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any

import pytest

from dolmen.protocol.errors import StartRefused
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_disk import PIECE_BYTES, SimDisk
from dolmen.simulation.sim_inode import Keeps
from dolmen.simulation.sim_storage import WRITTEN_BACK_S, SimStorage


def outcomes(scenario: Callable[[SimDisk], Coroutine[Any, Any, Any]]) -> list[Any]:
    """What a scenario, then a loss of power, then reading `/a` gives, for many seeds."""

    async def one(seed: int) -> bytes | None:
        storage = SimStorage()
        disk = SimDisk(storage, "one")
        await scenario(disk)
        disk.kill()
        storage.crash(Random(seed))
        restarted = SimDisk(storage, "two")
        return await restarted.read_file("/a") if await restarted.exists("/a") else None

    async def all_of_them() -> list[Any]:
        return [await one(seed) for seed in range(100)]

    return virtual_time.run(all_of_them())


def test_unsynced_writes_are_kept_torn_or_lost_each_by_itself() -> None:
    async def scenario(disk: SimDisk) -> None:
        await disk.write_file("/a", b"old old old ")
        file = await disk.open("/a")
        await file.write_at(0, b"new")
        await file.write_at(4, b"new")

    found = set(outcomes(scenario))
    assert {b"old old old ", b"new old old ", b"old new old ", b"new new old "} <= found
    assert found & {b"nld old old ", b"ned old old ", b"new nld old ", b"old ned old "}


def test_a_name_that_was_not_synced_may_be_missing() -> None:
    async def scenario(disk: SimDisk) -> None:
        file = await disk.open("/a", create=True)
        await file.write_at(0, b"data")
        await file.sync()

    assert set(outcomes(scenario)) == {None, b"data"}


def test_an_unsynced_rename_happened_whole_or_not_at_all() -> None:
    async def scenario(disk: SimDisk) -> None:
        await disk.write_file("/a", b"old")
        await disk.write_file("/b", b"new")
        await disk.rename("/b", "/a")

    assert set(outcomes(scenario)) == {b"old", b"new"}


def test_a_name_lasts_by_itself_in_the_end_and_what_it_hid_is_let_go() -> None:
    now_s = 0.0
    storage = SimStorage(now_s=lambda: now_s)
    storage.open("/old", create=True)
    storage.sync_directory("/")
    storage.remove("/old")
    now_s = 1.0
    storage.open("/young", create=True)
    now_s = WRITTEN_BACK_S + 0.5
    storage.open("/youngest", create=True)

    storage.crash(Random(0), Keeps.NOTHING)

    with pytest.raises(FileNotFoundError):
        storage.file("/old")
    with pytest.raises(FileNotFoundError):
        storage.file("/young")


def test_a_rename_between_directories_lasts_when_either_is_synced() -> None:
    async def scenario(disk: SimDisk) -> None:
        await disk.make_directories("/x")
        await disk.write_file("/x/b", b"new")
        await disk.rename("/x/b", "/a")
        await disk.sync_directory("/")

    assert set(outcomes(scenario)) == {b"new"}


def test_a_failed_sync_is_final() -> None:
    async def scenario(disk: SimDisk) -> None:
        await disk.write_file("/a", b"old")
        file = await disk.open("/a")
        await file.write_at(0, b"new")
        disk.storage.device.syncs_to_fail = 1
        with pytest.raises(OSError, match="Input/output error"):
            await file.sync()
        await file.sync()
        assert await disk.read_file("/a") == b"new"

    assert set(outcomes(scenario)) == {b"old"}


def test_the_death_of_a_process_loses_nothing_that_was_written() -> None:
    async def scenario() -> None:
        storage = SimStorage()
        disk = SimDisk(storage, "one")
        file = await disk.open("/a", create=True)
        await file.write_at(0, b"unsynced")
        disk.lock_directory("/")
        with pytest.raises(StartRefused, match="in use by process one"):
            SimDisk(storage, "two").lock_directory("/")
        disk.kill()
        restarted = SimDisk(storage, "one")
        restarted.lock_directory("/")
        assert await restarted.read_file("/a") == b"unsynced"
        with pytest.raises(asyncio.CancelledError):
            await disk.read_file("/a")

    virtual_time.run(scenario())


def test_the_death_of_a_process_stops_a_write_between_two_pieces() -> None:
    async def scenario() -> None:
        storage = SimStorage()
        disk = SimDisk(storage, "one")
        file = await disk.open("/a", create=True)
        writing = asyncio.create_task(file.write_at(0, bytes(10 * PIECE_BYTES)))
        while await file.size() == 0:
            await disk.exists("/a")
        disk.kill()
        with pytest.raises(asyncio.CancelledError):
            await writing
        size = await file.size()
        assert 0 < size < 10 * PIECE_BYTES
        await asyncio.sleep(1)
        assert await file.size() == size

    virtual_time.run(scenario())


def test_a_full_disk_takes_what_fits_and_has_room_again_after_a_removal() -> None:
    async def scenario() -> None:
        disk = SimDisk(SimStorage(capacity_bytes=1000), "one")
        await disk.write_file("/a", bytes(600))
        assert await disk.space("/") == (1000, 400)
        with pytest.raises(OSError, match="No space left") as caught:
            await disk.write_file("/b", bytes(500))
        assert caught.value.errno == errno.ENOSPC
        assert await disk.list_directory("/") == ["a"]
        assert await disk.space("/") == (1000, 400)
        file = await disk.open("/a")
        await file.write_at(0, bytes(1000))
        with pytest.raises(OSError, match="No space left"):
            await file.write_at(1000, b"x")
        await file.truncate(10)
        assert await disk.space("/") == (1000, 990)
        await disk.remove("/a")
        assert await disk.space("/") == (1000, 1000)

    virtual_time.run(scenario())


def test_rot_is_seen_before_and_after_a_loss_of_power() -> None:
    async def scenario(disk: SimDisk) -> None:
        await disk.write_file("/a", b"\x00\x00")
        disk.storage.rot("/a", 1)
        assert await disk.read_file("/a") == b"\x00\x01"

    assert set(outcomes(scenario)) == {b"\x00\x01"}


def test_operations_take_time() -> None:
    async def scenario() -> float:
        disk = SimDisk(SimStorage(), "one")
        await disk.write_file("/a", bytes(1_000_000_000 // 1000))
        return asyncio.get_running_loop().time()

    assert 0.001 < virtual_time.run(scenario()) < 0.01


def test_a_disk_that_is_pulled_out_leaves_an_empty_directory_and_comes_back_as_it_was() -> None:
    async def scenario() -> None:
        disk = SimDisk(SimStorage(), "one")
        storage = disk.storage
        await disk.make_directories("/mnt")
        underneath = await disk.device("/mnt")
        plugged_in = storage.plug_in("/mnt")
        assert await disk.device("/mnt") != underneath
        await disk.write_file("/mnt/a", b"kept")
        assert storage.pull_out("/mnt") is plugged_in
        assert await disk.list_directory("/mnt") == []
        assert await disk.device("/mnt") == underneath
        await disk.write_file("/mnt/b", b"underneath")
        storage.plug_in("/mnt", plugged_in)
        storage.crash(Random(1))
        assert await disk.read_file("/mnt/a") == b"kept"
        assert await disk.list_directory("/mnt") == ["a"]

    virtual_time.run(scenario())


def test_a_read_only_disk_is_read_and_refuses_every_change() -> None:
    async def scenario() -> None:
        disk = SimDisk(SimStorage(), "one")
        await disk.make_directories("/d")
        await disk.write_file("/d/a", b"0123")
        file = await disk.open("/d/a")
        disk.storage.device.read_only = True
        changes: list[Callable[[], Awaitable[object]]] = [
            lambda: disk.write_file("/d/a", b"no"),
            lambda: disk.open("/d/b", create=True),
            lambda: disk.make_directories("/d/e"),
            lambda: disk.rename("/d/a", "/d/b"),
            lambda: disk.remove("/d/a"),
            lambda: file.write_at(0, b"no"),
            lambda: file.truncate(1),
        ]
        for change in changes:
            with pytest.raises(OSError, match="Read-only") as caught:
                await change()
            assert caught.value.errno == errno.EROFS
        assert await disk.read_file("/d/a") == b"0123"
        await disk.make_directories("/d")  # which is there

    virtual_time.run(scenario())


def test_on_a_broken_disk_everything_fails() -> None:
    async def scenario() -> None:
        disk = SimDisk(SimStorage(), "one")
        await disk.write_file("/a", b"0123")
        file = await disk.open("/a")
        disk.storage.device.broken = True
        reads: list[Callable[[], Awaitable[object]]] = [
            lambda: disk.read_file("/a"),
            lambda: disk.list_directory("/"),
            lambda: disk.space("/"),
            lambda: file.read_into(0, memoryview(bytearray(4))),
            lambda: file.sync(),
        ]
        for read in reads:
            with pytest.raises(OSError, match="Input/output") as caught:
                await read()
            assert caught.value.errno == errno.EIO

    virtual_time.run(scenario())
