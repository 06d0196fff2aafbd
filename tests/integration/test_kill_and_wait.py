"""What waits, for how long and for whom: too few datanodes, safe mode, leases, deleted files."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import fsspec
import pytest

from dolmen.cli.free_ports import free_ports
from dolmen.client import Client
from dolmen.protocol.errors import NoSuchPath, PathExists, SafeMode, TooFewDatanodes
from tests.integration.command_line import Shell
from tests.integration.real_cluster import IMPATIENT_S, WITHIN_S, RealCluster, content

#: A bit more than two blocks of 1 MiB.
DATA = content(1, (2 << 20) + 777)

#: Writes to the path that is its argument for as long as it lives.
ENDLESS_WRITER = """
import sys, fsspec
with fsspec.open(sys.argv[1], "wb") as file:
    while True:
        file.write(bytes(1 << 20))
        print(file.tell(), flush=True)
"""


def on_cluster(
    root: Path,
    test: Callable[[RealCluster, Client], Awaitable[None]],
    datanodes: int = 3,
    **settings: str,
) -> None:
    async def run() -> None:
        async with cluster.ready() as client:
            await test(cluster, client)

    with RealCluster(root, datanodes, **settings) as cluster:
        asyncio.run(run())


async def write_once(client: Client, path: str) -> None:
    """Write a file with one replica."""
    async with await client.open_writer(path, replication=1) as writer:
        await writer.write(DATA)


# ---------------------------------------------------------------- too few datanodes


def test_too_few_living_datanodes_are_told_after_retry_for(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        for datanode in cluster.datanodes[1:]:
            datanode.kill()
        await cluster.until(client, lambda now: now.dead_datanodes == 2)
        shell = Shell({**cluster.shell.exported, "DOLMEN_RETRY_FOR": "2s"})
        began = time.monotonic()
        done = await asyncio.to_thread(shell, "put", "-", "/x", given=DATA)
        took = time.monotonic() - began
        assert done.returncode == 6
        assert "1 of 3 registered datanodes" in done.stderr.decode()
        assert 2 < took < WITHIN_S
        async with cluster.client(IMPATIENT_S) as impatient:
            with pytest.raises(TooFewDatanodes):
                await impatient.write_file("/y", DATA)
        assert await client.list_directory("/") == []
        writing = asyncio.create_task(client.write_file("/z", DATA))
        cluster.start()
        await writing
        assert await client.read_file("/z") == DATA
        await cluster.until_healed(client)
        await cluster.until_disks_hold(3 * 3)

    on_cluster(tmp_path, test)


def test_a_replication_above_the_number_of_datanodes_is_taken_and_reported(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        await client.write_file("/x", DATA)
        assert await client.read_file("/x") == DATA
        report = await client.report()
        assert (report.blocks, report.under_replicated_blocks) == (3, 3)
        cluster.datanodes.append(cluster.make_datanode(1))
        cluster.start()
        await cluster.until(client, cluster.is_complete)
        await cluster.until_disks_hold(2 * 3)
        report = await client.report()
        assert (report.under_replicated_blocks, report.missing_blocks) == (3, 0)
        cluster.datanodes.append(cluster.make_datanode(2))
        cluster.start()
        await cluster.until_healed(client)
        writer = await client.open_writer("/y", replication=512)
        await writer.write(DATA)
        await writer.close()
        assert await client.read_file("/y") == DATA
        assert (await client.report()).under_replicated_blocks == 3
        await client.set_attributes("/y", replication=1)
        await cluster.until_healed(client)
        await cluster.until_disks_hold(3 * 3 + 3)

    on_cluster(tmp_path, test, 1)


# ---------------------------------------------------------------- safe mode


def test_in_safe_mode_what_is_reported_is_read_and_writers_wait(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        first, second = cluster.datanodes
        second.kill()
        await cluster.until(client, lambda now: now.dead_datanodes == 1)
        await write_once(client, "/first")
        first.kill()
        second.start()
        await cluster.until(client, lambda now: (now.live_datanodes, now.dead_datanodes) == (1, 1))
        await write_once(client, "/second")
        second.kill()
        cluster.namenode.kill()
        cluster.namenode.start()
        report = await client.report()
        assert report.safe_mode
        first.start()
        await cluster.until(client, lambda now: now.live_datanodes == 1)
        reader = await client.open_reader("/first")
        assert await reader.read_at(0, reader.length_bytes) == DATA
        await reader.close()
        assert (await client.report()).safe_mode
        async with cluster.client(IMPATIENT_S) as impatient:
            with pytest.raises(SafeMode, match="3 of 6 blocks"):
                await impatient.make_directory("/d")
        writing = asyncio.create_task(client.write_file("/third", DATA))
        reading = asyncio.create_task(client.read_file("/second"))
        second.start()
        await writing
        assert await reading == DATA
        report = await client.report()
        assert not report.safe_mode
        assert report.missing_blocks == 0

    on_cluster(tmp_path, test, 2, safe_mode_quiet="1min", min_replicas="1")


def test_what_never_comes_back_does_not_hold_the_rest_up(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        _, second = cluster.datanodes
        while not (cluster.files_on_disk(0) and cluster.files_on_disk(1)):
            await write_once(client, f"/{len(await client.list_directory('/'))}")
        lost = len(cluster.files_on_disk(1))
        second.kill()
        cluster.namenode.kill()
        cluster.namenode.start()
        report = await cluster.until(client, lambda now: not now.safe_mode)
        assert report.missing_blocks == lost
        shell_report = json.loads(await asyncio.to_thread(cluster.shell.output, "report", "--json"))
        assert shell_report["missing_blocks"] == lost
        assert shell_report["under_replicated_blocks"] == 0
        await write_once(client, "/goes-on")
        second.start()
        await cluster.until(client, lambda now: now.missing_blocks == 0)

    on_cluster(tmp_path, test, 2, min_replicas="1")


# ---------------------------------------------------------------- writers


def test_of_two_writers_of_a_path_the_last_close_wins_and_the_other_leaves_nothing(
    tmp_path: Path,
) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        other_data = content(2, len(DATA))
        async with cluster.client() as other:
            first = await client.open_writer("/x")
            second = await other.open_writer("/x")
            exclusive = await other.open_writer("/x", exclusive=True)
            for writer, data in ((first, DATA), (second, other_data), (exclusive, DATA)):
                await writer.write(data)
            await second.close()
            assert await client.read_file("/x") == other_data
            await first.close()
            assert await client.read_file("/x") == DATA
            with pytest.raises(PathExists):
                await exclusive.close()
        await cluster.until_disks_hold(3 * 3)

    on_cluster(tmp_path, test)


def kill_in_mid_write(cluster: RealCluster) -> None:
    url = f"dolmen://{cluster.address}/x"
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS_WRITER, url], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        while not cluster.all_files_on_disk():
            assert process.stdout.readline(), "it ended by itself"
        process.kill()


def test_a_writer_killed_in_mid_write_leaves_nothing(tmp_path: Path) -> None:
    async def test(cluster: RealCluster, client: Client) -> None:
        await asyncio.to_thread(kill_in_mid_write, cluster)
        assert [entry.path for entry in await client.list_directory("/")] == []
        await cluster.until_disks_hold(0)
        report = await client.report()
        assert (report.files, report.blocks) == (0, 0)
        assert await client.list_directory("/") == []

    on_cluster(tmp_path, test, lease_soft_limit="500ms", lease_hard_limit="1s")


# ---------------------------------------------------------------- deleted and kept


def test_deleted_files_vanish_from_the_disks_and_open_readers_go_on(tmp_path: Path) -> None:
    gone, replaced = content(2, len(DATA)), content(3, len(DATA))

    async def test(cluster: RealCluster, client: Client) -> None:
        await client.write_file("/kept", DATA)
        await client.write_file("/d/gone", gone)
        await client.write_file("/replaced", replaced)
        host, _, port = cluster.address.partition(":")
        fs = fsspec.filesystem("dolmen", host=host, port=int(port))
        file = await asyncio.to_thread(fs.open, "/d/gone", "rb")
        assert await asyncio.to_thread(file.read, 10) == gone[:10]
        reader = await client.open_reader("/replaced")
        await client.delete("/d", recursive=True)
        await client.write_file("/replaced", b"short")
        assert await asyncio.to_thread(file.read) == gone[10:]
        assert await reader.read_at(0, reader.length_bytes) == replaced
        await reader.close()
        await asyncio.to_thread(file.close)
        with pytest.raises(NoSuchPath):
            await client.info("/d/gone")
        await cluster.until_disks_hold(3 * 3 + 3)
        assert await client.read_file("/kept") == DATA
        assert await client.read_file("/replaced") == b"short"

    # Longer than a busy machine needs from the deletion to the last read.
    on_cluster(tmp_path, test, block_token_life="10s")


def test_a_cluster_that_was_down_comes_up_as_it_was(tmp_path: Path) -> None:
    shell = Shell()
    here = ("--dir", tmp_path / "cluster")
    url = ""

    def look() -> tuple[list[str], list[str]]:
        rows = json.loads(shell.output("status", "--json", *here))
        report = json.loads(shell.output("report", "--json", "--at", url.removeprefix("dolmen://")))
        return (
            [row["address"] for row in rows],
            sorted(datanode["id"] for datanode in report["datanodes"]),
        )

    port = next(free_ports("127.0.0.1", Random()))
    try:
        url = shell.output("up", *here, "--port", port, "--block-size", "64KiB").strip()
        shell.output("put", "-", f"{url}/d/x", given=DATA)
        checksum = shell.output("checksum", f"{url}/d/x")
        before = look()
        for _ in range(2):
            shell.output("down", *here)
            assert shell.output("up", *here).strip() == url
            assert look() == before
            assert shell.output("checksum", f"{url}/d/x") == checksum
            assert shell("cat", f"{url}/d/x").stdout == DATA
    finally:
        shell.output("down", *here)
