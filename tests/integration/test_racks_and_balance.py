"""Racks and balancing on real processes: a rack lost, one that appears, a datanode filled."""

import asyncio
import json
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from dolmen.client import Client
from dolmen.protocol.errors import AccessDenied, InvalidRequest
from dolmen.protocol.operator_messages import BalanceProgress
from tests.integration.real_cluster import RealCluster, content, eventually, is_whole

BLOCK_BYTES = 1 << 20
FILES = 12


def cluster_of(root: Path, racks: Iterable[str], **settings: str) -> RealCluster:
    """A cluster, not started yet, whose datanodes are in these racks."""
    cluster = RealCluster(root, 0, **settings)
    cluster.datanodes = [
        cluster.make_datanode(index, "--rack", rack) for index, rack in enumerate(racks)
    ]
    return cluster


async def write_files(client: Client, count: int = FILES) -> None:
    for number in range(count):
        async with await client.open_writer(f"/file-{number}") as writer:
            await writer.write(content(number, BLOCK_BYTES))


async def check_files(client: Client, count: int = FILES) -> None:
    for number in range(count):
        assert await client.read_file(f"/file-{number}") == content(number, BLOCK_BYTES)


def holders(cluster: RealCluster) -> dict[str, set[int]]:
    """The datanodes that have each block."""
    found: dict[str, set[int]] = {}
    for index in range(len(cluster.datanodes)):
        for path in cluster.files_on_disk(index):
            found.setdefault(path.name, set()).add(index)
    return found


def is_spread(cluster: RealCluster, replicas: int, *racks: set[int]) -> bool:
    """Whether each block has its replicas, on datanodes of more than one rack."""
    return all(
        len(indexes) == replicas and sum(bool(indexes & rack) for rack in racks) > 1
        for indexes in holders(cluster).values()
    )


async def until_spread(cluster: RealCluster, replicas: int, *racks: set[int]) -> None:
    async def look() -> bool:
        return is_spread(cluster, replicas, *racks)

    await eventually(look, lambda: f"the blocks are on {holders(cluster)}")


def test_losing_a_whole_rack_loses_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster.ready() as client:
            await write_files(client)
            assert (await client.report()).mis_replicated_blocks == 0
            await until_spread(cluster, 3, {0, 1}, {2, 3})
            for index in (0, 1):
                cluster.datanodes[index].kill()
            await cluster.until(client, lambda now: now.dead_datanodes == 2)
            await check_files(client)
            report = await client.report()
            assert (report.missing_blocks, report.corrupt_replicas) == (0, 0)
            cluster.start()
            await cluster.until_healed(client)
            await until_spread(cluster, 3, {0, 1}, {2, 3})
            await check_files(client)

    with cluster_of(tmp_path, ("/a", "/a", "/b", "/b")) as cluster:
        asyncio.run(run())


def test_blocks_are_spread_when_a_second_rack_appears(tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster.ready() as client:
            await write_files(client)
            assert (await client.report()).mis_replicated_blocks == 0
            cluster.datanodes.append(cluster.make_datanode(3, "--rack", "/b"))
            cluster.start()
            await until_spread(cluster, 3, {0, 1, 2}, {3})
            await cluster.until_healed(client)
            await check_files(client)

    with cluster_of(tmp_path, ("/a", "/a", "/a")) as cluster:
        asyncio.run(run())


def topology(cluster: RealCluster, *racks: str) -> str:
    """A file that puts the datanodes in these racks, by address or by label in turn."""
    names = [
        datanode.address if index % 2 else datanode.name
        for index, datanode in enumerate(cluster.datanodes)
    ]
    return "".join(
        f"{name}\t{rack}  # as it is in the hall\n" for name, rack in zip(names, racks, strict=True)
    )


def test_a_topology_file_counts_more_than_the_datanodes_and_can_be_read_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "topology"

    async def racks_of(client: Client) -> list[str]:
        report = await client.report()
        by_address = {datanode.address: datanode.rack for datanode in report.datanodes}
        return [by_address[datanode.address] for datanode in cluster.datanodes]

    async def run() -> None:
        async with cluster.ready() as client:
            assert await racks_of(client) == ["/one"] * 4
            await write_files(client)
            file.write_text(
                topology(cluster, "/one", "/one", "/two", "/two").replace("/two", "", 1)
            )
            with pytest.raises(InvalidRequest, match="line 3"):
                await client.operator.reload_topology()
            assert await racks_of(client) == ["/one"] * 4
            file.write_text(topology(cluster, "/one", "/one", "/two", "/two"))
            reloaded = await client.operator.reload_topology()
            assert (reloaded.changed, reloaded.racks) == (2, 2)
            assert await racks_of(client) == ["/one", "/one", "/two", "/two"]
            await until_spread(cluster, 3, {0, 1}, {2, 3})
            await cluster.until_healed(client)
            cluster.datanodes[3].kill()
            cluster.start()
            await cluster.until_healed(client)
            assert await racks_of(client) == ["/one", "/one", "/two", "/two"]

    cluster = cluster_of(tmp_path / "cluster", ("/a", "/b", "/c", "/d"))
    file.write_text(topology(cluster, *["/one"] * 4))
    cluster.namenode.words += ("--topology", file)
    with cluster:
        asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(None, "cannot be read"), ("a /one\nb\n", "line 2"), ("a 1\na 2", "line 2")],
)
def test_a_namenode_does_not_start_with_a_topology_file_that_is_missing_or_wrong(
    tmp_path: Path, text: str | None, wanted: str
) -> None:
    file = tmp_path / "topology"
    if text is not None:
        file.write_text(text)
    cluster = RealCluster(tmp_path / "cluster", 0)
    cluster.namenode.start("--topology", file)
    refusal = cluster.namenode.refusal()
    assert str(file) in refusal
    assert wanted in refusal


# ---------------------------------------------------------------- balancing


async def threshold(client: Client) -> float:
    """A band of one block and a half to both sides: all datanodes are on one file system."""
    capacity_bytes = max(d.capacity_bytes for d in (await client.report()).datanodes)
    return 100 * 1.5 * BLOCK_BYTES / capacity_bytes


async def add_an_empty_datanode(cluster: RealCluster, client: Client) -> None:
    cluster.datanodes.append(cluster.make_datanode(len(cluster.datanodes)))
    cluster.start()
    await cluster.until_healed(client)
    assert cluster.files_on_disk(len(cluster.datanodes) - 1) == []


async def balanced(client: Client, percent: float) -> BalanceProgress:
    """Ask until it has ended."""
    last: list[BalanceProgress] = []

    async def ask() -> bool:
        last[:] = [await client.operator.balance(percent)]
        return last[0].ended

    await eventually(ask, lambda: f"the last progress is {last}")
    return last[0]


def test_an_empty_datanode_is_filled_by_balancing(tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster.ready() as client:
            await write_files(client)
            await add_an_empty_datanode(cluster, client)
            progress = await balanced(client, await threshold(client))
            assert progress.balanced, progress
            assert progress.moved_replicas >= 6
            await cluster.until_healed(client)
            await cluster.until_disks_hold(2 * FILES)
            assert all(6 <= len(cluster.files_on_disk(index)) <= 10 for index in range(3))
            await check_files(client)

    with RealCluster(tmp_path, 2, replication="2") as cluster:
        asyncio.run(run())


def test_balancing_that_is_interrupted_leaves_every_block_as_it_should_be(tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster.ready() as client, cluster.client() as other:
            await write_files(client)
            await add_an_empty_datanode(cluster, client)
            percent = await threshold(client)

            async def something_moved() -> bool:
                return (await client.operator.balance(percent)).moved_replicas > 0

            await eventually(something_moved)
            with pytest.raises(AccessDenied):
                await other.operator.balance(percent)
            stopped = await client.operator.balance(percent, stop=True)
            assert stopped.ended
            assert not stopped.balanced
            report = await cluster.until_healed(client)
            assert is_whole(report)
            await cluster.until_disks_hold(2 * FILES)
            await check_files(client)

    # A datanode takes a block a second: some seconds pass until all is even.
    with RealCluster(tmp_path, 2, replication="2", repair_rate="1MiB") as cluster:
        asyncio.run(run())


# ---------------------------------------------------------------- the commands


def test_the_commands_tell_what_became_of_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster.ready() as client:
            await write_files(client)
            even = cluster.shell("admin", "balance", "--json")
            assert even.returncode == 0, even.stderr
            assert json.loads(even.stdout)["balanced"]
            await add_an_empty_datanode(cluster, client)
            await check_balance_command(cluster, f"{await threshold(client):.9f}%")
            await cluster.until_disks_hold(2 * FILES)

    with RealCluster(tmp_path, 2, replication="2") as cluster:
        asyncio.run(run())
        refused = cluster.shell("admin", "topology", "reload")
        assert refused.returncode == 4
        assert b"--topology" in refused.stderr
        assert cluster.shell("admin", "balance", "--threshold", "0%").returncode == 2
        cluster.namenode.kill()
        assert cluster.shell("admin", "balance", "--retry-for", "100ms").returncode == 6
        assert cluster.shell("admin", "topology", "reload", "--retry-for", "100ms").returncode == 6


async def check_balance_command(cluster: RealCluster, percent: str) -> None:
    done = await asyncio.to_thread(cluster.shell, "admin", "balance", "--threshold", percent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"balanced: ")
    assert b"under way" in done.stderr


def test_ctrl_c_ends_balancing(tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster.ready() as client:
            await write_files(client)
            await add_an_empty_datanode(cluster, client)
            percent = f"{await threshold(client):.9f}"
            child = cluster.shell.start("admin", "balance", "--json", "--threshold", percent)
            assert child.stdout is not None
            first = await asyncio.to_thread(child.stdout.readline)
            assert not json.loads(first)["ended"]
            child.send_signal(signal.SIGINT)
            _, said = await asyncio.to_thread(child.communicate)
            assert child.returncode == 130, said
            assert not (await client.operator.balance(float(percent))).ended, "nobody else asks"
            await client.operator.balance(float(percent), stop=True)
            await cluster.until_healed(client)
            await cluster.until_disks_hold(2 * FILES)

    with RealCluster(tmp_path, 2, replication="2", repair_rate="1MiB") as cluster:
        asyncio.run(run())


def test_the_topology_is_read_again_by_a_command(tmp_path: Path) -> None:
    file = tmp_path / "topology"

    async def run() -> None:
        async with cluster.ready():
            file.write_text(topology(cluster, "/one", "/two"))
            text = await asyncio.to_thread(cluster.shell.output, "admin", "topology", "reload")
            assert text == "1 datanodes are in another rack now; the file has 2\n"
            words = ("admin", "topology", "reload", "--json")
            text = await asyncio.to_thread(cluster.shell.output, *words)
            assert json.loads(text) == {"changed": 0, "racks": 2}

    cluster = cluster_of(tmp_path / "cluster", ("/a", "/b"))
    file.write_text(topology(cluster, "/one", "/one"))
    cluster.namenode.words += ("--topology", file)
    with cluster:
        asyncio.run(run())
