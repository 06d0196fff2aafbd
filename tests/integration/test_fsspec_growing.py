"""Files that grow, are cut and joined through fsspec, and through who uses it."""

import asyncio
import gc
import io
from collections.abc import Iterator
from typing import Any

import pandas
import pyarrow.fs
import pytest
from pandas.testing import assert_frame_equal

from dolmen.local_cluster import LocalCluster
from fsspec_plugin import DolmenFileSystem

DATA = bytes(range(256)) * 2000


class Interrupted(Exception):
    """What ends a `with` body in these tests."""


def forget(held: list[object]) -> None:
    held.clear()
    gc.collect()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=3, block_size="128KiB") as cluster:
        yield cluster


@pytest.fixture
def fs(cluster: LocalCluster) -> DolmenFileSystem:
    filesystem = cluster.filesystem()
    for path in filesystem.ls("/", detail=False):
        filesystem.rm(path, recursive=True)
    return filesystem


def test_appending_makes_the_file_and_then_adds_to_it(fs: DolmenFileSystem) -> None:
    for number in range(3):
        with fs.open("/d/f", "ab") as file:
            assert file.tell() == number * len(DATA)
            assert (file.mode, file.writable(), file.seekable()) == ("ab", True, False)
            file.write(DATA)
    with fs.open("/d/f", "a") as text:
        text.write("größer\n")
    assert fs.cat("/d/f") == DATA * 3 + "größer\n".encode()


def test_what_was_flushed_is_seen_and_stays(fs: DolmenFileSystem) -> None:
    def write_in_vain(mode: str, **options: Any) -> None:
        with fs.open("/f", mode, **options) as file:
            file.write(b"12345")
            file.hflush()
            file.write(b"678")
            file.hsync()
            assert fs.cat("/f").endswith(b"12345678")
            file.write(b"gone")
            raise Interrupted

    fs.pipe("/f", b"replaced")
    with pytest.raises(Interrupted):
        write_in_vain("wb", visible=True)
    assert fs.cat("/f") == b"12345678"
    with pytest.raises(Interrupted):
        write_in_vain("ab")
    assert fs.cat("/f") == b"12345678" * 2
    with fs.open("/g", "w", visible=True) as text:
        text.write("line\n")
        text.hflush()
        assert fs.cat("/g") == b"line\n"


def test_a_file_that_appears_whole_has_no_flush(fs: DolmenFileSystem) -> None:
    with fs.open("/f", "wb") as file:
        with pytest.raises(io.UnsupportedOperation, match="visible=True"):
            file.hflush()
        file.flush()
        assert not fs.exists("/f")
    with pytest.raises(io.UnsupportedOperation):
        fs.open("/f", "r+b")
    with pytest.raises(FileExistsError):
        fs.open("/f", "xb", visible=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16", "UTF32"])
def test_text_begins_with_the_mark_of_its_encoding_and_goes_on_without(
    fs: DolmenFileSystem, encoding: str
) -> None:
    for part in ("größer\n", "kleiner\n"):
        with fs.open("/f", "a", encoding=encoding, newline="\r\n") as file:
            file.write(part)
    assert fs.cat("/f") == "größer\r\nkleiner\r\n".encode(encoding)
    with fs.open("/f", "r", encoding=encoding) as file:
        assert file.read() == "größer\nkleiner\n"


def test_a_second_writer_is_refused_until_the_lease_is_recovered(fs: DolmenFileSystem) -> None:
    first = fs.open("/f", "ab")
    first.write(b"1")
    first.hflush()
    with pytest.raises(PermissionError):
        fs.open("/f", "ab")
    fs.recover_lease("/f")
    with fs.open("/f", "ab") as second:
        second.write(b"2")
    first.write(b"3")
    with pytest.raises(PermissionError, match="1 bytes, from offset 1 on"):
        first.close()
    assert fs.cat("/f") == b"12"


def test_a_file_that_nobody_closed_keeps_what_was_flushed(fs: DolmenFileSystem) -> None:
    file = fs.open("/f", "ab")
    file.write(b"flushed")
    file.hflush()
    file.write(b"lost")
    held = [file]
    del file
    with pytest.warns(ResourceWarning, match="what was not flushed is lost"):
        forget(held)
    assert fs.cat("/f") == b"flushed"


def test_in_a_transaction_nothing_is_seen_before_its_end(fs: DolmenFileSystem) -> None:
    fs.pipe("/old", b"old")

    def append_all() -> None:
        for path in ("/old", "/new"):
            with fs.open(path, "ab") as file:
                file.write(b"more")
                with pytest.raises(io.UnsupportedOperation):
                    file.hflush()
        assert fs.cat("/old") == b"old"
        assert not fs.exists("/new")

    def append_in_vain() -> None:
        with fs.transaction:
            append_all()
            raise Interrupted

    with pytest.raises(Interrupted):
        append_in_vain()
    assert fs.cat("/", recursive=True) == {"/old": b"old"}
    with fs.transaction:
        append_all()
        with pytest.raises(ValueError, match="visible"):
            fs.open("/f", "wb", visible=True)
    assert fs.cat("/", recursive=True) == {"/old": b"oldmore", "/new": b"more"}


def test_files_are_cut_and_joined(fs: DolmenFileSystem) -> None:
    for name in "abc":
        fs.pipe(f"/{name}", DATA)
    fs.truncate("/a", 200_000)
    assert fs.cat("/a") == DATA[:200_000]
    with pytest.raises(ValueError, match="200000 bytes"):
        fs.truncate("/a", 200_001)
    fs.concat("/a", ["/b", fs.unstrip_protocol("/c")])
    assert fs.cat("/a") == DATA[:200_000] + DATA * 2
    assert fs.ls("/", detail=False) == ["/a"]
    fs.truncate("/a", 0)
    assert fs.cat("/a") == b""
    with pytest.raises(FileNotFoundError):
        fs.truncate("/b", 0)
    with pytest.raises(FileNotFoundError):
        fs.concat("/a", ["/b"])


def test_compressed_files_are_appended_to_member_by_member(fs: DolmenFileSystem) -> None:
    for name in ("f.gz", "f.bz2", "f.xz"):
        for line in ("one\n", "two\n"):
            with fs.open(f"/{name}", "at", compression="infer", encoding="utf-16") as file:
                file.write(line)
        with fs.open(f"/{name}", "rt", compression="infer", encoding="utf-16") as file:
            assert file.read() == "one\ntwo\n"
    with pytest.raises(io.UnsupportedOperation, match="zip"):
        fs.open("/f.zip", "ab", compression="infer")
    assert not fs.exists("/f.zip")


def test_coroutines_append_and_flush(fs: DolmenFileSystem) -> None:
    twin = DolmenFileSystem(fs.host, fs.port, asynchronous=True)

    async def main() -> None:
        async with await twin.open_async("/f", "ab") as file:
            assert await file.write(memoryview(b"one").cast("B", (1, 3))) == 3
            await file.hflush()
            assert await twin._cat_file("/f") == b"one"
        async with await twin.open_async("/f", "ab") as file:
            assert file.tell() == 3
            await file.write(b"two")
        assert await twin._cat_file("/f") == b"onetwo"
        await twin.aclose()

    asyncio.run(main())


def test_pandas_appends_to_csv(cluster: LocalCluster) -> None:
    frame = pandas.DataFrame({"a": range(1000), "b": "text"})
    url = f"{cluster.url}/appended.csv"
    frame[:400].to_csv(url, index=False)
    frame[400:].to_csv(url, mode="a", index=False, header=False)
    assert_frame_equal(pandas.read_csv(url), frame)


def test_pyarrow_appends(cluster: LocalCluster) -> None:
    handler = pyarrow.fs.FSSpecHandler(cluster.filesystem())
    filesystem = pyarrow.fs.PyFileSystem(handler)
    for _ in range(2):
        with filesystem.open_append_stream("/arrow") as stream:
            stream.write(DATA)
    assert cluster.filesystem().cat("/arrow") == DATA * 2
