"""A cluster in this process: it starts, is hurt, comes back, and leaves nothing behind."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dolmen.client import Client, ClientOptions
from dolmen.client.url import parse_location
from dolmen.local_cluster import LocalCluster
from dolmen.protocol.errors import StartRefused
from dolmen.runtime.real_machine import real_machine
from dolmen.runtime.setting import SettingsError

CONTENT = os.urandom(300_000)


def write(cluster: LocalCluster, path: str, content: bytes) -> None:
    async def work() -> None:
        async with connect(cluster) as client:
            await client.write_file(path, content)

    asyncio.run(work())


def read(cluster: LocalCluster, path: str) -> bytes:
    async def work() -> bytes:
        async with connect(cluster) as client:
            return await client.read_file(path)

    return asyncio.run(work())


def connect(cluster: LocalCluster) -> Client:
    address = parse_location(cluster.url).address
    assert address is not None
    return Client(real_machine(), ClientOptions(namenode=address))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.02)


def test_it_is_ready_when_it_is_entered_with_each_datanode_on_a_host_of_its_own() -> None:
    with LocalCluster(datanodes=3) as cluster:
        report = cluster.report()
        assert report.live_datanodes == 3
        assert not report.safe_mode
        hosts = sorted(datanode.host for datanode in report.datanodes)
        assert hosts == ["datanode-0", "datanode-1", "datanode-2"]


def test_nothing_is_left_behind() -> None:
    threads, descriptors = threading.active_count(), open_descriptors()
    with LocalCluster(datanodes=2) as cluster:
        root = cluster.root
        write(cluster, "/x", CONTENT)
        cluster.kill_datanode(0)
        address = parse_location(cluster.url).address
    assert not root.exists()
    assert threading.active_count() == threads
    assert open_descriptors() <= descriptors
    assert address is not None
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def test_an_end_while_deleted_trees_are_reclaimed_warns_of_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def delete_trees(cluster: LocalCluster) -> None:
        async with connect(cluster) as client:
            for number in range(20):
                await asyncio.gather(
                    *(client.make_directory(f"/t/{part}", parents=True) for part in range(number))
                )
                await client.make_directory("/t", exist_ok=True)
                await client.delete("/t", recursive=True)

    with LocalCluster(datanodes=1, delete_after="10ms") as cluster:
        asyncio.run(delete_trees(cluster))
    assert [line.getMessage() for line in caplog.records if line.levelname == "WARNING"] == []


def test_an_error_inside_still_cleans_up() -> None:
    cluster = LocalCluster(datanodes=1)
    roots = []

    def use() -> None:
        with cluster:
            roots.append(cluster.root)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert not roots[0].exists()


def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "namenode").mkdir()
    (tmp_path / "namenode" / "letter").write_text("not a namenode's")
    threads = threading.active_count()
    cluster = LocalCluster(datanodes=1, root=tmp_path)
    with pytest.raises(StartRefused, match="namenode"):
        cluster.start()
    assert threading.active_count() == threads


def test_data_survives_the_death_of_a_datanode_and_its_return() -> None:
    with LocalCluster(datanodes=3, block_size="64KiB", dead_after="1min") as cluster:
        write(cluster, "/x", CONTENT)
        cluster.kill_datanode(1)
        assert read(cluster, "/x") == CONTENT
        assert cluster.report().live_datanodes == 2
        cluster.restart_datanode(1)
        wait_until(lambda: cluster.report().live_datanodes == 3)
        assert len(cluster.report().datanodes) == 3


def test_data_survives_the_death_of_the_namenode_at_the_same_url() -> None:
    with LocalCluster(datanodes=2, block_size="64KiB") as cluster:
        url = cluster.url
        write(cluster, "/x", CONTENT)
        cluster.kill_namenode()
        cluster.restart_namenode()
        assert cluster.url == url
        assert read(cluster, "/x") == CONTENT


def test_a_root_that_is_given_keeps_its_data(tmp_path: Path) -> None:
    with LocalCluster(datanodes=2, root=tmp_path, block_size=65536) as cluster:
        write(cluster, "/x", CONTENT)
    with LocalCluster(datanodes=2, root=tmp_path) as cluster:
        assert read(cluster, "/x") == CONTENT
    assert (tmp_path / "datanode-0" / "volumes" / "0" / "finalized").is_dir()


def test_it_works_where_a_loop_is_running_as_in_a_notebook() -> None:
    async def cell() -> int:
        with LocalCluster(datanodes=1) as cluster:
            return cluster.report().live_datanodes

    assert asyncio.run(cell()) == 1


def test_replication_and_other_settings_are_the_clusters() -> None:
    with LocalCluster(datanodes=2, replication=2, heartbeat_interval="50ms") as cluster:
        write(cluster, "/x", b"x")
        assert cluster.report().under_replicated_blocks == 0


def test_its_datanodes_are_in_as_many_racks_as_asked_for() -> None:
    with LocalCluster(datanodes=3, racks=2) as cluster:
        racks = sorted(datanode.rack for datanode in cluster.report().datanodes)
        assert racks == ["/rack-0", "/rack-0", "/rack-1"]
    with pytest.raises(ValueError, match="racks"):
        LocalCluster(datanodes=2, racks=3)


def test_its_filesystem_reads_what_was_written() -> None:
    with LocalCluster(datanodes=1) as cluster:
        filesystem = cluster.filesystem()
        filesystem.pipe_file("/d/x", CONTENT)
        assert filesystem.find("/") == ["/d/x"]
        assert read(cluster, "/d/x") == CONTENT


@pytest.mark.parametrize("settings", [{"unknown": 1}, {"block_size": "1"}, {"dead_after": "soon"}])
def test_a_wrong_setting_is_told_before_anything_starts(settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        LocalCluster(**settings)  # type: ignore[arg-type]


def test_what_does_not_run_says_so() -> None:
    cluster = LocalCluster()
    with pytest.raises(RuntimeError, match="context manager"):
        cluster.report()
    with pytest.raises(RuntimeError, match="context manager"):
        _ = cluster.url
    cluster.stop()
    with LocalCluster(datanodes=1) as running, pytest.raises(IndexError):
        running.kill_datanode(1)
