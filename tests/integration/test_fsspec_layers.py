"""What others put upon a filesystem: caches, mappings, archives, copies between stores."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import fsspec.generic
import numpy
import pytest

from dolmen.local_cluster import LocalCluster
from fsspec_plugin import DolmenFileSystem

CSV = b"a,b\n1,2\n" * 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=1, replication=1) as cluster:
        yield cluster


@pytest.fixture
def fs(cluster: LocalCluster) -> Iterator[DolmenFileSystem]:
    fs = cluster.filesystem()
    yield fs
    for entry in fs.ls("/", detail=False):
        fs.rm(entry, recursive=True)


@pytest.mark.parametrize("cache", ["simplecache", "filecache"])
def test_a_local_cache_may_stand_before_it(
    fs: DolmenFileSystem, cluster: LocalCluster, tmp_path: Path, cache: str
) -> None:
    fs.pipe_file("/x.csv", CSV)
    options = {cache: {"cache_storage": str(tmp_path), "check_files": True}}
    if cache == "simplecache":
        del options[cache]["check_files"]
    for _ in range(2):
        with fsspec.open(f"{cache}::{cluster.url}/x.csv", **options) as file:
            assert file.read() == CSV


def test_a_directory_is_a_mapping(fs: DolmenFileSystem, cluster: LocalCluster) -> None:
    mapping = fsspec.get_mapper(f"{cluster.url}/map")
    mapping["a/b"] = b"1"
    assert dict(fs.get_mapper("/map")) == {"a/b": b"1"}
    assert "nope" not in mapping
    with pytest.raises(KeyError):
        mapping["nope"]
    del mapping["a/b"]
    assert len(mapping) == 0


def test_an_archive_is_written_and_read(fs: DolmenFileSystem, cluster: LocalCluster) -> None:
    with fs.open("/z.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("in/a.txt", "hello")
    with fsspec.open(f"zip://in/a.txt::{cluster.url}/z.zip", "rb") as file:
        assert file.read() == b"hello"
    with fs.open("/z.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["in/a.txt"]


def test_arrays_are_saved_and_loaded(fs: DolmenFileSystem) -> None:
    array = numpy.arange(300_000).reshape(3, -1)
    with fs.open("/n.npy", "wb") as file:
        numpy.save(file, array)
    with fs.open("/n.npy") as file:
        assert numpy.array_equal(numpy.load(file), array)


def test_a_tree_is_synchronised_from_another_store(
    fs: DolmenFileSystem,
    cluster: LocalCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOLMEN_URL", cluster.url)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/2").write_bytes(b"2")
    (tmp_path / "1").write_bytes(b"1")
    fsspec.generic.rsync(f"file://{tmp_path}", f"{cluster.url}/t")
    assert fs.cat("/t", recursive=True) == {"/t/1": b"1", "/t/d/2": b"2"}


def test_a_directory_is_a_filesystem_of_its_own(
    fs: DolmenFileSystem, cluster: LocalCluster
) -> None:
    fs.pipe({"/s/1": b"1", "/s/d/2": b"2"})
    for path in ("/s", f"{cluster.url}/s"):
        inner = fsspec.filesystem("dir", fs=fs, path=path)
        assert inner.find("") == ["1", "d/2"]
        assert inner.cat("d/2") == b"2"


@pytest.mark.parametrize("cache_type", [None, "none", "readahead", "bytes", "all", "blockcache"])
def test_an_empty_file_is_empty(fs: DolmenFileSystem, cache_type: str | None) -> None:
    fs.touch("/empty")
    with fs.open("/empty", cache_type=cache_type) as file:
        assert (file.read(), file.readline(), file.peek(), list(file)) == (b"", b"", b"", [])
    assert fs.cat_file("/empty") == fs.cat_file("/empty", -5) == b""
    assert fs.read_block("/empty", 0, 10) == b""
