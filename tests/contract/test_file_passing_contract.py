"""The FilePassing port: what the real and the simulated implementation both do."""

import asyncio
from collections.abc import Callable

import pytest

from dolmen.protocol.errors import PeerLost, StartRefused
from dolmen.runtime.disk import Disk
from dolmen.runtime.file_passing import FILES_LIMIT, FileListener
from tests.contract.file_passing_worlds import (
    Front,
    Mailbox,
    RealWorld,
    SimWorld,
    World,
    is_refused,
    read,
)

DATA = bytes(range(256)) * 2000


@pytest.fixture(params=[RealWorld, SimWorld])
def world(request: pytest.FixtureRequest) -> World:
    make: Callable[[], World] = request.param
    return make()


async def connected(world: World) -> tuple[FileListener, Mailbox, Mailbox]:
    """Return a listener, and both ends of a connection to it."""
    front, near = Front(), Mailbox()
    listener = await world.owner.listen(world.name, front)
    near.channel = await world.other.connect(world.name, near)
    return listener, await front.next(), near


async def write(disk: Disk, path: str, data: bytes) -> None:
    file = await disk.open(path, create=True)
    await file.write_at(0, data)
    await file.close()


def test_an_open_file_is_read_by_whom_it_was_passed_to_also_when_its_name_is_gone(
    world: World,
) -> None:
    async def scenario() -> None:
        listener, far, near = await connected(world)
        assert far.channel is not None
        path = f"{world.root}/file"
        await write(world.disk, path, DATA)
        file = await world.disk.open(path, writable=False)
        far.channel.send(b"here it is", [file])
        await file.close()
        await world.disk.remove(path)
        payload, files = await near.next()
        assert payload == b"here it is"
        assert await read(files[0], 1000, 5000) == DATA[1000:6000]
        assert await read(files[0], len(DATA) - 10, 100) == DATA[-10:]
        assert await read(files[0], len(DATA), 100) == b""
        listener.close()
        await near.gone()
        assert await read(files[0], 0, len(DATA)) == DATA

    world.run(scenario)


def test_messages_go_both_ways_whole_and_in_order_with_their_files(world: World) -> None:
    async def scenario() -> None:
        listener, far, near = await connected(world)
        assert far.channel is not None
        assert near.channel is not None
        await write(world.disk, f"{world.root}/one", b"1")
        await write(world.disk, f"{world.root}/two", b"2")
        opened = [await world.disk.open(f"{world.root}/{name}") for name in ("one", "two")]
        for number in range(20):
            near.channel.send(b"question %d" % number)
            far.channel.send(b"answer %d" % number, opened[: number % (FILES_LIMIT + 1)])
        for number in range(20):
            assert await far.next() == (b"question %d" % number, [])
            payload, files = await near.next()
            assert payload == b"answer %d" % number
            assert [await read(file, 0, 9) for file in files] == [b"1", b"2"][: len(files)]
            assert len(files) == number % (FILES_LIMIT + 1)
        for file in opened:
            await file.close()
        listener.close()

    world.run(scenario)


def test_nobody_is_met_where_nobody_listens_and_two_do_not_listen_under_one_name(
    world: World,
) -> None:
    async def scenario() -> None:
        assert await is_refused(world.other, world.name)
        listener = await world.owner.listen(world.name, Front())
        with pytest.raises(StartRefused):
            await world.owner.listen(world.name, Front())
        assert not await is_refused(world.other, world.name)
        listener.close()
        with pytest.raises(PeerLost):
            await world.other.connect(world.name, Mailbox())

    world.run(scenario)


def test_who_closes_hears_of_nothing_and_the_other_one_that_it_is_gone_once(world: World) -> None:
    async def scenario() -> None:
        listener, far, near = await connected(world)
        assert far.channel is not None
        assert near.channel is not None
        far.channel.send(b"last words")
        far.channel.close()
        near.channel.send(b"into the void")
        assert (await near.next())[0] == b"last words"
        await near.gone()
        near.channel.send(b"into the void")
        listener.close()
        await asyncio.sleep(0)
        assert (far.lost_times, near.lost_times) == (0, 1)

    world.run(scenario)


def test_a_read_that_is_cancelled_writes_nothing_any_more(world: World) -> None:
    async def scenario() -> None:
        listener, far, near = await connected(world)
        assert far.channel is not None
        await write(world.disk, f"{world.root}/file", DATA)
        file = await world.disk.open(f"{world.root}/file", writable=False)
        far.channel.send(b"file", [file])
        _, files = await near.next()
        buffer = bytearray(len(DATA))
        reading = asyncio.create_task(files[0].read_into(0, memoryview(buffer)))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        assert await read(files[0], 0, len(DATA)) == DATA  # in its turn, behind the other one
        assert reading.cancelled()
        assert not any(buffer)
        await file.close()
        listener.close()

    world.run(scenario)
