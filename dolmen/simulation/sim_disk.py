"""The Disk port on a simulated storage: operations take virtual time and run beside their callers.

As on threads, an operation that has begun runs to its end, also if its caller is cancelled; only
the death of its process (`kill`) stops it between two pieces. Bytes are taken from the caller's
buffer when they are written, not before, so that a buffer that is filled again too early shows.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from dolmen.protocol.checksums import Buffer
from dolmen.simulation.sim_storage import SimDirectory, SimInode, SimStorage

T = TypeVar("T")

THREADS = 4
"""Operations that run at once, as on the real disk."""

PIECE_BYTES = 256 * 1024
"""Written or read in one step: others get their turn between two steps, and death can come."""

TEMPORARY_SUFFIX = ".new"


@dataclass(frozen=True)
class DiskTimes:
    """How long operations take."""

    operation_s: float = 20e-6
    sync_s: float = 200e-6
    bytes_per_s: float = 1e9


class SimDisk:
    """A process's use of its machine's storage."""

    def __init__(self, storage: SimStorage, process: str, times: DiskTimes | None = None) -> None:
        self.storage = storage
        self.process = process
        self.times = times or DiskTimes()
        self._threads = asyncio.Semaphore(THREADS)
        self._running: dict[asyncio.Task[Any], None] = {}
        self._locks: dict[SimLock, None] = {}
        self._closed = False

    def kill(self) -> None:
        """The process has died: what runs stops, its locks are free; what was written stays."""
        self._closed = True
        for task in self._running:
            task.cancel()
        for lock in list(self._locks):
            lock.release()

    async def open(
        self, path: str, *, create: bool = False, writable: bool = True, past_cache: bool = False
    ) -> "SimFile":
        inode = await self._step(lambda: self.storage.open(path, create=create))
        return SimFile(self, inode, writable=writable)

    async def read_file(self, path: str) -> bytes:
        return await self._step(lambda: self.storage.file(path).readable_data())

    async def write_file(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        await self.run(self._write_file(path, data))

    async def rename(self, source: str, target: str) -> None:
        await self._step(lambda: self.storage.rename(source, target))

    async def remove(self, path: str) -> None:
        await self._step(lambda: self.storage.remove(path))

    async def remove_tree(self, path: str) -> None:
        await self.run(self._remove_tree(path))

    async def make_directories(self, path: str, *, below: str = "/") -> None:
        await self.run(self._make_directories(path, below))

    async def sync_directory(self, path: str) -> None:
        await self._step(lambda: self.storage.sync_directory(path), self.times.sync_s)

    async def list_directory(self, path: str) -> list[str]:
        return await self._step(lambda: sorted(self.storage.directory(path).entries))

    async def is_directory(self, path: str) -> bool:
        return await self._step(lambda: isinstance(self._find(path), SimDirectory))

    async def exists(self, path: str) -> bool:
        return await self._step(lambda: self._find(path) is not None)

    async def space(self, path: str) -> tuple[int, int]:
        def look() -> tuple[int, int]:
            device = self.storage.find(path).device
            return device.capacity_bytes, max(device.capacity_bytes - device.used_bytes, 0)

        return await self._step(look)

    async def device(self, path: str) -> int:
        return await self._step(lambda: self.storage.find(path).device.number)

    def lock_directory(self, path: str) -> "SimLock":
        lock = SimLock(self, self.storage.lock(path, self.process))
        self._locks[lock] = None
        return lock

    def unlock(self, lock: "SimLock") -> None:
        """Give up a lock of this process."""
        self._locks.pop(lock, None)

    def close(self) -> None:
        self._closed = True

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` beside the caller, when one of the few threads is free for it."""
        if self._closed:
            work.close()
            raise RuntimeError("the disk is closed")
        task = asyncio.create_task(self._on_thread(work))
        self._running[task] = None
        task.add_done_callback(self._finish)
        task.add_done_callback(lambda _: work.close())  # also if death came before it began
        return await asyncio.shield(task)

    async def _on_thread(self, work: Coroutine[Any, Any, T]) -> T:
        async with self._threads:
            return await work

    def _finish(self, task: asyncio.Task[Any]) -> None:
        del self._running[task]
        if not task.cancelled():
            task.exception()  # told to the caller, if there still is one

    async def _step(self, work: Callable[[], T], lasts_s: float = 0.0) -> T:
        async def step() -> T:
            await self.spend(lasts_s)
            return work()

        return await self.run(step())

    def spend(self, lasts_s: float, size_bytes: int = 0) -> Awaitable[None]:
        """Let the time of one step pass."""
        transfer_s = size_bytes / self.times.bytes_per_s
        return asyncio.sleep(self.times.operation_s + lasts_s + transfer_s)

    def _find(self, path: str) -> object | None:
        try:
            return self.storage.find(path)
        except OSError:
            return None

    async def _write_file(self, path: str, data: bytes) -> None:
        temporary = path + TEMPORARY_SUFFIX
        await self.spend(0)
        inode = self.storage.open(temporary, create=True)
        try:
            self.storage.truncate(inode, 0)
            await self.spend(0, len(data))
            self.storage.write(inode, 0, data)
            await self.spend(self.times.sync_s)
            self.storage.sync(inode)
        except OSError:
            self.storage.remove(temporary)
            raise
        await self.spend(0)
        self.storage.rename(temporary, path)
        await self.spend(self.times.sync_s)
        self.storage.sync_directory(_parent(path))

    async def _remove_tree(self, path: str) -> None:
        await self.spend(0)
        node = self._find(path)
        if node is None:
            return
        for name in sorted(self.storage.directory(path).entries):
            below = f"{path}/{name}"
            if isinstance(self.storage.find(below), SimDirectory):
                await self._remove_tree(below)
            else:
                await self.spend(0)
                self.storage.remove(below)
        self.storage.remove_directory(path)

    async def _make_directories(self, path: str, below: str) -> None:
        parent = _parent(path)
        if self._find(path) is None and path != "/":
            if path == below:
                raise FileNotFoundError(errno.ENOENT, "the directory is missing", path)
            await self._make_directories(parent, below)
        await self.spend(0)
        if self._find(path) is None:
            self.storage.make_directory(path)
        elif not isinstance(self._find(path), SimDirectory):
            raise NotADirectoryError(errno.ENOTDIR, "exists and is no directory", path)
        await self.spend(self.times.sync_s)
        self.storage.sync_directory(parent)  # also when whoever made it was killed before


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class SimFile:
    """An open file of a simulated disk."""

    def __init__(self, disk: SimDisk, inode: SimInode, *, writable: bool) -> None:
        self._disk = disk
        self._inode = inode
        self._writable = writable
        self._closed = False

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        self._check_open()
        return await self._disk.run(self._read(offset, buffer))

    async def write_at(self, offset: int, data: Buffer) -> None:
        self._check_writable()
        await self._disk.run(self._write(offset, memoryview(data)))

    async def truncate(self, length_bytes: int) -> None:
        self._check_writable()
        await self._disk.run(self._truncate(length_bytes))

    async def sync(self) -> None:
        self._check_open()
        await self._disk.run(self._sync())

    async def size(self) -> int:
        self._check_open()
        return len(self._inode.data)

    async def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the file is closed")

    def _check_writable(self) -> None:
        self._check_open()
        if not self._writable:
            raise OSError(errno.EBADF, "the file is open for reading only")

    async def _read(self, offset: int, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):
            wanted = min(len(buffer) - done, PIECE_BYTES)
            await self._disk.spend(0, wanted)
            self._inode.device.check_readable()
            piece = self._inode.readable_data(offset + done, offset + done + wanted)
            buffer[done : done + len(piece)] = piece
            done += len(piece)
            if len(piece) < wanted:
                break
        return done

    async def _write(self, offset: int, view: memoryview) -> None:
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            await self._disk.spend(0, len(piece))
            self._disk.storage.write(self._inode, offset + start, bytes(piece))

    async def _truncate(self, length_bytes: int) -> None:
        await self._disk.spend(0)
        self._disk.storage.truncate(self._inode, length_bytes)

    async def _sync(self) -> None:
        await self._disk.spend(self._disk.times.sync_s)
        self._disk.storage.sync(self._inode)


class SimLock:
    """A directory that one simulated process has for itself."""

    def __init__(self, disk: SimDisk, number: int) -> None:
        self._disk = disk
        self._number = number
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            self._disk.unlock(self)
            self._disk.storage.locks.pop(self._number, None)
