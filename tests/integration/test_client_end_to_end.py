"""The real client, namenode and datanodes in one process, over real sockets and disks."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
import xxhash

from datanode.node import Datanode
from datanode.options import DatanodeOptions
from dolmen.client.client import Client
from dolmen.client.options import ClientOptions
from dolmen.client.transfer import download_file, upload_file
from dolmen.protocol.errors import ChecksumMismatch, NamenodeUnreachable, TooFewDatanodes
from dolmen.runtime.real_machine import real_machine
from dolmen.runtime.settings import Settings
from dolmen.runtime.thread_disk import ThreadDisk
from namenode.node import Namenode, NamenodeOptions

SETTINGS = Settings(
    block_size_bytes=1 << 20,
    segment_size_bytes=256 << 10,
    reserved_space_bytes=0,
    heartbeat_interval_ms=200,
    stale_after_ms=1000,
    dead_after_ms=1000,
    safe_mode_quiet_ms=500,
    retry_for_ms=20_000,
)
DATA = Random(3).randbytes((5 << 20) + 777)


class Cluster:
    """A namenode and datanodes that can be killed and started again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.datanodes: list[Datanode] = []
        self.namenode = Namenode(real_machine(), self._namenode_options(0))

    def _namenode_options(self, port: int) -> NamenodeOptions:
        return NamenodeOptions(str(self.root / "namenode"), port=port, settings=SETTINGS)

    def _datanode(self, index: int) -> Datanode:
        options = DatanodeOptions(
            (str(self.root / f"datanode-{index}"),),
            self.namenode.address,
            host_label=f"host-{index}",
            secret_file=str(self.root / "namenode" / "cluster.secret"),
            settings=SETTINGS,
        )
        return Datanode(real_machine(), options)

    async def start(self, datanodes: int) -> None:
        await self.namenode.start()
        for index in range(datanodes):
            self.datanodes.append(self._datanode(index))
            await self.datanodes[index].start()

    def kill_namenode(self) -> None:
        self.namenode.kill()

    async def restart_namenode(self) -> None:
        port = int(self.namenode.address.rpartition(":")[2])
        self.namenode = Namenode(real_machine(), self._namenode_options(port))
        await self.namenode.start()

    def client(self) -> Client:
        return Client(real_machine(), ClientOptions.of(SETTINGS, self.namenode.address))

    async def stop(self) -> None:
        for datanode in self.datanodes:
            await datanode.stop()
        await self.namenode.stop()


def on_cluster(
    root: Path, test: Callable[[Cluster, Client], Awaitable[None]], datanodes: int = 3
) -> None:
    async def main() -> None:
        cluster = Cluster(root)
        await cluster.start(datanodes)
        client = cluster.client()
        try:
            await test(cluster, client)
        finally:
            await client.close()
            await cluster.stop()

    asyncio.run(main())


def test_a_file_comes_back_as_it_went(tmp_path: Path) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        info = await client.write_file("/d/a", DATA)
        assert info.content_hash == xxhash.xxh3_128_digest(DATA)
        assert await client.read_file("/d/a") == DATA
        reader = await client.open_reader("/d/a")
        assert await reader.read_at((1 << 20) - 5, 10) == DATA[(1 << 20) - 5 :][:10]
        assert [entry.path async for entry in client.walk_tree("/")] == ["/d", "/d/a"]

    on_cluster(tmp_path, test)


def test_long_listings_come_whole_and_in_order(tmp_path: Path) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        names = [f"/d/{number:04}" for number in range(2100)]
        await client.make_directory("/d")
        await asyncio.gather(*(client.make_directory(name) for name in names))
        await client.make_directory("/d/0999/below")
        assert [entry.path for entry in await client.list_directory("/d")] == names
        walked = [entry.path async for entry in client.walk_tree("/d")]
        assert walked == sorted([*names, "/d/0999/below"])
        assert [entry.path async for entry in client.walk_tree("/", 1)] == ["/d"]

    on_cluster(tmp_path, test, datanodes=1)


@pytest.mark.parametrize("victims", [(0,), (1,), (2,), (0, 1)])
def test_datanodes_killed_in_mid_write_and_mid_read_cost_only_time(
    tmp_path: Path, victims: tuple[int, ...]
) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        await client.write_file("/before", DATA)
        async with await client.open_writer("/a") as writer:
            for start in range(0, len(DATA), 100_000):
                await writer.write(DATA[start : start + 100_000])
                if start == 1_600_000:
                    for index in victims:
                        cluster.datanodes[index].kill()
        assert await client.read_file("/a") == DATA
        assert await client.read_file("/before") == DATA

    on_cluster(tmp_path, test, datanodes=4)


def test_a_namenode_killed_in_mid_write_is_a_pause(tmp_path: Path) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        async with await client.open_writer("/a") as writer:
            await writer.write(DATA[:1_500_000])
            cluster.kill_namenode()
            writing = asyncio.create_task(writer.write(DATA[1_500_000:]))
            await cluster.restart_namenode()
            await writing
        assert await client.read_file("/a") == DATA
        assert [entry.path for entry in await client.list_directory("/")] == ["/a"]

    on_cluster(tmp_path, test)


def test_a_read_goes_on_while_the_namenode_is_gone(tmp_path: Path) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        await client.write_file("/a", DATA)
        reader = await client.open_reader("/a")
        cluster.kill_namenode()
        assert await reader.read_at(0, len(DATA)) == DATA
        await cluster.restart_namenode()
        assert await client.read_file("/a") == DATA

    on_cluster(tmp_path, test)


def damage(directory: Path) -> int:
    """Overwrite bytes in the middle of every whole block; return how many there were."""
    found = 0
    for path in directory.rglob("finalized/**/*"):
        if path.is_file() and path.stat().st_size == SETTINGS.block_size_bytes:
            with path.open("r+b") as file:
                file.seek(70_000)
                file.write(b"rotten")
            found += 1
    return found


def files_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.is_file())


def test_a_rotten_replica_is_never_read(tmp_path: Path) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        await client.write_file("/a", DATA)
        assert damage(tmp_path / "datanode-0") + damage(tmp_path / "datanode-1") == 10
        for _ in range(3):
            assert await client.read_file("/a") == DATA

    on_cluster(tmp_path, test)


def test_one_datanode_where_two_are_registered_is_too_few(tmp_path: Path) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        cluster.datanodes[0].kill()
        hasty = Client(
            real_machine(), ClientOptions(namenode=cluster.namenode.address, retry_for_ms=1500)
        )
        with pytest.raises(TooFewDatanodes):
            await hasty.write_file("/a", DATA)
        await hasty.close()

    on_cluster(tmp_path, test, datanodes=2)


def test_local_files_go_up_and_down_whole(tmp_path: Path) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        (tmp_path / "up").write_bytes(DATA)
        disk = ThreadDisk()
        done: list[int] = []
        info = await upload_file(client, (disk, str(tmp_path / "up")), "/a", progress=done.append)
        assert sum(done) == info.length_bytes == len(DATA)
        target = tmp_path / "down"
        target.write_bytes(b"old")
        done.clear()
        await download_file(client, "/a", (disk, str(target)), done.append)
        assert target.read_bytes() == DATA
        assert sum(done) == len(DATA)
        assert files_in(tmp_path) == ["down", "up"]
        disk.close()

    on_cluster(tmp_path, test)


def test_a_namenode_that_stays_away_is_told_in_time(tmp_path: Path) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        await client.connect()
        cluster.kill_namenode()
        stranger = cluster.client()
        started_s = asyncio.get_running_loop().time()
        with pytest.raises(NamenodeUnreachable, match="no namenode answers"):
            await stranger.connect()
        assert asyncio.get_running_loop().time() - started_s < 5
        await stranger.close()
        await cluster.restart_namenode()

    on_cluster(tmp_path, test, datanodes=1)


def test_a_download_that_is_not_the_files_bytes_leaves_the_old_file(tmp_path: Path) -> None:
    async def test(cluster: Cluster, client: Client) -> None:
        await client.write_file("/a", DATA)
        target = tmp_path / "down"
        target.write_bytes(b"old")
        disk = ThreadDisk()

        def fail(count: int) -> None:
            raise ChecksumMismatch("stands for any failure")

        with pytest.raises(ChecksumMismatch):
            await download_file(client, "/a", (disk, str(target)), fail)
        assert target.read_bytes() == b"old"
        assert files_in(tmp_path) == ["down"]
        disk.close()

    on_cluster(tmp_path, test)
