"""What users of files notice when processes of the cluster die: a delay, and no wrong byte."""

import random
from collections.abc import Iterator

import pytest

from dolmen.local_cluster import LocalCluster
from fsspec_plugin import DolmenFileSystem

DATA = random.Random(1).randbytes(12_000_000)


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        datanodes=4, replication=2, block_size="1MiB", inline_limit="0B", dead_after="4s"
    ) as cluster:
        yield cluster


@pytest.fixture
def fs(cluster: LocalCluster) -> DolmenFileSystem:
    return cluster.filesystem()


def test_a_datanode_may_die_while_a_file_is_read(
    cluster: LocalCluster, fs: DolmenFileSystem
) -> None:
    fs.pipe_file("/f", DATA)
    with fs.open("/f") as file:
        parts = [file.read(1_000_000) for _ in range(3)]
        cluster.kill_datanode(0)
        parts += list(iter(lambda: file.read(1_000_000), b""))
    assert b"".join(parts) == DATA
    assert fs.cat_file("/f") == DATA


def test_a_datanode_may_die_while_a_file_is_written(
    cluster: LocalCluster, fs: DolmenFileSystem
) -> None:
    with fs.open("/f", "wb") as file:
        for start in range(0, len(DATA), 500_000):
            if start == 3_000_000:
                cluster.kill_datanode(1)
            file.write(DATA[start : start + 500_000])
    assert fs.cat_file("/f") == DATA


def test_a_restart_of_the_namenode_is_a_pause(cluster: LocalCluster, fs: DolmenFileSystem) -> None:
    fs.pipe_file("/old", DATA)
    with fs.open("/old") as reading, fs.open("/new", "wb") as writing:
        writing.write(reading.read(5_000_000))
        cluster.kill_namenode()
        cluster.restart_namenode()
        writing.write(reading.read())
    assert fs.cat_file("/new") == DATA
    assert fs.find("/") == ["/new", "/old"]


def test_a_file_that_cannot_be_made_durable_is_an_error_and_does_not_appear(
    cluster: LocalCluster,
) -> None:
    fs = DolmenFileSystem(cluster.filesystem().host, cluster.filesystem().port, retry_for="1s")
    fs.pipe_file("/f", b"before")
    for index in range(4):
        cluster.kill_datanode(index)
    file = fs.open("/f", "wb")
    file.write(DATA[:100])
    with pytest.raises(OSError, match="datanodes"):
        file.close()
    file.close()
    assert fs.info("/f")["size"] == len(b"before")
    with pytest.raises(OSError, match="/f"):
        fs.cat_file("/f")
