"""A datanode that stands still under readers: the right bytes, from another one; bounded memory."""

import asyncio
import sys
from pathlib import Path

from dolmen.client import Client, ClientOptions
from dolmen.runtime.real_machine import real_machine
from tests.integration import memory_of_a_client
from tests.integration.real_cluster import RealCluster, content

DATA = content(3, (3 << 20) + 77)


async def read_from_a_stopped_datanode(cluster: RealCluster, client: Client) -> None:
    """A client that says it is on the host of a datanode asks it first, over a socket."""
    await client.write_file("/x", DATA)
    options = ClientOptions(namenode=cluster.address, host="datanode-0", short_circuit=False)
    async with Client(real_machine(), options) as near:
        buffer = bytearray(len(DATA))
        async with await near.open_reader("/x") as reader:
            assert await reader.read_at(0, 1000) == DATA[:1000]
            cluster.datanodes[0].pause()
            try:
                await reader.read_into(0, memoryview(buffer))
                assert buffer == DATA
                buffer[:] = bytes(len(buffer))
            finally:
                cluster.datanodes[0].resume()
            ranges = [(start, start + 5000) for start in range(0, len(DATA), 100_000)]
            found = await reader.read_ranges(ranges)
            assert found == [DATA[start:end] for start, end in ranges]
        assert near.hedging.won > 0
        assert not any(buffer), "whoever was late wrote into memory that is the caller's again"


async def stay_within_memory(cluster: RealCluster) -> None:
    """More is written and read than would fit into what a client may use."""
    script = str(Path(memory_of_a_client.__file__))
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, cluster.address, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    written_bytes = memory_of_a_client.FILES * memory_of_a_client.FILE_BYTES
    assert int(told) < 256 << 20 < written_bytes


def test_a_client_reads_past_a_stopped_datanode_and_stays_within_its_memory(tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster.ready() as client:
            await read_from_a_stopped_datanode(cluster, client)
            await stay_within_memory(cluster)

    with RealCluster(tmp_path, 3, block_size="8MiB", dead_after="1min") as cluster:
        asyncio.run(run())
