"""Every kind of damage to the files of a replica, on real processes.

The bytes stay readable all the time, the block heals to three good replicas on three nodes, and the
quarantine holds the bad one.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datanode.quarantine import Quarantined, list_quarantine
from dolmen.client import Client
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.runtime.thread_disk import ThreadDisk
from tests.integration.real_cluster import RealCluster, content, eventually

DATA = content(1, 9 * CHUNK_BYTES + 777)
PATH = "/d/file"
NODES = 3


def flip(file: Path, offset: int) -> None:
    with file.open("r+b") as stream:
        stream.seek(offset)
        (byte,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))
        os.fsync(stream.fileno())


def data_file(cluster: RealCluster, index: int) -> Path:
    (file,) = cluster.files_on_disk(index)
    return file


def checksum_file(cluster: RealCluster, index: int) -> Path:
    (file,) = data_file(cluster, index).parent.glob("*.checksums")
    return file


def data_flipped(cluster: RealCluster, index: int) -> None:
    flip(data_file(cluster, index), 4 * CHUNK_BYTES + 5)


def data_cut(cluster: RealCluster, index: int) -> None:
    os.truncate(data_file(cluster, index), 3 * CHUNK_BYTES + 5)


def data_emptied(cluster: RealCluster, index: int) -> None:
    os.truncate(data_file(cluster, index), 0)


def data_grown(cluster: RealCluster, index: int) -> None:
    with data_file(cluster, index).open("ab") as stream:
        stream.write(b"more than there was")


def data_removed(cluster: RealCluster, index: int) -> None:
    data_file(cluster, index).unlink()


def data_and_list_flipped(cluster: RealCluster, index: int) -> None:
    data_flipped(cluster, index)
    list_flipped(cluster, index)


def list_flipped(cluster: RealCluster, index: int) -> None:
    file = checksum_file(cluster, index)
    flip(file, file.stat().st_size - 3)


def list_cut(cluster: RealCluster, index: int) -> None:
    file = checksum_file(cluster, index)
    os.truncate(file, file.stat().st_size - 8)


def list_grown(cluster: RealCluster, index: int) -> None:
    with checksum_file(cluster, index).open("ab") as stream:
        stream.write(b"more than there was")


def list_removed(cluster: RealCluster, index: int) -> None:
    checksum_file(cluster, index).unlink()


Damage = Callable[[RealCluster, int], None]

REPLACED = (
    data_flipped,
    data_cut,
    data_emptied,
    data_grown,
    data_removed,
    data_and_list_flipped,
)
MENDED = (list_flipped, list_cut, list_grown, list_removed)


@asynccontextmanager
async def reading_on(client: Client) -> AsyncIterator[None]:
    """Read the file again and again meanwhile; it must be there, and right, each time."""
    ended = asyncio.Event()

    async def read() -> None:
        while not ended.is_set():
            assert await client.read_file(PATH) == DATA
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        try:
            yield
        finally:
            ended.set()


def is_good(cluster: RealCluster, index: int) -> bool:
    files = cluster.files_on_disk(index)
    names = {file.suffix for one in files for file in one.parent.iterdir()}
    return len(files) == 1 and files[0].read_bytes() == DATA and names == {".block", ".checksums"}


async def until_all_good(cluster: RealCluster, client: Client) -> None:
    async def look() -> bool:
        return all(is_good(cluster, index) for index in range(NODES))

    await eventually(look, cluster.story)
    await cluster.until_healed(client)


async def quarantined(cluster: RealCluster, index: int) -> list[Quarantined]:
    """What a datanode's quarantine holds."""
    disk = ThreadDisk()
    try:
        return await list_quarantine(disk, str(cluster.root / f"datanode-{index}"))
    finally:
        disk.close()


def on_stored(
    root: Path,
    test: Callable[[RealCluster, Client], Awaitable[None]],
    **settings: str,
) -> None:
    """Run a test on three nodes, each of which has a replica of the only block."""

    async def run() -> None:
        async with cluster.ready() as client:
            await client.write_file(PATH, DATA)
            await until_all_good(cluster, client)
            await test(cluster, client)

    with RealCluster(root, NODES, **settings) as cluster:
        asyncio.run(run())


@pytest.mark.parametrize("damages", [REPLACED, MENDED], ids=["replaced", "mended"])
def test_scrubbing_finds_every_kind_of_damage_and_the_block_heals(
    tmp_path: Path, damages: tuple[Damage, ...]
) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        for number, damage in enumerate(damages):
            index = number % NODES
            before = len(await quarantined(cluster, index))
            async with reading_on(client):
                damage(cluster, index)
                await until_all_good(cluster, client)
            added = len(await quarantined(cluster, index)) - before
            assert added == (1 if damages is REPLACED else 0), damage.__name__
        report = await client.report()
        total = sum(node.quarantined_replicas for node in report.datanodes)
        assert total <= len(REPLACED)

    on_stored(tmp_path, test, scrub_period="2s")


@pytest.mark.parametrize("damages", [REPLACED, MENDED], ids=["replaced", "mended"])
def test_damage_done_while_a_datanode_is_down_is_found_and_the_block_heals(
    tmp_path: Path, damages: tuple[Damage, ...]
) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        for number, damage in enumerate(damages):
            index = number % NODES
            async with reading_on(client):
                cluster.datanodes[index].kill()
                damage(cluster, index)
                cluster.datanodes[index].start()
                await until_all_good(cluster, client)

    on_stored(tmp_path, test, scrub_period="2s")


def test_damage_is_found_by_a_reader_when_nothing_is_scrubbed(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        for index in range(NODES):
            async with reading_on(client):
                data_cut(cluster, index)
                await leave_readers_no_choice_but(cluster, index)
                await until_all_good(cluster, client)
            (entry,) = await quarantined(cluster, index)
            assert entry.description.length_bytes == len(DATA)
            assert entry.description.reason

    on_stored(tmp_path, test, scrub_period="365d")


async def leave_readers_no_choice_but(cluster: RealCluster, index: int) -> None:
    """They may prefer the others for ever: these fall silent for moments, until damage is found."""
    others = [cluster.datanodes[one] for one in range(NODES) if one != index]

    async def look() -> bool:
        for other in others:
            other.pause()
        await asyncio.sleep(0.3)
        for other in others:
            other.resume()
        return damage_is_known(cluster, index)

    await eventually(look, cluster.story)


def damage_is_known(cluster: RealCluster, index: int) -> bool:
    log = cluster.datanodes[index].log.read_text()
    return "is damaged" in log or "aside" in log


async def until_damage_is_known(cluster: RealCluster, index: int) -> None:
    async def look() -> bool:
        return damage_is_known(cluster, index)

    await eventually(look, cluster.story)


def test_a_block_damaged_on_all_datanodes_in_different_chunks_is_still_read(
    tmp_path: Path,
) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        async with reading_on(client):
            for index in range(NODES):
                flip(data_file(cluster, index), 2 * index * CHUNK_BYTES + 5)
            await cluster.until(client, lambda now: now.corrupt_replicas == NODES)
        assert await client.read_file(PATH) == DATA
        for index in range(NODES):
            assert await quarantined(cluster, index) == [], "they are all that there is"
        for server in cluster.datanodes:
            server.kill()
            server.start()
        await cluster.until(client, cluster.is_complete)
        assert await client.read_file(PATH) == DATA

    on_stored(tmp_path, test, scrub_period="2s")


def test_damage_on_two_of_three_while_the_third_is_down_heals_when_it_returns(
    tmp_path: Path,
) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        cluster.datanodes[2].kill()
        await cluster.until(client, lambda now: now.live_datanodes == NODES - 1)
        flip(data_file(cluster, 0), 5)
        flip(data_file(cluster, 1), 3 * CHUNK_BYTES + 5)
        await cluster.until(client, lambda now: now.corrupt_replicas == NODES - 1)
        assert await client.read_file(PATH) == DATA
        async with reading_on(client):
            cluster.datanodes[2].start()
            await until_all_good(cluster, client)
        assert [len(await quarantined(cluster, index)) for index in range(NODES)] == [1, 1, 0]

    on_stored(tmp_path, test, scrub_period="2s")


def test_the_quarantine_lets_the_oldest_go(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        data_flipped(cluster, 0)
        await until_damage_is_known(cluster, 0)
        await until_all_good(cluster, client)

        async def is_empty() -> bool:
            return not await quarantined(cluster, 0)

        await eventually(is_empty, cluster.story)
        assert "quarantine_age" in cluster.datanodes[0].log.read_text()

    on_stored(tmp_path, test, scrub_period="2s", quarantine_age="2s")
