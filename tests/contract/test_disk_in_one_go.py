"""What every Disk promises of operations that are done in one go."""

import asyncio
import errno

import pytest

from dolmen.runtime.disk import Disk, DiskFile
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_storage import SimStorage
from tests.contract.disk_worlds import DiskWorld, RealDiskWorld, SimDiskWorld


@pytest.fixture(params=[RealDiskWorld, SimDiskWorld], ids=lambda kind: kind.__name__)
def world(request: pytest.FixtureRequest) -> DiskWorld:
    made: DiskWorld = request.param()
    return made


async def contents(file: DiskFile) -> bytes:
    buffer = bytearray(100)
    return bytes(buffer[: await file.read_into(0, memoryview(buffer))])


async def publish(disk: Disk, root: str) -> None:
    """Write a file and give it its name, as whoever makes a replica last does."""
    file = await disk.open(f"{root}/new", create=True)
    await file.write_at(0, b"data")
    await file.sync()
    await file.close()
    await disk.rename(f"{root}/new", f"{root}/name")
    await disk.sync_directory(root)


def test_all_operations_can_be_done_in_one_go(world: DiskWorld) -> None:
    disk, root = world.disk, world.root

    async def operations() -> tuple[bytes, list[str]]:
        await disk.make_directories(f"{root}/x/y")
        await disk.write_file(f"{root}/x/small", b"small")
        await publish(disk, root)
        file = await disk.open(f"{root}/name")
        await file.truncate(2)
        found = await contents(file)
        assert await file.size() == 2
        await file.close()
        await disk.remove_tree(f"{root}/x/y")
        await disk.remove(f"{root}/name")
        assert await disk.is_directory(f"{root}/x")
        assert not await disk.exists(f"{root}/name")
        assert await disk.space(root)
        assert await disk.device(root) == await disk.device(f"{root}/x")
        return found + await disk.read_file(f"{root}/x/small"), await disk.list_directory(root)

    async def scenario() -> None:
        assert await disk.in_one_go(operations()) == (b"dasmall", ["x"])

    world.run(scenario)


def test_files_are_the_same_in_one_go_and_one_by_one(world: DiskWorld) -> None:
    disk, root = world.disk, world.root

    async def scenario() -> None:
        file = await disk.in_one_go(disk.open(f"{root}/a", create=True))
        await file.write_at(0, b"one")
        await disk.in_one_go(file.write_at(3, b", two"))
        assert await contents(file) == b"one, two"
        assert await disk.in_one_go(contents(file)) == b"one, two"
        await disk.in_one_go(file.close())
        for use in (file.sync(), disk.in_one_go(file.sync())):
            with pytest.raises(OSError, match="closed") as caught:
                await use
            assert caught.value.errno == errno.EBADF

    world.run(scenario)


def test_what_is_done_in_one_go_may_be_a_part_of_it(world: DiskWorld) -> None:
    disk, root = world.disk, world.root

    async def operations() -> bytes:
        await disk.in_one_go(publish(disk, root))
        return await disk.in_one_go(disk.read_file(f"{root}/name"))

    async def scenario() -> None:
        assert await disk.in_one_go(operations()) == b"data"

    world.run(scenario)


def test_an_error_ends_what_is_done_in_one_go_and_can_be_handled_there(world: DiskWorld) -> None:
    disk, root = world.disk, world.root

    async def operations() -> None:
        file = await disk.open(f"{root}/a", create=True)
        try:
            await disk.rename(f"{root}/nothing", f"{root}/b")
        finally:
            await file.write_at(0, b"cleared up")
            await file.close()

    async def scenario() -> None:
        with pytest.raises(FileNotFoundError):
            await disk.in_one_go(operations())
        assert await disk.read_file(f"{root}/a") == b"cleared up"

    world.run(scenario)


def test_what_is_done_in_one_go_waits_for_nothing_else(world: DiskWorld) -> None:
    disk, root = world.disk, world.root

    async def operations() -> None:
        await disk.write_file(f"{root}/a", b"done")
        await asyncio.sleep(0)

    async def scenario() -> None:
        with pytest.raises(RuntimeError, match="something that is no operation"):
            await disk.in_one_go(operations())
        assert await disk.read_file(f"{root}/a") == b"done"
        await disk.remove(f"{root}/a")

    world.run(scenario)


def test_what_is_done_in_one_go_runs_to_its_end_without_its_caller(world: DiskWorld) -> None:
    disk, root = world.disk, world.root

    async def scenario() -> None:
        caller = asyncio.create_task(disk.in_one_go(publish(disk, root)))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        while not await disk.exists(f"{root}/name"):
            pass
        assert await disk.read_file(f"{root}/name") == b"data"

    world.run(scenario)


def test_a_file_may_be_closed_while_something_is_done_with_it_in_one_go(world: DiskWorld) -> None:
    disk, root = world.disk, world.root

    async def scenario() -> None:
        file = await disk.open(f"{root}/a", create=True)
        data = bytes(range(256)) * 8192
        writing = asyncio.create_task(disk.in_one_go(file.write_at(0, data)))
        await asyncio.sleep(0)
        await file.close()
        with pytest.raises(OSError, match="closed"):
            await file.size()
        (failure,) = await asyncio.gather(writing, return_exceptions=True)
        if failure is None:
            assert await disk.read_file(f"{root}/a") == data
        else:  # it was closed before a thread came to it
            assert isinstance(failure, OSError)
            assert failure.errno == errno.EBADF

    world.run(scenario)


def test_a_disk_that_is_closed_does_nothing_more(world: DiskWorld) -> None:
    async def scenario() -> None:
        other = world.another_process()
        other.close()
        with pytest.raises(RuntimeError):
            await other.in_one_go(publish(other, world.root))
        assert not await world.disk.exists(f"{world.root}/new")

    world.run(scenario)


class Death:
    """A machine on which a process dies while it does something in one go."""

    def __init__(self) -> None:
        self.storage = SimStorage()
        self.disk = SimDisk(self.storage, "one")

    async def names_after(self, delay_s: float) -> list[str]:
        """Return the names that are there when the process dies after so long."""
        await self.disk.make_directories("/data")
        working = asyncio.create_task(self.disk.in_one_go(publish(self.disk, "/data")))
        await asyncio.sleep(delay_s)
        self.disk.kill()
        await asyncio.wait([working])
        return sorted(self.storage.directory("/data").entries)


def test_death_comes_between_any_two_operations_that_are_done_in_one_go() -> None:
    found: list[list[str]] = []
    for tenths in range(60):
        found.append(virtual_time.run(Death().names_after(tenths / 1e5)))
    seen = [names for index, names in enumerate(found) if names not in found[:index]]
    assert seen == [[], ["new"], ["name"]]


def test_a_disk_that_hangs_holds_up_what_is_done_in_one_go_where_it_is() -> None:
    storage = SimStorage()
    disk = SimDisk(storage, "one")

    async def scenario() -> None:
        await disk.make_directories("/data")
        storage.plug_in("/data")
        working = asyncio.create_task(disk.in_one_go(publish(disk, "/data")))
        await asyncio.sleep(100e-6)
        device = storage.device_of("/data")
        device.hangs = True
        await asyncio.sleep(10)
        assert sorted(storage.directory("/data").entries) == ["new"]
        device.go_on()
        await working
        assert sorted(storage.directory("/data").entries) == ["name"]

    virtual_time.run(scenario())
