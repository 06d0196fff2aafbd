"""Whole files up and down: in order, in bounded memory, compared, and whole or not at all."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import pytest
import xxhash

from dolmen.client.client import Client
from dolmen.client.in_order import PIECES_AHEAD, read_in_order
from dolmen.client.transfer import (
    UploadOptions,
    download_file,
    download_stream,
    upload_file,
    upload_stream,
)
from dolmen.protocol.client_messages import CreateFile, PublishFile
from dolmen.protocol.errors import ChecksumMismatch, PathExists
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_storage import SimStorage
from dolmen.simulation.virtual_time import run
from tests.unit.client.cluster import World
from tests.unit.client.scripted_namenode import BLOCK_BYTES

DATA = Random(4).randbytes(7 * BLOCK_BYTES + 4321)


def on_world(test: Callable[[World, Client, SimDisk], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        world = await World().start()
        client = world.client(**options)
        disk = SimDisk(SimStorage(), "client")
        await disk.make_directories("/local")
        try:
            await test(world, client, disk)
        finally:
            await client.close()

    run(main())


async def parts_of(data: bytes, step: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


@pytest.mark.parametrize("length", [0, 1, BLOCK_BYTES, len(DATA)])
def test_a_local_file_goes_up_and_comes_down_as_it_was(length: int) -> None:
    async def test(world: World, client: Client, disk: SimDisk) -> None:
        await disk.write_file("/local/up", DATA[:length])
        counts: list[int] = []
        info = await upload_file(client, (disk, "/local/up"), "/a", progress=counts.append)
        assert info.content_hash == xxhash.xxh3_128_digest(DATA[:length])
        assert sum(counts) == length
        counts.clear()
        await download_file(client, "/a", (disk, "/local/down"), counts.append)
        assert await disk.read_file("/local/down") == DATA[:length]
        assert sum(counts) == length
        assert await disk.list_directory("/local") == ["down", "up"]

    on_world(test)


def test_what_the_file_is_to_be_is_passed_on() -> None:
    async def test(world: World, client: Client, disk: SimDisk) -> None:
        options = UploadOptions(replication=2, block_size_bytes=65536, mode=0o600, modified_ms=5)
        await upload_stream(client, parts_of(DATA, 100_000), "/a", options)
        assert world.namenode.heard_of(CreateFile) == [CreateFile("/a", 2, 65536, 0o600)]
        assert world.namenode.heard_of(PublishFile)[0].modified_ms == 5
        with pytest.raises(PathExists):
            await upload_stream(client, parts_of(b"", 1), "/a", UploadOptions(exclusive=True))

    on_world(test)


def test_a_source_that_fails_publishes_nothing() -> None:
    async def test(world: World, client: Client, disk: SimDisk) -> None:
        async def failing() -> AsyncIterator[bytes]:
            yield DATA
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="gone"):
            await upload_stream(client, failing(), "/a")
        assert world.namenode.paths == {}
        assert world.namenode.files == {}

    on_world(test)


def test_bytes_come_in_order_with_a_bounded_number_of_pieces_ahead() -> None:
    async def test(world: World, client: Client, disk: SimDisk) -> None:
        await client.write_file("/a", DATA)
        reader = await client.open_reader("/a")
        got = bytearray()
        pieces = read_in_order(reader, 1000, len(DATA) + 50)
        async with contextlib.aclosing(pieces):
            async for data in pieces:
                got += data
                ahead = sum(each.served["ReadRanges"] for each in world.datanodes.values())
                assert ahead * reader.piece_bytes <= 2 * (
                    len(got) + (PIECES_AHEAD + 1) * reader.piece_bytes
                )
        assert got == DATA[1000:]

    on_world(test)


def test_many_files_read_in_turns_share_the_memory_and_none_waits_for_another() -> None:
    """A merge holds a piece of each file while it waits for the next one of any."""

    async def test(world: World, client: Client, disk: SimDisk) -> None:
        await client.write_file("/a", DATA)
        readers = [await client.open_reader("/a") for _ in range(20)]
        memory = readers[0].memory
        streams = [read_in_order(reader, 0, len(DATA)) for reader in readers]
        got = [bytearray() for _ in readers]
        left = dict(enumerate(streams))
        while left:
            for number, stream in list(left.items()):
                piece = await anext(stream, None)
                if piece is None:
                    del left[number]
                else:
                    got[number] += piece
        assert all(each == DATA for each in got)
        assert memory.spare_bytes == 512 * 1024

    on_world(test, read_memory_bytes=1024 * 1024)


def test_a_download_that_does_not_have_the_files_hash_is_refused() -> None:
    async def test(world: World, client: Client, disk: SimDisk) -> None:
        info = await client.write_file("/a", DATA)
        other = await client.write_file("/b", DATA[::-1])
        world.namenode.files[info.inode_id].blocks = world.namenode.files[other.inode_id].blocks
        await disk.write_file("/local/down", b"old")
        with pytest.raises(ChecksumMismatch, match="the file has"):
            await download_file(client, "/a", (disk, "/local/down"))
        assert await disk.read_file("/local/down") == b"old"
        assert await disk.list_directory("/local") == ["down"]

    on_world(test)


def test_a_sink_that_fails_ends_the_download() -> None:
    async def test(world: World, client: Client, disk: SimDisk) -> None:
        await client.write_file("/a", DATA)

        async def closed_pipe(data: memoryview) -> None:
            raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            await download_stream(client, "/a", closed_pipe)

    on_world(test)
