"""What only the disk on threads can get wrong: descriptors, locks of processes, the page cache."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dolmen.protocol.errors import StartRefused
from dolmen.runtime.thread_disk import INLINE_READ_BYTES, ThreadDisk

HOLD_THE_LOCK = """
import sys
from dolmen.runtime.thread_disk import ThreadDisk
lock = ThreadDisk().lock_directory(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not walked


def test_the_lock_of_another_process_names_it_and_ends_with_it(tmp_path: Path) -> None:
    disk = ThreadDisk()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(StartRefused, match=f"{tmp_path} is in use by process {other.pid}$"):
            disk.lock_directory(str(tmp_path))
        other.kill()
        other.wait()
    disk.lock_directory(str(tmp_path)).release()
    disk.close()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    async def use() -> None:
        disk = ThreadDisk()
        path = str(tmp_path / "a")
        await disk.write_file(path, b"data")
        await disk.make_directories(str(tmp_path / "x/y"))
        file = await disk.open(path)
        writing = asyncio.create_task(file.write_at(0, b"more"))
        await asyncio.sleep(0)
        await file.close()
        await writing
        opening = asyncio.create_task(disk.open(path))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        with pytest.raises(FileNotFoundError):
            await disk.write_file(str(tmp_path / "nowhere" / "a"), b"data")
        lock = disk.lock_directory(str(tmp_path))
        with pytest.raises(StartRefused):
            disk.lock_directory(str(tmp_path))
        lock.release()
        for _ in range(8):  # more than there are threads: the cancelled open is over by then
            await disk.exists(path)
        disk.close()

    before = open_descriptors()
    asyncio.run(use())
    assert open_descriptors() == before


def test_a_disk_that_is_closed_closes_the_files_that_nobody_did(tmp_path: Path) -> None:
    async def use() -> None:
        disk = ThreadDisk()
        file = await disk.open(str(tmp_path / "a"), create=True)
        await file.write_at(0, b"data")
        disk.close()
        with pytest.raises(OSError, match="closed"):
            await file.size()

    before = open_descriptors()
    asyncio.run(use())
    assert open_descriptors() == before


def test_a_file_out_of_the_page_cache_is_read_all_the_same(tmp_path: Path) -> None:
    data = os.urandom(INLINE_READ_BYTES)
    path = tmp_path / "a"
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)

    async def read() -> bytes:
        disk = ThreadDisk()
        file = await disk.open(str(path), writable=False)
        buffer = bytearray(len(data))
        assert await file.read_into(0, memoryview(buffer)) == len(data)
        await file.close()
        disk.close()
        return bytes(buffer)

    assert asyncio.run(read()) == data


def test_a_failed_write_of_a_small_file_leaves_the_old_one(tmp_path: Path) -> None:
    async def use() -> None:
        disk = ThreadDisk()
        path = str(tmp_path / "a")
        await disk.write_file(path, b"old")
        (tmp_path / "a.new").mkdir()
        with pytest.raises(IsADirectoryError):
            await disk.write_file(path, b"new")
        assert await disk.read_file(path) == b"old"
        disk.close()

    asyncio.run(use())
