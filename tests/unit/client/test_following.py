"""Files that are followed while they grow, are cut, moved and joined."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from random import Random

import pytest

from dolmen.client.client import Client
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.client_messages import GetInfo
from dolmen.protocol.errors import (
    BlockMissing,
    InvalidRequest,
    LeaseConflict,
    NoSuchPath,
    StaleHandle,
)
from tests.unit.client.cluster import World, on_world
from tests.unit.client.scripted_namenode import BLOCK_BYTES

DATA = Random(4).randbytes(3 * BLOCK_BYTES + 12345)


async def take(stream: AsyncGenerator[bytes, None], count: int) -> bytes:
    """The next `count` bytes, which must not end in the middle of a piece."""
    got = b""
    while len(got) < count:
        got += await anext(stream)
    assert len(got) == count
    return got


async def append(client: Client, path: str, data: bytes) -> None:
    async with await client.open_appender(path) as writer:
        await writer.write(data)


def test_what_is_there_is_given_and_then_what_is_flushed_each_once() -> None:
    async def test(world: World, client: Client) -> None:
        async with aclosing(client.follow("/a")) as stream:
            with pytest.raises(NoSuchPath):
                await anext(stream)
        writer = await client.open_writer("/a", visible=True)
        async with aclosing(client.follow("/a")) as stream:
            got, written = b"", 0
            for step in (1, 1000, BLOCK_BYTES - 1001, 7, 2 * BLOCK_BYTES, len(DATA)):
                await writer.write(DATA[written : written + step])
                await writer.flush()
                got += await take(stream, writer.flushed_bytes - written)
                written = writer.flushed_bytes
            assert got == DATA
        await writer.close()

    on_world(test)


@pytest.mark.parametrize(("offset", "start"), [(5, 5), (-3, 7), (-100, 0), (10, 10), (12, 12)])
def test_following_begins_where_it_is_asked_to(offset: int, start: int) -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA[:10])
        async with aclosing(client.follow("/a", offset)) as stream:
            got = b"" if start >= 10 else await take(stream, 10 - start)
            news = asyncio.create_task(take(stream, 20 - max(10, start)))
            await asyncio.sleep(3)
            await append(client, "/a", DATA[10:20])
            assert got + await news == DATA[start:20]

    on_world(test)


def test_a_quiet_file_costs_a_small_call_a_second_and_news_come_soon() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", b"old")
        loop = asyncio.get_running_loop()
        async with aclosing(client.follow("/a", 3)) as stream:
            news = asyncio.create_task(anext(stream))
            await asyncio.sleep(60)
            assert 60 <= len(world.namenode.heard_of(GetInfo)) <= 66
            await append(client, "/a", b"new")
            since_s = loop.time()
            assert await news == b"new"
            assert loop.time() - since_s < 1.5

    on_world(test)


def test_a_file_is_followed_wherever_it_is_moved_to() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", b"one")
        async with aclosing(client.follow("/a")) as stream:
            assert await anext(stream) == b"one"
            news = asyncio.create_task(anext(stream))
            world.namenode.move("/a", "/b")
            await client.write_file("/a", b"another file")
            await asyncio.sleep(2)
            await append(client, "/b", b"two")
            assert await news == b"two"

    on_world(test)


def test_a_file_is_followed_over_the_deaths_of_datanodes_and_restarts_of_the_namenode() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        async with aclosing(client.follow("/a")) as stream:
            for number in range(9):
                victim = world.datanodes[f"d{number % 3}"]
                victim.kill()
                world.namenode.kill()
                data = DATA[number * 100_000 : (number + 1) * 100_000]
                flushing = asyncio.create_task(writer.write(data))
                await asyncio.sleep(2)
                await world.namenode.start()
                await flushing
                await writer.flush()
                assert await take(stream, len(data)) == data
                await victim.start()
        await writer.close()

    on_world(test)


def test_following_a_deleted_file_ends_with_stale_handle() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", b"one")
        async with aclosing(client.follow("/a")) as stream:
            assert await anext(stream) == b"one"
            world.namenode.gone.add(world.namenode.paths.pop("/a"))
            with pytest.raises(StaleHandle):
                await anext(stream)

    on_world(test)


@pytest.mark.parametrize(
    ("cut_to", "more", "matching"),
    [(9, 0, "below the 10"), (9, 1000, "cannot be told"), (0, 10, "cannot be told")],
)
def test_following_a_file_that_is_cut_below_what_was_given_ends(
    cut_to: int, more: int, matching: str
) -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA[:10])
        async with aclosing(client.follow("/a")) as stream:
            assert await take(stream, 10) == DATA[:10]
            await client.truncate("/a", cut_to)
            if more:
                await append(client, "/a", DATA[:more])
            with pytest.raises(StaleHandle, match=matching):
                await anext(stream)

    on_world(test)


def test_following_goes_on_when_what_was_cut_had_not_been_given() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA[:BLOCK_BYTES])
        async with aclosing(client.follow("/a")) as stream:
            assert await take(stream, BLOCK_BYTES) == DATA[:BLOCK_BYTES]
            await append(client, "/a", b"never seen")
            await client.truncate("/a", BLOCK_BYTES + 2)
            await append(client, "/a", b"w")
            assert await take(stream, 3) == b"new"

    on_world(test)


@pytest.mark.parametrize(
    "length", [0, 1, CHUNK_BYTES, BLOCK_BYTES, BLOCK_BYTES + 1, len(DATA) - 1, len(DATA)]
)
def test_a_file_is_cut_anywhere_and_its_readers_keep_what_they_opened(length: int) -> None:
    async def test(world: World, client: Client) -> None:
        before = await client.write_file("/a", DATA)
        async with await client.open_reader("/a") as reader:
            await reader.read_at(0, len(DATA))  # all its pages are known
            info = await client.truncate("/a", length)
            assert info.length_bytes == length
            assert info.inode_id == before.inode_id
            assert world.content("/a") == DATA[:length]
            assert await reader.read_at(0, len(DATA)) == DATA
        assert world.namenode.drafts.targets == {}
        await append(client, "/a", b"more")
        assert await client.read_file("/a") == DATA[:length] + b"more"

    on_world(test)


@pytest.mark.parametrize("length", [-1, 11])
def test_a_file_is_not_cut_to_what_it_does_not_have(length: int) -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA[:10])
        with pytest.raises(InvalidRequest, match="/a has 10 bytes"):
            await client.truncate("/a", length)
        assert world.namenode.drafts.targets == {}

    on_world(test)


def test_a_file_that_is_written_is_not_cut() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        await writer.write(b"12345")
        await writer.flush()
        with pytest.raises(LeaseConflict):
            await client.truncate("/a", 2)
        await writer.close()
        assert world.content("/a") == b"12345"

    on_world(test)


def test_a_cut_that_fails_leaves_the_file_as_it_was_and_free() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        for datanode in world.datanodes.values():
            datanode.kill()
        with pytest.raises(Exception, match="replica"):
            await client.truncate("/a", 100)
        assert world.namenode.drafts.targets == {}
        for datanode in world.datanodes.values():
            await datanode.start()
        assert await client.read_file("/a") == DATA

    on_world(test, retry_for_ms=4000)


def test_joined_files_are_one_and_their_blocks_of_any_length() -> None:
    async def test(world: World, client: Client) -> None:
        for number, length in enumerate((10, BLOCK_BYTES + 1, 0, 77)):
            await client.write_file(f"/{number}", DATA[:length])
        await client.concat("/0", ["/1", "/2", "/3"])
        whole = DATA[:10] + DATA[: BLOCK_BYTES + 1] + DATA[:77]
        assert await client.read_file("/0") == whole
        await append(client, "/0", b"more")
        await client.truncate("/0", 20)
        assert await client.read_file("/0") == whole[:20]
        assert set(world.namenode.paths) == {"/0"}

    on_world(test)


def test_a_block_that_is_nowhere_ends_following_though_the_file_grows() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA[:BLOCK_BYTES])
        for datanode in world.datanodes.values():
            datanode.replicas.clear()
        async with aclosing(client.follow("/a")) as stream:
            news = asyncio.create_task(anext(stream))
            await asyncio.sleep(2)
            await append(client, "/a", b"more")
            with pytest.raises(BlockMissing):
                await news

    on_world(test, retry_for_ms=4000)
