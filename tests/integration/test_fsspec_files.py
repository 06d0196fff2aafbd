"""Open files on a real cluster: whole or not at all, pinned, layered, and used by many threads."""

import gc
import gzip
import io
import pickle
import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import fsspec
import pandas
import pytest

from dolmen.local_cluster import LocalCluster
from fsspec_plugin import DolmenFileSystem

DATA = random.Random(1).randbytes(5_000_000)


class Interrupted(Exception):
    """What a body raises."""


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


def test_a_file_appears_when_it_is_closed(fs: DolmenFileSystem) -> None:
    file = fs.open("/new/dir/f", "wb")
    for start in range(0, len(DATA), 70_001):
        assert file.write(DATA[start : start + 70_001]) == len(DATA[start : start + 70_001])
    file.flush()
    assert file.tell() == len(DATA)
    assert not fs.exists("/new")
    file.close()
    file.close()
    assert fs.cat_file("/new/dir/f") == DATA
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


def leave_early(opened: Any, data: Any) -> None:
    with opened as file:
        file.write(data)
        raise Interrupted


def test_a_body_that_raises_publishes_nothing(fs: DolmenFileSystem) -> None:
    fs.pipe_file("/f.gz", b"before")
    url = fs.unstrip_protocol("/f.gz")
    for opened, data in [
        (fs.open("/f.gz", "wb"), DATA),
        (fs.open("/f.gz", "w"), "half"),
        (fs.open("/f.gz", "wt", compression="gzip"), "half"),
        (fsspec.open(url, "wb"), DATA),
        (fsspec.open(url, "w"), "half"),
        (fsspec.open(url, "w", compression="infer"), "half"),
        (closing(fs.open("/f.gz", "wb")), DATA),
    ]:
        with pytest.raises(Interrupted):
            leave_early(opened, data)
    assert fs.find("/") == ["/f.gz"]
    assert fs.cat_file("/f.gz") == b"before"


def test_pandas_publishes_nothing_of_a_table_it_cannot_write(fs: DolmenFileSystem) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise Interrupted

    frame = pandas.DataFrame({"a": [*range(200_000), Unprintable()]}, dtype=object)
    fs.pipe_file("/f.csv", b"before")
    with pytest.raises(Interrupted):
        frame.to_csv(fs.unstrip_protocol("/f.csv"))
    assert fs.cat_file("/f.csv") == b"before"


def test_an_exception_that_is_being_handled_does_not_keep_a_file_back(
    fs: DolmenFileSystem,
) -> None:
    try:
        raise Interrupted
    except Interrupted:
        with fsspec.open(fs.unstrip_protocol("/report"), "w") as file:
            file.write("what went wrong")
    assert fs.read_text("/report") == "what went wrong"


def forget(held: list[Any]) -> None:
    held.clear()
    gc.collect()  # some compressors refer to themselves


def test_a_file_that_nobody_closed_is_dropped(fs: DolmenFileSystem) -> None:
    fs.open("/kept", "wb").close()
    ways: list[dict[str, Any]] = [{"mode": "wb"}, {"mode": "w"}]
    for options in (*ways, {"mode": "wb", "compression": "gzip"}):
        file = fs.open("/f", **options)
        file.write("x" * 3_000_000 if options["mode"] == "w" else b"x" * 3_000_000)
        held = [file]
        del file
        with pytest.warns(ResourceWarning, match="/f was never closed"):
            forget(held)
    assert fs.find("/") == ["/kept"]


def test_of_two_writers_of_one_path_the_last_close_wins(fs: DolmenFileSystem) -> None:
    first, second = fs.open("/f", "wb"), fs.open("/f", "wb")
    first.write(b"first" * 300_000)
    second.write(b"second")
    second.close()
    assert fs.cat_file("/f") == b"second"
    first.close()
    assert fs.cat_file("/f") == b"first" * 300_000


def test_an_exclusive_file_is_refused_at_open_and_decided_at_close(fs: DolmenFileSystem) -> None:
    slow, fast = fs.open("/f", "xb"), fs.open("/f", "xb")
    slow.write(b"slow")
    fast.write(b"fast")
    fast.close()
    with pytest.raises(FileExistsError):
        slow.close()
    slow.close()
    with pytest.raises(FileExistsError):
        fs.open("/f", "xb")
    with pytest.raises(FileExistsError):
        fs.open("/f", "x")
    assert fs.cat_file("/f") == b"fast"


def test_what_cannot_be_opened_is_refused_at_once(fs: DolmenFileSystem) -> None:
    fs.mkdir("/d")
    for mode in ("rb", "wb"):
        with pytest.raises(IsADirectoryError):
            fs.open("/d", mode)
    with pytest.raises(FileNotFoundError):
        fs.open("/nope")
    for mode in ("a+b", "a+", "rb+", "r+b"):
        with pytest.raises(io.UnsupportedOperation):
            fs.open("/f", mode)
    for mode in ("q", "rwb", ""):
        with pytest.raises(ValueError, match="mode"):
            fs.open("/f", mode)
    in_words: Any = "1MB"
    with pytest.raises(ValueError, match="block_size"):
        fs.open("/f", "wb", block_size=in_words)
    with pytest.raises(ValueError, match="cache"):
        fs.open("/f", cache_type="nonsense")


def test_a_reader_keeps_to_the_file_it_opened(fs: DolmenFileSystem) -> None:
    fs.pipe_file("/f", DATA)
    with fs.open("/f") as file:
        assert file.read(100) == DATA[:100]
        fs.pipe_file("/f", b"short")
        assert file.read() == DATA[100:]
        assert (file.size, file.info()["size"]) == (len(DATA), len(DATA))


def test_text_and_compression_go_both_ways(fs: DolmenFileSystem) -> None:
    text = "größer\nkleiner\r\n" * 50_000
    layers: list[dict[str, Any]] = [{}, *({"compression": one} for one in ("gzip", "infer", "xz"))]
    for options in layers:
        with fs.open("/f.bz2", "w", newline="", **options) as file:
            file.write(text)
        with fs.open("/f.bz2", "r", newline="", **options) as file:
            assert file.readline() == "größer\n"
            assert "größer\n" + file.read() == text
    with fs.open("/f.gz", "wb", compression="gzip") as file:
        file.write(DATA)
    assert gzip.decompress(fs.cat_file("/f.gz")) == DATA
    files = fsspec.open_files(fs.unstrip_protocol("/*.gz"), "rb", compression="infer")
    with files as opened:
        assert [one.read() for one in opened] == [DATA]


def test_a_file_reads_as_python_files_do(fs: DolmenFileSystem) -> None:
    lines = [bytes([65 + index % 26]) * (index % 97) + b"\n" for index in range(60_000)]
    data = b"".join(lines)
    fs.pipe_file("/f", data)
    with fs.open("/f") as file, io.BytesIO(data) as like:
        assert list(file) == lines
        file.seek(0)
        assert file.readlines(1000) == like.readlines(1000)
        assert file.readline(5) == like.readline(5)
        assert file.tell() == like.tell()
        assert file.seek(-10, 2) == like.seek(-10, 2)
        assert (file.read(), file.read(5), file.readline()) == (like.read(), b"", b"")
        assert file.seek(10**9) == 10**9
        assert file.read() == b""
        file.seek(7)
        assert file.peek(3)[:3] == data[7:10]
        assert file.read1(50) == data[7:57]
        into = bytearray(2_000_000)
        assert file.readinto(into) == 2_000_000
        assert into == data[57 : 57 + 2_000_000]
        assert file.readuntil(b"CC\n") == data[2_000_057 : data.index(b"CC\n", 2_000_057) + 3]
        with pytest.raises(ValueError, match="before the start"):
            file.seek(-1)
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"")
        assert (file.readable(), file.writable(), file.mode, file.name) == (True, False, "rb", "/f")
        again = pickle.loads(pickle.dumps(file))
        assert again.tell() == file.tell()
        assert again.read(1000) == file.read(1000)
        again.close()


@pytest.mark.parametrize("cache_type", ["none", "readahead", "bytes", "blockcache", "all"])
def test_the_caches_of_fsspec_can_be_asked_for(fs: DolmenFileSystem, cache_type: str) -> None:
    fs.pipe_file("/f", DATA)
    chance = random.Random(2)
    with fs.open("/f", cache_type=cache_type, block_size=100_000) as file:
        for _ in range(20):
            start, length = chance.randrange(len(DATA)), chance.randrange(300_000)
            file.seek(start)
            assert file.read(length) == DATA[start : start + length]


def test_threads_that_seek_and_read_on_one_handle_get_their_own_bytes(
    fs: DolmenFileSystem,
) -> None:
    fs.pipe_file("/f", DATA)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with fs.open("/f") as file, ThreadPoolExecutor(8) as pool:

            def read(seed: int) -> bool:
                chance = random.Random(seed)
                for _ in range(40):
                    start, length = chance.randrange(len(DATA)), chance.randrange(100_000)
                    file.seek(start)
                    if file.read(length) != DATA[start : start + length]:
                        return False
                return True

            assert all(pool.map(read, range(8)))
    finally:
        sys.setswitchinterval(interval)


def test_a_transaction_publishes_all_at_its_end_or_nothing(fs: DolmenFileSystem) -> None:
    def write_all() -> None:
        with fs.open("/t/opened", "wb") as file:
            file.write(DATA)
        fs.pipe_file("/t/piped", b"piped")
        with fs.open("/t/text", "w") as file:
            file.write("text")
        assert fs.find("/t") == []

    def write_all_in_vain() -> None:
        with fs.transaction:
            write_all()
            raise Interrupted

    with pytest.raises(Interrupted):
        write_all_in_vain()
    assert fs.find("/t") == []
    with fs.transaction:
        write_all()
    assert fs.find("/t") == ["/t/opened", "/t/piped", "/t/text"]
    assert fs.cat("/t/opened") == DATA
    fs.pipe_file("/after", b"at once")
    assert fs.exists("/after")
    with fs.transaction:
        with pytest.raises(Interrupted):
            leave_early(fs.open("/t/given_up", "wb"), DATA)
        fs.pipe_file("/t/kept", b"kept")
    assert fs.find("/t") == ["/t/kept", "/t/opened", "/t/piped", "/t/text"]


def test_writers_from_many_threads_do_not_mix(fs: DolmenFileSystem) -> None:
    def write(index: int) -> None:
        with fs.open(f"/many/{index}", "wb") as file:
            for _ in range(30):
                file.write(bytes([index]) * 50_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    found = fs.cat("/many", recursive=True)
    assert found == {f"/many/{index}": bytes([index]) * 1_500_000 for index in range(16)}


def test_a_handle_says_what_it_is(fs: DolmenFileSystem) -> None:
    with fs.open("/f", "wb") as file:
        assert (file.mode, file.writable(), file.readable(), file.seekable()) == (
            "wb", True, False, False,
        )  # fmt: skip
        with pytest.raises(io.UnsupportedOperation):
            file.read()
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(file)
        assert fs.unstrip_protocol("/f") == file.full_name
    with fs.open("/f", replication=1, block_size=64 * 1024, mode="wb") as file:
        file.write(memoryview(bytearray(range(200))).cast("H"))
    info: dict[str, Any] = fs.info("/f")
    assert (info["replication"], info["block_size"], info["size"]) == (1, 65536, 200)
    assert threading.active_count() < 100
