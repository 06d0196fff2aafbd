"""Many ranges of one file: right, in few requests, and each with an error of its own."""

import asyncio
from random import Random
from typing import Any

import pytest

from dolmen.client.client import Client
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.errors import BlockMissing, InvalidRequest, StaleHandle
from tests.unit.client.cluster import World, on_world
from tests.unit.client.scripted_namenode import BLOCK_BYTES

DATA = Random(2).randbytes(3 * BLOCK_BYTES + 12345)


def requests(world: World) -> int:
    return sum(datanode.served["ReadRanges"] for datanode in world.datanodes.values())


def test_ranges_of_any_kind_come_in_their_order() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        random = Random(5)
        starts = [random.randrange(len(DATA)) for _ in range(300)]
        ranges = [(start, start + random.choice((0, 10, 3000, 200_000))) for start in starts]
        ranges += [(0, len(DATA)), (BLOCK_BYTES - 5, BLOCK_BYTES + 5), (10, 5), (1 << 40, 2 << 40)]
        async with await client.open_reader("/a") as reader:
            for max_gap in (0, 5000):
                found = await reader.read_ranges(ranges, max_gap=max_gap)
                assert found == [DATA[start:end] for start, end in ranges]
            assert await reader.read_ranges([]) == []
            with pytest.raises(InvalidRequest):
                await reader.read_ranges([(-1, 5)])

    on_world(test)


def test_short_ranges_of_a_block_come_in_one_request() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        ranges = [(start, start + 100) for start in range(0, 3 * BLOCK_BYTES, 2 * CHUNK_BYTES)]
        async with await client.open_reader("/a") as reader:
            found = await reader.read_ranges(ranges)
        assert found == [DATA[start:end] for start, end in ranges]
        assert requests(world) == 3  # one for each block

    on_world(test, read_piece_bytes=BLOCK_BYTES)


def test_what_cannot_be_had_does_not_take_the_rest_of_its_request_along() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        inode_id = world.namenode.paths["/a"]
        first = world.namenode.files[inode_id].blocks[0].block_id
        for datanode in world.datanodes.values():
            if replica := datanode.replicas.get(first):
                replica.damage(2 * CHUNK_BYTES + 7)
        ranges = [(start, start + 100) for start in range(0, BLOCK_BYTES, CHUNK_BYTES)]
        async with await client.open_reader("/a") as reader:
            found = await reader.read_ranges(ranges)
        assert isinstance(found[2], BlockMissing)
        assert [each for number, each in enumerate(found) if number != 2] == [
            DATA[start:end] for number, (start, end) in enumerate(ranges) if number != 2
        ]

    on_world(test, retry_for_ms=1000)


def test_a_block_that_is_gone_is_an_error_of_all_its_ranges_soon() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        inode_id = world.namenode.paths["/a"]
        second = world.namenode.files[inode_id].blocks[1].block_id
        for datanode in world.datanodes.values():
            datanode.replicas.pop(second, None)
        ranges = [(start, start + 100) for start in range(0, 3 * BLOCK_BYTES, CHUNK_BYTES)]
        async with await client.open_reader("/a") as reader:
            found = await reader.read_ranges(ranges)
            start_s = asyncio.get_running_loop().time()
            world.namenode.gone.add(inode_id)
            again = await reader.read_ranges(ranges[8:9])
        per_block = BLOCK_BYTES // CHUNK_BYTES
        errors = [number for number, each in enumerate(found) if isinstance(each, BlockMissing)]
        assert errors == list(range(per_block, 2 * per_block))
        assert isinstance(again[0], StaleHandle)
        assert start_s < 5

    on_world(test, retry_for_ms=1000)


def test_ranges_go_on_when_their_datanode_dies_in_mid_request() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        ranges = [(start, start + 9000) for start in range(0, len(DATA), 30_000)]

        async def die(head: Any) -> None:
            world.datanodes["d0"].kill()

        world.datanodes["d0"].fault = die
        async with await client.open_reader("/a") as reader:
            found = await reader.read_ranges(ranges)
        assert found == [DATA[start:end] for start, end in ranges]

    on_world(test, host="d0")


def test_no_more_requests_with_ranges_are_in_memory_than_there_are_streams() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        running = most = 0

        async def count(head: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

        for datanode in world.datanodes.values():
            datanode.fault = count
        ranges = [(start, start + 10) for start in range(0, len(DATA), CHUNK_BYTES)]
        readers = [await client.open_reader("/a") for _ in range(10)]
        await asyncio.gather(*(reader.read_ranges(ranges) for reader in readers))
        assert most == 3

    on_world(test, streams=3)
