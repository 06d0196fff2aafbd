"""Real datanodes die, fall silent and run full under a writer that appends: no flushed byte is
lost, and the writer goes on, or says why not and another one goes on later."""

import asyncio
from pathlib import Path

import pytest

from dolmen.client.append_writer import AppendWriter
from dolmen.protocol.errors import NoSpace
from tests.integration.real_cluster import (
    IMPATIENT_S,
    RealCluster,
    Server,
    content,
    eventually,
)
from tests.integration.tmpfs import SmallDisks

MIB = 1 << 20

#: What is taken before and after each failure: neither ends where a block or a segment does.
PART_BYTES = 3 * MIB // 2 + 777
LOG = "/log"


async def receivers(cluster: RealCluster) -> list[Server]:
    """The three datanodes of the block that is being written, when each has begun."""
    found: list[Server] = []

    async def all_have_begun() -> bool:
        found[:] = [
            datanode
            for index, datanode in enumerate(cluster.datanodes)
            if cluster.files_on_disk(index, "being_written")
        ]
        return len(found) == 3

    await eventually(all_have_begun, lambda: f"only {found} receive a block")
    return found


async def append_through(cluster: RealCluster, which: int, way: str) -> bytes:
    """Append with a client that knows of no failure, and end or stop one datanode of the pipeline
    in mid-block; return what was flushed."""
    before, after = (content(10 * which + part, PART_BYTES) for part in range(2))
    async with cluster.client() as client:
        async with await client.open_appender(LOG, create=True) as writer:
            await writer.write(before)
            hit = (await receivers(cluster))[which]
            getattr(hit, way)()
            await writer.write(after)
            await writer.flush()
        if way == "kill":
            hit.start()
        else:
            hit.resume()
        await cluster.until(client, cluster.is_complete)
    return before + after


@pytest.mark.parametrize("way", ["kill", "pause"])
def test_an_appender_goes_on_whatever_datanode_of_its_pipeline_fails(
    tmp_path: Path, way: str
) -> None:
    async def test(cluster: RealCluster) -> None:
        async with cluster.ready() as client:
            written = b""
            for which in range(3):
                written += await append_through(cluster, which, way)
                assert await client.read_file(LOG) == written
            await cluster.until_healed(client)

    with RealCluster(tmp_path, 4) as cluster:
        asyncio.run(test(cluster))


async def append(writer: AppendWriter, data: bytes) -> None:
    async with writer:
        await writer.write(data)


def test_who_appends_to_full_disks_hears_so_and_goes_on_when_there_is_room(
    tmp_path: Path, small_disks: SmallDisks
) -> None:
    cluster = RealCluster(tmp_path / "cluster", 3, volume_check_interval="200ms")
    disks = [small_disks.plug_in(cluster.root / f"datanode-{index}", 24) for index in range(3)]
    first, second = content(1, PART_BYTES), content(2, PART_BYTES)

    async def test() -> None:
        async with cluster.ready() as client, cluster.client(IMPATIENT_S) as impatient:
            await append(await client.open_appender(LOG, create=True), first)
            writer = await impatient.open_appender(LOG)
            await writer.write(second[:1000])
            await writer.flush()
            for disk in disks:
                disk.fill(leave_bytes=100_000)
            with pytest.raises(NoSpace):
                await append(writer, second)
            assert await client.read_file(LOG) == first + second[:1000]
            for disk in disks:
                disk.empty()
            await cluster.until(client, lambda now: now.free_bytes > 10 * MIB)
            await append(await client.open_appender(LOG), second)
            assert await client.read_file(LOG) == first + second[:1000] + second
            await cluster.until_healed(client)

    with cluster:
        asyncio.run(test())
