"""Readers on simulated machines: any range is right, whichever replica has to be left."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

import pytest

from dolmen.client.client import Client
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.client_messages import ReportCorruptReplica
from dolmen.protocol.draft_messages import LocateBlock
from dolmen.protocol.errors import (
    AccessDenied,
    BlockMissing,
    InvalidRequest,
)
from dolmen.simulation.virtual_time import run
from tests.unit.client.cluster import World
from tests.unit.client.scripted_datanode import for_ever
from tests.unit.client.scripted_namenode import BLOCK_BYTES, no_fault

DATA = Random(2).randbytes(3 * BLOCK_BYTES + 12345)


def on_world(
    test: Callable[[World, Client], Awaitable[None]],
    others: Mapping[str, bytes] = MappingProxyType({}),
    **options: Any,
) -> None:
    """Run a test with a file `/a` of DATA, four blocks long, and a client that has not read it."""

    async def main() -> None:
        world = await World().start()
        writer = world.client("writer")
        for path, data in {"/a": DATA, **others}.items():
            await writer.write_file(path, data)
        await writer.close()
        client = world.client(**options)
        try:
            await test(world, client)
        finally:
            await client.close()
        assert world.network.failures == []

    run(main())


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, len(DATA)),
        (0, 1),
        (65_535, 2),
        (65_536, 65_536),
        (1, 200_000),
        (BLOCK_BYTES - 1, 2),
        (BLOCK_BYTES - 100_000, 3 * 100_000),
        (len(DATA) - 1, 1),
        (len(DATA) - 5, 100),
        (len(DATA), 10),
        (len(DATA) + 10, 10),
        (0, 0),
    ],
)
def test_any_range_is_read_as_it_was_written(offset: int, length: int) -> None:
    async def test(world: World, client: Client) -> None:
        async with await client.open_reader("/a") as reader:
            assert await reader.read_at(offset, length) == DATA[offset : offset + length]
            buffer = bytearray(length)
            count = await reader.read_into(offset, memoryview(buffer))
            assert buffer[:count] == DATA[offset : offset + length]

    on_world(test)


def test_many_tasks_read_one_file_at_once() -> None:
    async def test(world: World, client: Client) -> None:
        async with await client.open_reader("/a") as reader:
            starts = range(0, len(DATA), 70_001)
            parts = await asyncio.gather(*(reader.read_at(start, 70_001) for start in starts))
        assert b"".join(parts) == DATA
        lists = sum(datanode.served["ReadChecksums"] for datanode in world.datanodes.values())
        assert 4 <= lists <= 3 * 4  # at most one for each block and datanode

    on_world(test)


def test_a_dead_datanode_is_replaced_by_the_next_one() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        await reader.read_at(0, 1)
        world.datanodes["d0"].kill()
        world.datanodes["d1"].kill()
        assert await reader.read_at(0, len(DATA)) == DATA
        assert asyncio.get_running_loop().time() < 2

    on_world(test)


def test_a_silent_datanode_is_left_after_its_deadline_and_avoided_afterwards() -> None:
    async def test(world: World, client: Client) -> None:
        for name in ("d0", "d1"):
            world.datanodes[name].fault = for_ever
        start_s = asyncio.get_running_loop().time()
        for _ in range(10):
            assert await client.read_file("/a") == DATA
        waited_s = asyncio.get_running_loop().time() - start_s
        assert waited_s < 11  # one deadline for each of the two, however many pieces and reads

    on_world(test)


@pytest.mark.parametrize("damaged", [("d0",), ("d1", "d2"), ("d0", "d2")])
def test_a_corrupt_replica_is_left_and_reported(damaged: tuple[str, ...]) -> None:
    async def test(world: World, client: Client) -> None:
        for name in damaged:
            for replica in world.datanodes[name].replicas.values():
                replica.damage(1000)
        assert await client.read_file("/a") == DATA
        await asyncio.sleep(1)
        reported = {hint.datanode_id for hint in world.namenode.heard_of(ReportCorruptReplica)}
        assert reported <= set(damaged)
        served = sum(world.datanodes[name].served["ReadRanges"] for name in damaged)
        assert bool(reported) == bool(served)

    on_world(test)


def test_replicas_damaged_in_different_chunks_are_read_together() -> None:
    """No replica has the piece right, and each chunk of it is right somewhere."""

    async def test(world: World, client: Client) -> None:
        for number, datanode in enumerate(world.datanodes.values()):
            for replica in datanode.replicas.values():
                chunks = -(-len(replica.data) // CHUNK_BYTES)
                for chunk in range(chunks):
                    if chunk % 3 != number % 3:
                        replica.damage(chunk * CHUNK_BYTES)
        assert await client.read_file("/a") == DATA
        reader = await client.open_reader("/a")
        assert await reader.read_at(100, 150_000) == DATA[100:150_100]
        await reader.close()

    on_world(test, read_piece_bytes=4 << 20)


def test_a_list_of_checksums_that_was_changed_with_the_bytes_is_not_believed() -> None:
    async def test(world: World, client: Client) -> None:
        for name in ("d0", "d1"):
            for replica in world.datanodes[name].replicas.values():
                replica.damage(0)
                replica.original = bytes(replica.data)
        assert await client.read_file("/a") == DATA

    on_world(test)


def test_no_good_replica_is_an_error_that_lists_those_tried() -> None:
    async def test(world: World, client: Client) -> None:
        for datanode in world.datanodes.values():
            for replica in datanode.replicas.values():
                replica.damage(1000)
        with pytest.raises(BlockMissing) as caught:
            await client.read_file("/a")
        assert all(f"{name}:9864" in str(caught.value) for name in ("d0", "d1", "d2"))
        assert asyncio.get_running_loop().time() < 8

    on_world(test, retry_for_ms=5000)


def test_a_reader_waits_for_datanodes_that_are_restarting() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        for datanode in world.datanodes.values():
            datanode.kill()
        reading = asyncio.create_task(reader.read_at(0, len(DATA)))
        await asyncio.sleep(4)
        for datanode in world.datanodes.values():
            await datanode.start()
        assert await reading == DATA

    on_world(test)


def test_an_expired_token_is_renewed_and_nobody_is_blamed() -> None:
    async def test(world: World, client: Client) -> None:
        async def expired(head: Any) -> None:
            for datanode in world.datanodes.values():
                datanode.fault = no_fault
            raise AccessDenied("the block token expired 5 ms ago")

        reader = await client.open_reader("/a")
        for datanode in world.datanodes.values():
            datanode.fault = expired
        assert await reader.read_at(0, 10) == DATA[:10]
        assert len(world.namenode.heard_of(LocateBlock)) == 1
        assert client._links.datanodes.read_failures.current(0) == ()

    on_world(test)


def test_a_replica_on_our_own_host_is_read_first() -> None:
    async def test(world: World, client: Client) -> None:
        assert await client.read_file("/a") == DATA
        served = {name: each.served["ReadRanges"] for name, each in world.datanodes.items()}
        assert served.pop("d2") > 0
        assert set(served.values()) == {0}

    on_world(test, host="d2")


def test_no_more_streams_than_allowed_are_open_at_once() -> None:
    async def test(world: World, client: Client) -> None:
        running = most = 0

        async def count(head: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.1)
            running -= 1

        for datanode in world.datanodes.values():
            datanode.fault = count
        await asyncio.gather(*(client.read_file("/a") for _ in range(5)))
        assert most == 3

    on_world(test, streams=3)


def test_a_cancelled_read_leaves_nothing_behind() -> None:
    async def test(world: World, client: Client) -> None:
        before = len(asyncio.all_tasks())
        for datanode in world.datanodes.values():
            datanode.fault = for_ever
        reader = await client.open_reader("/a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await reader.read_at(0, len(DATA))
        await asyncio.sleep(6)  # a list of checksums may still be fetched for others
        assert len(asyncio.all_tasks()) <= before + 2  # the control connection's own

    on_world(test)


def test_a_closed_reader_and_a_bad_range_are_refused() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        with pytest.raises(InvalidRequest):
            await reader.read_at(-1, 10)
        await reader.close()
        with pytest.raises(InvalidRequest, match="closed"):
            await reader.read_at(0, 10)

    on_world(test)
