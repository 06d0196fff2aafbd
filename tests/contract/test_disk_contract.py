"""What every Disk promises."""

import asyncio
import errno

import pytest

from dolmen.protocol.errors import StartRefused
from dolmen.runtime.disk import LOCK_NAME, DiskFile
from tests.contract.disk_worlds import DiskWorld, RealDiskWorld, SimDiskWorld


@pytest.fixture(params=[RealDiskWorld, SimDiskWorld], ids=lambda kind: kind.__name__)
def world(request: pytest.FixtureRequest) -> DiskWorld:
    made: DiskWorld = request.param()
    return made


async def read(file: DiskFile, offset: int, length_bytes: int) -> bytes:
    buffer = bytearray(length_bytes)
    count = await file.read_into(offset, memoryview(buffer))
    return bytes(buffer[:count])


def test_what_is_written_is_read(world: DiskWorld) -> None:
    async def scenario() -> None:
        file = await world.disk.open(f"{world.root}/a", create=True)
        await file.write_at(0, b"0123456789")
        await file.write_at(5, memoryview(b"ABC"))
        await file.write_at(12, bytearray(b"xy"))
        assert await read(file, 0, 14) == b"01234ABC89\0\0xy"
        assert await file.size() == 14
        await file.close()

    world.run(scenario)


def test_reading_past_the_end_is_short(world: DiskWorld) -> None:
    async def scenario() -> None:
        file = await world.disk.open(f"{world.root}/a", create=True)
        await file.write_at(0, b"0123456789")
        assert await read(file, 8, 100) == b"89"
        assert await read(file, 10, 100) == b""
        assert await read(file, 1000, 100) == b""
        assert await read(file, 0, 0) == b""
        assert await read(file, 4, 3 * 1024 * 1024) == b"456789"
        await file.close()

    world.run(scenario)


def test_large_writes_and_reads_are_whole(world: DiskWorld) -> None:
    async def scenario() -> None:
        data = b"".join(i.to_bytes(8, "big") for i in range(3 * 1024 * 1024 // 8)) + b"tail"
        file = await world.disk.open(f"{world.root}/a", create=True)
        await file.write_at(0, data)
        assert await read(file, 0, len(data)) == data
        assert await read(file, 7, 900_000) == data[7:900_007]
        await file.close()

    world.run(scenario)


def test_truncate_cuts_and_extends_with_zeros(world: DiskWorld) -> None:
    async def scenario() -> None:
        file = await world.disk.open(f"{world.root}/a", create=True)
        await file.write_at(0, b"0123456789")
        await file.truncate(4)
        assert await file.size() == 4
        await file.truncate(6)
        assert await read(file, 0, 100) == b"0123\0\0"
        await file.close()

    world.run(scenario)


def test_opening_never_truncates_and_makes_only_when_told(world: DiskWorld) -> None:
    async def scenario() -> None:
        path = f"{world.root}/a"
        with pytest.raises(FileNotFoundError):
            await world.disk.open(path)
        for data in (b"first", b"2"):
            file = await world.disk.open(path, create=True)
            await file.write_at(0, data)
            await file.close()
        reader = await world.disk.open(path, writable=False)
        assert await read(reader, 0, 100) == b"2irst"
        with pytest.raises(OSError, match=r"Bad file descriptor|reading only") as caught:
            await reader.write_at(0, b"x")
        assert caught.value.errno == errno.EBADF
        await reader.close()

    world.run(scenario)


def test_a_closed_file_is_of_no_more_use(world: DiskWorld) -> None:
    async def scenario() -> None:
        file = await world.disk.open(f"{world.root}/a", create=True)
        await file.close()
        await file.close()
        for use in (lambda: file.size(), lambda: file.sync(), lambda: file.write_at(0, b"x")):
            with pytest.raises(OSError, match="closed"):
                await use()

    world.run(scenario)


def test_a_removed_or_replaced_file_can_be_read_while_it_is_open(world: DiskWorld) -> None:
    async def scenario() -> None:
        old = await world.disk.open(f"{world.root}/a", create=True)
        await old.write_at(0, b"old")
        await world.disk.write_file(f"{world.root}/b", b"new")
        await world.disk.rename(f"{world.root}/b", f"{world.root}/a")
        assert await read(old, 0, 10) == b"old"
        assert await world.disk.read_file(f"{world.root}/a") == b"new"
        await world.disk.remove(f"{world.root}/a")
        assert await read(old, 0, 10) == b"old"
        assert not await world.disk.exists(f"{world.root}/a")
        await old.close()

    world.run(scenario)


def test_a_small_file_is_replaced_whole_and_leaves_nothing_beside_it(world: DiskWorld) -> None:
    async def scenario() -> None:
        path = f"{world.root}/a"
        await world.disk.write_file(path, b"a longer first version")
        await world.disk.write_file(path, b"second")
        assert await world.disk.read_file(path) == b"second"
        assert await world.disk.list_directory(world.root) == ["a"]

    world.run(scenario)


def test_directories_are_made_listed_and_removed(world: DiskWorld) -> None:
    async def scenario() -> None:
        disk, root = world.disk, world.root
        await disk.make_directories(f"{root}/x/y/z")
        await disk.make_directories(f"{root}/x/y/z")
        await disk.write_file(f"{root}/x/b", b"")
        await disk.write_file(f"{root}/x/a", b"")
        assert await disk.list_directory(f"{root}/x") == ["a", "b", "y"]
        assert await disk.is_directory(f"{root}/x/y")
        assert not await disk.is_directory(f"{root}/x/a")
        assert not await disk.is_directory(f"{root}/nothing")
        await disk.remove_tree(f"{root}/x")
        await disk.remove_tree(f"{root}/x")
        assert await disk.list_directory(root) == []
        with pytest.raises(FileNotFoundError):
            await disk.list_directory(f"{root}/x")

    world.run(scenario)


def test_the_usual_errors_have_the_usual_types(world: DiskWorld) -> None:
    async def scenario() -> None:
        disk, root = world.disk, world.root
        await disk.write_file(f"{root}/file", b"")
        with pytest.raises(FileNotFoundError):
            await disk.remove(f"{root}/nothing")
        with pytest.raises(FileNotFoundError):
            await disk.rename(f"{root}/nothing", f"{root}/else")
        with pytest.raises(FileNotFoundError):
            await disk.read_file(f"{root}/nothing")
        with pytest.raises(FileNotFoundError):
            await disk.open(f"{root}/nowhere/file", create=True)
        with pytest.raises(NotADirectoryError):
            await disk.make_directories(f"{root}/file")
        with pytest.raises(NotADirectoryError):
            await disk.open(f"{root}/file/below", create=True)

    world.run(scenario)


def test_a_directory_has_one_owner_at_a_time(world: DiskWorld) -> None:
    async def scenario() -> None:
        other = world.another_process()
        lock = world.disk.lock_directory(world.root)
        with pytest.raises(StartRefused, match=f"directory {world.root} is in use by process"):
            other.lock_directory(world.root)
        lock.release()
        lock.release()
        again = other.lock_directory(world.root)
        with pytest.raises(StartRefused):
            world.disk.lock_directory(world.root)
        again.release()
        world.disk.lock_directory(world.root).release()
        assert await world.disk.list_directory(world.root) == [LOCK_NAME]
        with pytest.raises(FileNotFoundError):
            world.disk.lock_directory(f"{world.root}/nothing")

    world.run(scenario)


def test_space_shrinks_as_files_grow(world: DiskWorld) -> None:
    async def scenario() -> None:
        capacity, free = await world.disk.space(world.root)
        assert 0 < free <= capacity
        with pytest.raises(FileNotFoundError):
            await world.disk.space(f"{world.root}/nothing")

    world.run(scenario)


def test_a_cancelled_write_lands_all_the_same(world: DiskWorld) -> None:
    async def scenario() -> None:
        file = await world.disk.open(f"{world.root}/a", create=True)
        data = bytes(range(256)) * 4096
        writing = asyncio.create_task(file.write_at(0, data))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        while await file.size() < len(data):
            await world.disk.exists(world.root)
        await file.sync()
        assert await read(file, 0, len(data)) == data
        await file.close()

    world.run(scenario)


def test_closing_a_file_under_an_operation_does_not_disturb_it(world: DiskWorld) -> None:
    async def scenario() -> None:
        path = f"{world.root}/a"
        file = await world.disk.open(path, create=True)
        data = bytes(range(256)) * 8192
        writing = asyncio.create_task(file.write_at(0, data))
        await asyncio.sleep(0)
        await file.close()
        await writing
        assert await world.disk.read_file(path) == data

    world.run(scenario)


def test_operations_run_side_by_side(world: DiskWorld) -> None:
    async def scenario() -> None:
        async def one(number: int) -> None:
            path = f"{world.root}/{number}"
            file = await world.disk.open(path, create=True)
            await file.write_at(0, bytes([number]) * 100_000)
            await file.sync()
            assert await read(file, 0, 200_000) == bytes([number]) * 100_000
            await file.close()

        await asyncio.gather(*(one(number) for number in range(40)))
        assert len(await world.disk.list_directory(world.root)) == 40

    world.run(scenario)


def test_synced_bytes_under_a_synced_name_outlast_a_loss_of_power(world: DiskWorld) -> None:
    async def scenario() -> None:
        path = f"{world.root}/a"
        file = await world.disk.open(path, create=True)
        await file.write_at(0, b"synced")
        await file.sync()
        await world.disk.sync_directory(world.root)
        await file.write_at(6, b", not synced")
        await file.close()
        world.lose_power()
        assert (await world.disk.read_file(path))[:6] == b"synced"

    world.run(scenario)


def test_a_small_file_outlasts_a_loss_of_power_whole(world: DiskWorld) -> None:
    async def scenario() -> None:
        path = f"{world.root}/x/y/a"
        await world.disk.make_directories(f"{world.root}/x/y")
        for version in (b"1" * 1000, b"2" * 10):
            await world.disk.write_file(path, version)
            world.lose_power()
            assert await world.disk.read_file(path) == version

    world.run(scenario)


def test_a_lock_is_free_after_a_loss_of_power() -> None:
    world = SimDiskWorld()

    async def scenario() -> None:
        world.disk.lock_directory(world.root)
        world.lose_power()
        world.disk.lock_directory(world.root).release()

    world.run(scenario)


def test_reading_past_the_cache_gives_the_same_bytes(world: DiskWorld) -> None:
    async def scenario() -> None:
        data = bytes(range(256)) * 5000
        file = await world.disk.open(f"{world.root}/a", create=True)
        await file.write_at(0, data)
        past = await world.disk.open(f"{world.root}/a", writable=False, past_cache=True)
        assert await read(past, 0, len(data)) == data, "also what is not synced yet"
        await file.sync()
        assert await read(past, 5, 100_000) == data[5:100_005]
        assert await read(past, len(data) - 3, 100) == data[-3:]
        assert await past.size() == len(data)
        await past.close()
        await file.close()
        with pytest.raises(FileNotFoundError):
            await world.disk.open(f"{world.root}/b", past_cache=True)

    world.run(scenario)


def test_directories_are_made_only_below_one_that_is_there(world: DiskWorld) -> None:
    async def scenario() -> None:
        root = f"{world.root}/volume"
        with pytest.raises(FileNotFoundError):
            await world.disk.make_directories(f"{root}/a/b", below=root)
        assert not await world.disk.exists(root)
        await world.disk.make_directories(root)
        await world.disk.make_directories(f"{root}/a/b", below=root)
        await world.disk.make_directories(f"{root}/a/b", below=root)
        assert await world.disk.is_directory(f"{root}/a/b")

    world.run(scenario)


def test_what_is_on_one_file_system_is_on_one_device(world: DiskWorld) -> None:
    async def scenario() -> None:
        await world.disk.make_directories(f"{world.root}/a")
        device = await world.disk.device(world.root)
        assert await world.disk.device(f"{world.root}/a") == device
        with pytest.raises(FileNotFoundError):
            await world.disk.device(f"{world.root}/missing")

    world.run(scenario)
