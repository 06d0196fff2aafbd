"""Names and bytes through fsspec on a real cluster: what each method means, and how it refuses."""

import errno
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from fsspec.callbacks import Callback
from fsspec.core import url_to_fs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dolmen.local_cluster import LocalCluster
from fsspec_plugin import DolmenFileSystem


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=2, replication=2, block_size="1MiB") as cluster:
        yield cluster


@pytest.fixture
def fs(cluster: LocalCluster) -> Iterator[DolmenFileSystem]:
    fs = cluster.filesystem()
    yield fs
    for entry in fs.ls("/", detail=False):
        fs.rm(entry, recursive=True)


def test_answers_have_the_form_of_the_question(fs: DolmenFileSystem) -> None:
    fs.pipe_file("/t/a/x", b"1")
    fs.pipe_file("/t/b", b"22")
    own = fs.authority
    assert fs.find("/t") == ["/t/a/x", "/t/b"]
    assert fs.find(f"{own}/t") == fs.find(f"dolmen://{own}/t") == [f"{own}/t/a/x", f"{own}/t/b"]
    assert fs.ls("/t", detail=False) == ["/t/a", "/t/b"]
    assert fs.ls(f"{own}/t", detail=False) == [f"{own}/t/a", f"{own}/t/b"]
    assert fs.ls("/t/b", detail=False) == ["/t/b"]
    assert fs.info(f"dolmen://{own}/t/b")["name"] == f"{own}/t/b"
    assert fs.info(f"dolmen://{own}")["name"] == own
    assert fs.info("/")["name"] == "/"
    assert fs.glob("/t/*") == ["/t/a", "/t/b"]
    assert fs.glob(f"dolmen://{own}/t/**/x") == [f"{own}/t/a/x"]
    assert list(fs.walk("/t")) == [("/t", ["a"], ["b"]), ("/t/a", [], ["x"])]
    assert next(fs.walk(f"{own}/t"))[0] == f"{own}/t"
    assert fs.ls("", detail=False) == ["/t"]


def test_a_foreign_authority_and_a_relative_path_are_refused(fs: DolmenFileSystem) -> None:
    for path in ("dolmen://elsewhere:1/t", "elsewhere:1/t", "t/a", "t", "*.csv"):
        with pytest.raises(ValueError, match="'dolmen"):
            fs.find(path)
    with pytest.raises(ValueError, match=f"'/data/x' or 'dolmen://{fs.authority}/data/x'"):
        fs.open("data/x", "wb")
    with pytest.raises(ValueError, match="relative"):
        fs.glob("t/*")


def test_info_has_what_users_of_files_ask_for(fs: DolmenFileSystem) -> None:
    before = time.time()
    fs.pipe_file("/f", b"12345")
    info = fs.info("/f")
    assert (info["size"], info["type"], info["replication"]) == (5, "file", 2)
    assert before - 1 < info["created"] <= info["mtime"] < time.time() + 1
    assert info == fs.ls("/")[0] == fs.find("/", detail=True)["/f"]
    assert fs.modified("/f") == datetime.fromtimestamp(info["mtime"], UTC)
    assert fs.created("/f").tzinfo is not None
    assert (fs.size("/f"), fs.isfile("/f"), fs.isdir("/f")) == (5, True, False)


def test_only_a_missing_path_means_no(fs: DolmenFileSystem) -> None:
    fs.pipe_file("/f", b"")
    for path in ("/nope", "/f/below"):
        assert not fs.exists(path)
        assert not fs.isdir(path)
        assert not fs.isfile(path)
        assert fs.find(path) == fs.glob(path) == []
        assert fs.du(path) == 0
        assert list(fs.walk(path)) == [(path, [], [])]
    with pytest.raises(FileNotFoundError) as caught:
        fs.info("/nope")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == "/nope"
    with pytest.raises(FileNotFoundError):
        list(fs.walk("/nope", on_error="raise"))
    with pytest.raises(FileNotFoundError):
        fs.ls("/nope")


def test_find_descends_as_far_as_it_is_told(fs: DolmenFileSystem) -> None:
    for path in ("/t/a.txt", "/t/a/x", "/t/a/deep/y", "/t/ab"):
        fs.pipe_file(path, b"123")
    assert fs.find("/t") == ["/t/a.txt", "/t/a/deep/y", "/t/a/x", "/t/ab"]
    assert fs.find("/t", maxdepth=1) == ["/t/a.txt", "/t/ab"]
    assert fs.find("/t", maxdepth=1, withdirs=True) == ["/t", "/t/a", "/t/a.txt", "/t/ab"]
    assert fs.find("/t", prefix="a.") == ["/t/a.txt"]
    assert fs.find("/t/ab") == ["/t/ab"]
    assert fs.du("/t") == 12
    assert fs.du("/t", total=False, maxdepth=1) == {"/t/a.txt": 3, "/t/ab": 3}
    with pytest.raises(ValueError, match="maxdepth"):
        fs.find("/t", maxdepth=0)


def test_a_caller_of_walk_may_take_directories_out(fs: DolmenFileSystem) -> None:
    fs.pipe({"/t/a/x": b"", "/t/b/y": b"", "/t/z": b""})
    seen = []
    for path, directories, _ in fs.walk("/t"):
        seen.append(path)
        if "a" in directories:
            directories.remove("a")
    assert seen == ["/t", "/t/b"]
    assert [path for path, _, _ in fs.walk("/t", topdown=False)] == ["/t/a", "/t/b", "/t"]


def test_cat_file_takes_a_slice(fs: DolmenFileSystem) -> None:
    data = bytes(range(256)) * 10_000
    fs.pipe_file("/f", data)
    for start, end in [
        (0, 5),
        (None, None),
        (-7, None),
        (5, 2),
        (None, -3),
        (-9, -4),
        (10**9, None),
    ]:
        assert fs.cat_file("/f", start, end) == data[start:end]
    assert fs.head("/f", 10) == data[:10]
    assert fs.tail("/f", 10) == data[-10:]
    assert fs.cat(["/f"]) == {"/f": data}
    with pytest.raises(IsADirectoryError):
        fs.cat_file("/")


def test_cat_ranges_puts_errors_in_their_place(fs: DolmenFileSystem) -> None:
    data = bytes(range(256)) * 10
    fs.pipe_file("/f", data)
    got = fs.cat_ranges(
        ["/f", "/nope", "/f", "/f"], [0, 0, 100, -5], [10, 10, 90, None], max_gap=64
    )
    assert got[0] == data[:10]
    assert isinstance(got[1], FileNotFoundError)
    assert got[2:] == [b"", data[-5:]]
    assert fs.cat_ranges(["/f", "/f"], 3, [5, 9]) == [data[3:5], data[3:9]]
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["/nope"], 0, 1, on_error="raise")


def test_files_go_to_the_local_disk_and_back(fs: DolmenFileSystem, tmp_path: Path) -> None:
    data = bytes(range(251)) * 30_000
    (tmp_path / "in").write_bytes(data)
    told = Callback()
    fs.put_file(str(tmp_path / "in"), "/new/dir/f", callback=told)
    assert (told.size, told.value) == (len(data), len(data))
    fs.get_file("/new/dir/f", str(tmp_path / "sub/out"))
    assert (tmp_path / "sub/out").read_bytes() == data
    with pytest.raises(FileNotFoundError):
        fs.get_file("/nope", str(tmp_path / "kept"))
    with pytest.raises(FileExistsError):
        fs.put_file(str(tmp_path / "in"), "/new/dir/f", mode="create")
    fs.get("/new", str(tmp_path / "tree"), recursive=True)
    assert (tmp_path / "tree/dir/f").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "sub", "tree"]
    fs.cp("/new/dir/f", "/copy")
    assert fs.info("/copy")["checksum"] == fs.info("/new/dir/f")["checksum"]


def test_mv_renames_and_moves_into_directories(fs: DolmenFileSystem) -> None:
    fs.pipe({"/t/f": b"new", "/t/old": b"old", "/d/x": b""})
    inode = fs.info("/t/f")["ino"]
    fs.mv("/t/f", "/t/old")
    assert fs.cat_file("/t/old") == b"new"
    fs.mv("/t/old", "/d")
    fs.mv("/d/old", "/made/of/parents")
    assert fs.info("/made/of/parents")["ino"] == inode
    fs.mv("/d", "/made/")
    assert fs.find("/made") == ["/made/d/x", "/made/of/parents"]
    with pytest.raises(ValueError, match="/made") as caught:
        fs.mv("/made", "/made/d/y")
    assert isinstance(caught.value, OSError)
    with pytest.raises(FileNotFoundError):
        fs.mv("/nope", "/x")
    fs.pipe({"/s/1.csv": b"", "/s/2.csv": b""})
    fs.mv("/s/*.csv", "/t")
    assert fs.find("/t") == ["/t/1.csv", "/t/2.csv"]


def test_rm_needs_recursive_for_what_is_not_empty(fs: DolmenFileSystem) -> None:
    fs.pipe({"/t/a/x": b"", "/t/b": b"", "/u": b""})
    with pytest.raises(OSError, match="/t") as caught:
        fs.rm("/t")
    assert caught.value.errno == errno.ENOTEMPTY
    with pytest.raises(IsADirectoryError):
        fs.rm_file("/t")
    with pytest.raises(NotADirectoryError):
        fs.rmdir("/u")
    fs.rm(["/t", "/t/a", "/u"], recursive=True)
    assert fs.find("/", withdirs=True) == ["/"]
    with pytest.raises(FileNotFoundError):
        fs.rm("/t", recursive=True)
    with pytest.raises(ValueError, match="root"):
        fs.rm("/", recursive=True)
    fs.pipe({"/t/a/x": b"", "/t/b": b""})
    fs.rm("/t", recursive=True, maxdepth=1)
    assert fs.find("/t") == ["/t/a/x"]


def test_directories_are_made_as_asked(fs: DolmenFileSystem) -> None:
    with pytest.raises(FileNotFoundError):
        fs.mkdir("/a/b", create_parents=False)
    fs.mkdir("/a/b", mode=0o700)
    assert fs.info("/a/b")["mode"] == 0o700
    with pytest.raises(FileExistsError):
        fs.mkdir("/a/b")
    with pytest.raises(FileExistsError):
        fs.makedirs("/a/b")
    fs.makedirs("/a/b", exist_ok=True)
    fs.pipe_file("/f", b"")
    with pytest.raises(FileExistsError):
        fs.makedirs("/f", exist_ok=True)
    with pytest.raises(NotADirectoryError):
        fs.pipe_file("/f/below", b"")
    with pytest.raises(IsADirectoryError):
        fs.pipe_file("/a", b"")
    fs.rmdir("/a/b")
    assert fs.ls("/a") == []


def test_touch_and_attributes(fs: DolmenFileSystem) -> None:
    fs.touch("/new/f")
    fs.pipe_file("/new/f", b"kept")
    key, number = fs.ukey("/new/f"), fs.checksum("/new/f")
    assert (fs.ukey("/new/f"), fs.checksum("/new/f")) == (key, number)
    fs.touch("/new/f", truncate=False)
    assert fs.cat_file("/new/f") == b"kept"
    assert (fs.ukey("/new/f"), fs.checksum("/new/f")) != (key, number)
    fs.touch("/new/g", truncate=False)
    fs.touch("/new/f")
    assert fs.cat_file("/new/f") == fs.cat_file("/new/g") == b""
    fs.set_replication("/new/f", 1)
    fs.chmod("/new/f", 0o600)
    fs.chown("/new/f", owner="somebody")
    info = fs.info("/new/f")
    assert (info["replication"], info["mode"], info["owner"]) == (1, 0o600, "somebody")
    assert fs.fsid.startswith("dolmen-")


NAMES = st.text(
    st.one_of(st.sampled_from(" %#?;[]*&=+~"), st.characters(exclude_categories=("Cs", "Cc"))),
    min_size=1,
    max_size=20,
).filter(lambda name: "/" not in name and "::" not in name and name not in (".", ".."))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_any_name_goes_through_a_url_and_back(fs: DolmenFileSystem, name: str) -> None:
    path = f"{fs.authority}/any/{name}"
    fs.pipe_file(path, name.encode())
    url = fs.unstrip_protocol(path)
    same, again = url_to_fs(url)
    assert again == path
    assert same is fs
    with fsspec.open(url, "rb", expand=False) as file:
        assert file.read() == name.encode()
    assert fs.cat(path) == name.encode()
    assert path in fs.glob(path)
    fs.rm(path)
    assert fs.find("/any") == []


def test_a_namenode_that_is_not_there_is_an_error_soon() -> None:
    with LocalCluster(datanodes=1, replication=1) as gone:
        url = gone.url
    fs, path = url_to_fs(f"{url}/x", skip_instance_cache=True)

    def refused(ask: Callable[[str], object]) -> bool:
        with pytest.raises(ConnectionError, match=fs.authority):
            ask(path)
        return True

    asks = [fs.exists, fs.isdir, fs.isfile, fs.find, fs.glob, fs.du, fs.ls, fs.open, fs.touch]
    started = time.monotonic()
    with ThreadPoolExecutor(len(asks)) as pool:
        assert all(pool.map(refused, asks))
    assert time.monotonic() - started < 30  # not the minute for one that was there
