"""A client on a datanode's host reads from the files that it was passed, while these are deleted,
rot, are cut, or lose their datanode."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from datanode.core.layout import parse_name
from dolmen.client import Client, Reader
from dolmen.client.local_datanode import ANSWER_S
from dolmen.client.local_replicas import LOOK_AGAIN_S
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.errors import StaleHandle
from dolmen.simulation import virtual_time
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.plan import Plan
from dolmen.simulation.sim_inode import SimInode
from dolmen.simulation.sim_storage import SimDirectory
from dolmen.simulation.trace import Trace

BLOCK_BYTES = 4 * CHUNK_BYTES
DATA = bytes(range(251)) * 2500
"""Some blocks, the last one short."""

PATH = "/file"
TOKEN_LIFE_S = 20.0
"""Of a simulated cluster."""


@dataclass
class Host:
    """A cluster of three datanodes, each with all of DATA, and a client on the first one's host."""

    cluster: SimCluster
    client: Client

    async def read(self, reader: Reader) -> bytes:
        return bytes(await reader.read_at(0, reader.length_bytes))

    async def read_locally(self, reader: Reader) -> None:
        """Read until all of it is open, and at hand."""
        for _ in range(3):
            assert await self.read(reader) == DATA
        assert self.client.local_reads.opened == -(-len(DATA) // BLOCK_BYTES)

    def data_files(self) -> list[SimInode]:
        """The data of all replicas of the client's own host."""
        storage = self.cluster.datanodes[0].machine.storage
        return list(_data_files(storage.directory("/")))


def _data_files(directory: SimDirectory) -> Iterator[SimInode]:
    for name, node in directory.entries.items():
        if isinstance(node, SimDirectory):
            yield from _data_files(node)
        elif (parsed := parse_name(name)) is not None and parsed[1] is None:
            yield node


def on_a_host(test: Callable[[Host], Awaitable[None]], *, local: bool = True) -> None:
    """Run a test in virtual time."""

    async def main() -> None:
        plan = Plan(seed=1, datanodes=3, block_size_bytes=BLOCK_BYTES, local_clients=local)
        cluster = SimCluster(plan, Trace(asyncio.get_running_loop().time))
        await cluster.start()

        async def work(client: Client) -> None:
            await client.write_file(PATH, DATA)
            await test(Host(cluster, client))

        lives = cluster.add_client(0, work)
        await lives.start()
        assert lives.process is not None
        await lives.process.wait()
        cluster.check_invariants()
        await cluster.stop()
        assert cluster.found == []

    virtual_time.run(main())


def test_what_is_on_the_same_host_is_read_without_its_datanode() -> None:
    async def test(host: Host) -> None:
        async with await host.client.open_reader(PATH) as reader:
            await host.read_locally(reader)
            asked = host.client.hedging.asked
            before = host.client.local_reads.read_bytes
            assert await host.read(reader) == DATA
            assert host.client.local_reads.read_bytes == before + len(DATA)
            assert host.client.hedging.asked - asked <= len(DATA) // CHUNK_BYTES
            async for block in host.client.locate_blocks(PATH):
                assert len(await host.client.find_local(block)) == 1

    on_a_host(test)


def test_who_is_elsewhere_reads_over_the_network() -> None:
    async def test(host: Host) -> None:
        async with await host.client.open_reader(PATH) as reader:
            assert await host.read(reader) == DATA
        assert host.client.local_reads.opened == host.client.local_reads.reads == 0

    on_a_host(test, local=False)


def test_a_bit_that_flips_under_an_open_file_is_never_read_and_the_replica_is_revoked() -> None:
    async def test(host: Host) -> None:
        async with await host.client.open_reader(PATH) as reader:
            await host.read_locally(reader)
            for file in host.data_files():
                file.rot(CHUNK_BYTES + 5)
            for _ in range(20):
                found = reader.read_at_hand(CHUNK_BYTES, 100)
                assert found in (None, DATA[CHUNK_BYTES:][:100])
                assert await host.read(reader) == DATA
                await asyncio.sleep(2)
            assert host.client.local_reads.revoked

    on_a_host(test)


def test_a_file_that_is_cut_under_its_readers_is_read_elsewhere() -> None:
    async def test(host: Host) -> None:
        async with await host.client.open_reader(PATH) as reader:
            await host.read_locally(reader)
            for file in host.data_files():
                file.truncate(10)
            for _ in range(3):
                assert await host.read(reader) == DATA

    on_a_host(test)


def test_the_files_of_what_is_deleted_are_given_up_when_nobody_reads_it_any_more() -> None:
    async def test(host: Host) -> None:
        async with await host.client.open_reader(PATH) as reader:
            await host.read_locally(reader)
            await host.client.delete(PATH)
            for _ in range(6):  # it is kept for who reads it
                await asyncio.sleep(TOKEN_LIFE_S / 4)
                assert await host.read(reader) == DATA
            assert host.client.local_reads.revoked == 0
            await asyncio.sleep(3 * TOKEN_LIFE_S)
            assert host.data_files() == []
            assert reader.read_at_hand(0, 100) is None
            with pytest.raises(StaleHandle):
                await host.read(reader)

    on_a_host(test)


def test_a_reader_goes_on_while_its_datanode_stands_still_and_no_longer_than_its_token() -> None:
    async def test(host: Host) -> None:
        async with await host.client.open_reader(PATH) as reader:
            await host.read_locally(reader)
            lives = host.cluster.datanodes[0]
            pausing = asyncio.create_task(lives.pause(3 * TOKEN_LIFE_S))
            opened, read_bytes = host.client.local_reads.opened, host.client.local_reads.read_bytes
            await asyncio.sleep(1)
            assert await host.read(reader) == DATA
            assert host.client.local_reads.read_bytes > read_bytes
            await asyncio.sleep(TOKEN_LIFE_S)
            read_bytes = host.client.local_reads.read_bytes
            assert reader.read_into_at_hand(0, memoryview(bytearray(100))) == 0
            assert await host.read(reader) == DATA
            assert host.client.local_reads.read_bytes == read_bytes
            assert host.client.local_reads.opened == opened
            await pausing

    on_a_host(test)


def test_a_datanode_that_stands_still_when_it_is_asked_is_left_to_the_network() -> None:
    async def test(host: Host) -> None:
        pausing = asyncio.create_task(host.cluster.datanodes[0].pause(30))
        async with await host.client.open_reader(PATH) as reader:
            start_s = asyncio.get_running_loop().time()
            assert await host.read(reader) == DATA
            assert asyncio.get_running_loop().time() < start_s + 4 * ANSWER_S
        assert host.client.local_reads.opened == 0
        await pausing

    on_a_host(test)


def test_files_are_given_up_with_the_connection_and_asked_for_again_later() -> None:
    async def test(host: Host) -> None:
        async with await host.client.open_reader(PATH) as reader:
            await host.read_locally(reader)
            opened = host.client.local_reads.opened
            await host.cluster.datanodes[0].kill()
            await asyncio.sleep(1)
            assert reader.read_at_hand(0, 100) is None
            assert await host.read(reader) == DATA
            await host.cluster.datanodes[0].start()
            await asyncio.sleep(LOOK_AGAIN_S)
            assert await host.read(reader) == DATA
            assert host.client.local_reads.opened > opened

    on_a_host(test)
