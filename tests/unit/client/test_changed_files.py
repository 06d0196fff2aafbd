"""Readers of files that are cut, joined, replaced or deleted meanwhile, and that are open for long:
they read what they opened, byte for byte, for as long as it is kept."""

import asyncio
from typing import Any

import msgspec
import pytest

from dolmen.client.client import Client
from dolmen.protocol.draft_messages import KeepBlocks, LocateBlock
from dolmen.protocol.errors import NoSuchPath, StaleHandle
from tests.unit.client.cluster import World
from tests.unit.client.scripted_namenode import BLOCK_BYTES, StoredFile
from tests.unit.client.test_reading import DATA, on_world


def test_locations_are_renewed_before_their_tokens_expire() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        await reader.read_at(0, 10)
        await asyncio.sleep(300)
        await reader.read_at(0, 10)
        await reader.read_at(0, 10)
        blocks = [block.block_id for block in world.namenode.files[reader.info.inode_id].blocks]
        asked = [request.block_id for request in world.namenode.heard_of(LocateBlock)]
        assert asked == blocks[:1]
        [kept] = world.namenode.heard_of(KeepBlocks)
        assert list(kept.block_ids) == blocks  # also those that it has not asked for yet

    on_world(test)


def test_locations_are_renewed_in_time_however_short_tokens_live() -> None:
    async def test(world: World, client: Client) -> None:
        world.namenode.token_life_ms = 1000
        reader = await client.open_reader("/a")
        for _ in range(6):
            await reader.read_at(0, 10)
            await asyncio.sleep(0.3)
        assert len(world.namenode.heard_of(LocateBlock)) == 2
        assert len(world.namenode.heard_of(KeepBlocks)) == 2

    on_world(test)


def change(world: World, path: str = "/a", **changes: Any) -> StoredFile:
    """Have the file at `path` be another, as a draft does, under the same inode."""
    file = world.namenode.files[world.namenode.paths[path]]
    assert file.info is not None
    file.info = msgspec.structs.replace(file.info, **changes)
    return file


def test_a_reader_of_a_file_that_was_cut_reads_all_that_it_opened() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")  # knows two of the four blocks
        file = change(world, length_bytes=10, cut_txid=7)
        file.replaced = file.blocks[1:]  # their offsets begin at 0 again
        file.blocks = file.blocks[:1]
        await asyncio.sleep(300)
        assert await reader.read_at(3 * BLOCK_BYTES, 100) == DATA[3 * BLOCK_BYTES :][:100]
        assert await reader.read_at(5, len(DATA)) == DATA[5:]

    on_world(test)


def test_a_block_that_is_kept_no_longer_is_stale_and_those_before_it_are_read() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        file = change(world, length_bytes=10, cut_txid=7)
        file.blocks = file.blocks[:3]
        assert await reader.read_at(5, 3 * BLOCK_BYTES - 5) == DATA[5 : 3 * BLOCK_BYTES]
        with pytest.raises(StaleHandle):
            await reader.read_at(3 * BLOCK_BYTES, 1)

    on_world(test)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_reader_of_a_file_that_was_joined_to_another_finds_its_blocks_there(
    is_known: bool,
) -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        if is_known:
            await reader.read_at(0, len(DATA))
        target = world.namenode.files[world.namenode.paths["/b"]]
        source = world.namenode.files.pop(world.namenode.paths["/a"])
        target.blocks += source.blocks
        await asyncio.sleep(300)
        assert await reader.read_at(0, len(DATA)) == DATA

    on_world(test, {"/b": b"first"})


def test_a_reader_of_a_file_that_grew_keeps_its_length_and_reads_no_new_byte() -> None:
    """The short last block was written again, longer, and the old one is kept for a while."""

    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        longer = world.namenode.files[world.namenode.paths["/longer"]]
        file = change(world, length_bytes=len(DATA) + 8, changed_txid=9)
        world.namenode.files[99] = StoredFile(99, file.block_size_bytes, file.blocks, file.info)
        file.blocks = file.blocks[:3] + longer.blocks[3:]
        assert await reader.read_at(0, len(DATA) + 100) == DATA

    on_world(test, {"/longer": DATA + b"appended"})


def test_an_end_that_is_gone_does_not_take_the_beginning_with_it() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        await reader.read_at(0, len(DATA))
        file = change(world, length_bytes=BLOCK_BYTES, cut_txid=7)
        file.blocks = file.blocks[:1]
        await asyncio.sleep(300)
        assert await reader.read_at(0, BLOCK_BYTES) == DATA[:BLOCK_BYTES]
        with pytest.raises(StaleHandle):
            await reader.read_at(len(DATA) - 1, 1)

    on_world(test)


def test_a_block_that_is_not_what_it_was_is_not_read() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        block = world.namenode.files[reader.info.inode_id].blocks[0]
        assert block.committed is not None
        block.committed = msgspec.structs.replace(block.committed, digest=b"another")
        await asyncio.sleep(300)
        with pytest.raises(StaleHandle):
            await reader.read_at(0, 10)

    on_world(test)


def test_an_old_location_still_does_while_the_namenode_is_away() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        await asyncio.sleep(300)
        world.namenode.kill()
        start_s = asyncio.get_running_loop().time()
        assert await reader.read_at(0, len(DATA) // 2) == DATA[: len(DATA) // 2]
        assert asyncio.get_running_loop().time() - start_s < 4

    on_world(test)


def test_a_deleted_file_is_read_on_until_the_namenode_says_it_is_gone() -> None:
    async def test(world: World, client: Client) -> None:
        reader = await client.open_reader("/a")
        inode_id = world.namenode.paths.pop("/a")
        with pytest.raises(NoSuchPath):
            await client.open_reader("/a")
        assert await reader.read_at(0, len(DATA)) == DATA
        world.namenode.gone.add(inode_id)
        for datanode in world.datanodes.values():
            datanode.replicas.clear()
        with pytest.raises(StaleHandle):
            await reader.read_at(0, 10)

    on_world(test)
