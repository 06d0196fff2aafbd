"""Datanodes are killed and stopped in mid-write and in mid-read; the caller sees a delay."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import xxhash

from dolmen.client import Client
from dolmen.client.writer import Writer
from dolmen.protocol.client_messages import FileInfo
from dolmen.protocol.errors import BlockMissing, TooFewDatanodes
from dolmen.protocol.operator_messages import ClusterReport
from tests.integration.real_cluster import (
    IMPATIENT_S,
    WITHIN_S,
    RealCluster,
    Server,
    content,
    eventually,
    pieces,
)

#: A bit more than five blocks of 1 MiB.
DATA = content(1, (5 << 20) + 777)


def on_cluster(
    root: Path,
    test: Callable[[RealCluster, Client], Awaitable[None]],
    datanodes: int = 4,
    **settings: str,
) -> None:
    async def run() -> None:
        async with cluster.ready() as client:
            await test(cluster, client)

    with RealCluster(root, datanodes, **settings) as cluster:
        asyncio.run(run())


async def write_slowly(
    client: Client, path: str, data: bytes, meanwhile: Callable[[], Awaitable[None]]
) -> FileInfo:
    """Write, and do something else when half of it is taken."""
    async with await client.open_writer(path) as writer:
        for piece in pieces(data):
            before, half = writer.length_bytes, len(data) // 2
            await writer.write(piece)
            if before < half <= writer.length_bytes:
                await meanwhile()
    return writer.info


async def receivers(cluster: RealCluster) -> list[Server]:
    """The three datanodes of a block in mid-write, when each has begun."""

    def there_are() -> list[Server]:
        return [
            datanode
            for index, datanode in enumerate(cluster.datanodes)
            if cluster.files_on_disk(index, "being_written")
        ]

    async def all_have_begun() -> bool:
        return len(there_are()) == 3

    await eventually(all_have_begun, lambda: f"only {there_are()} receive a block")
    return there_are()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_file_is_finished_when_a_datanode_of_its_pipeline_dies(
    tmp_path: Path, which: int
) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        killed: list[Server] = []

        async def kill() -> None:
            killed.append((await receivers(cluster))[which])
            killed[0].kill()

        info = await write_slowly(client, "/x", DATA, kill)
        assert info.content_hash == xxhash.xxh3_128_digest(DATA)
        assert await client.read_file("/x") == DATA
        await cluster.until(client, lambda now: now.dead_datanodes == 1)
        await cluster.until(
            client, lambda now: not now.under_replicated_blocks and not now.missing_blocks
        )
        killed[0].start()
        report = await cluster.until_healed(client)
        assert report.blocks == 6
        await cluster.until_disks_hold(3 * 6)
        assert await client.read_file("/x") == DATA

    on_cluster(tmp_path, test)


def test_a_file_is_finished_though_one_datanode_after_the_other_dies(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        async def one_after_the_other() -> None:
            for _ in range(2):
                for datanode in cluster.datanodes:
                    datanode.kill()
                    await asyncio.sleep(0.3)
                    datanode.start()
                    await cluster.until(client, cluster.is_complete)

        killing = asyncio.create_task(one_after_the_other())
        written: list[str] = []
        while not killing.done():
            path = f"/{len(written)}"
            await client.write_file(path, DATA)
            written.append(path)
        await killing
        for path in written:
            assert await client.read_file(path) == DATA
        report = await cluster.until_healed(client)
        assert report.blocks == 6 * len(written)
        await cluster.until_disks_hold(3 * report.blocks)
        assert (await client.info(written[-1])).content_hash == xxhash.xxh3_128_digest(DATA)

    on_cluster(tmp_path, test, 3)


def test_all_datanodes_die_at_once_and_come_back_under_a_writer_and_a_reader(
    tmp_path: Path,
) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        await client.write_file("/there", DATA)
        async with await client.open_writer("/new") as writer:
            await writer.write(DATA[: 5 << 19])
            reader = await client.open_reader("/there")
            assert await reader.read_at(0, 1000) == DATA[:1000]
            for datanode in cluster.datanodes:
                datanode.kill()
            report = await cluster.until(
                client, lambda now: (now.dead_datanodes, now.missing_blocks) == (3, 6)
            )
            assert report.under_replicated_blocks == 0
            reading = asyncio.create_task(reader.read_at(0, reader.length_bytes))
            writing = asyncio.create_task(writer.write(DATA[5 << 19 :]))
            cluster.start()
            assert await reading == DATA
            await writing
            await reader.close()
        assert await client.read_file("/there") == DATA
        assert await client.read_file("/new") == DATA
        report = await cluster.until_healed(client)
        await cluster.until_disks_hold(3 * report.blocks)

    on_cluster(tmp_path, test, 3)


def test_a_write_that_loses_all_datanodes_ends_with_a_clear_error_in_time(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        await client.write_file("/there", DATA)
        async with cluster.client(IMPATIENT_S) as impatient:
            writer = await impatient.open_writer("/new")
            await writer.write(DATA[: 5 << 19])
            for datanode in cluster.datanodes:
                datanode.kill()
            async with asyncio.timeout(WITHIN_S):
                with pytest.raises(TooFewDatanodes, match="live"):
                    await finish(writer)
                with pytest.raises(BlockMissing, match="no living datanode has one"):
                    await impatient.read_file("/there")
        cluster.start()
        await cluster.until_healed(client)
        assert [entry.path for entry in await client.list_directory("/")] == ["/there"]
        assert await client.read_file("/there") == DATA
        await cluster.until_disks_hold(3 * 6)

    async def finish(writer: Writer) -> None:
        async with writer:
            await writer.write(DATA[5 << 19 :])

    on_cluster(tmp_path, test, 3)


def test_a_reader_leaves_a_silent_datanode(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        await client.write_file("/x", DATA)
        reader = await client.open_reader("/x")
        assert await reader.read_at(0, 1000) == DATA[:1000]
        silent = cluster.datanodes[0]
        silent.pause()
        async with asyncio.timeout(WITHIN_S):
            assert await reader.read_at(0, reader.length_bytes) == DATA
        await cluster.until(client, lambda now: now.dead_datanodes == 1)
        assert await client.read_file("/x") == DATA
        silent.resume()
        await reader.close()
        await cluster.until_healed(client)
        await cluster.until_disks_hold(3 * 6)

    on_cluster(tmp_path, test)


@pytest.mark.parametrize("which", [0, 2])
def test_a_writer_leaves_a_silent_datanode(tmp_path: Path, which: int) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        paused: list[Server] = []

        async def pause() -> None:
            paused.append((await receivers(cluster))[which])
            paused[0].pause()

        await write_slowly(client, "/x", DATA, pause)
        assert await client.read_file("/x") == DATA
        paused[0].resume()
        await cluster.until_healed(client)
        await cluster.until_disks_hold(3 * 6)
        assert await client.read_file("/x") == DATA

    on_cluster(tmp_path, test)


STOPPED_S = 15.0
"""Longer than `dead_after` here: it is given up, its blocks are repaired, and then it goes on."""


def test_readers_and_writers_go_on_while_a_datanode_is_stopped_and_after_it(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        await client.write_file("/read", DATA)
        written: list[str] = []

        async def write_on(who: int) -> None:
            while not over.is_set():
                path = f"/{who}-{len(written)}"
                await client.write_file(path, DATA)
                written.append(path)

        async def read_on() -> None:
            while not over.is_set():
                assert await client.read_file("/read") == DATA

        over = asyncio.Event()
        stopped = cluster.datanodes[1]
        async with asyncio.TaskGroup() as group:
            for who in range(2):
                group.create_task(write_on(who))
                group.create_task(read_on())
            stopped.pause()
            asyncio.get_running_loop().call_later(STOPPED_S, stopped.resume)
            asyncio.get_running_loop().call_later(STOPPED_S + 1, over.set)
        for path in written:
            assert await client.read_file(path) == DATA
        await cluster.until_healed(client)

    on_cluster(tmp_path, test)


def has_dead(count: int, report: ClusterReport) -> bool:
    return report.dead_datanodes == count


def test_a_datanode_whose_disk_was_wiped_is_a_new_one_and_everything_is_repaired(
    tmp_path: Path,
) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        await client.write_file("/x", DATA)
        for index in (0, 1):
            cluster.datanodes[index].kill()
            shutil.rmtree(cluster.root / f"datanode-{index}")
            cluster.namenode.kill()  # which then waits for one that never comes back
            cluster.start()
            await cluster.until(client, partial(has_dead, index + 1))
            await cluster.until_healed(client)
        assert await client.read_file("/x") == DATA
        await cluster.until_disks_hold(3 * 6)

    on_cluster(tmp_path, test, 3)
