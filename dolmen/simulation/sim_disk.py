"""The Disk port on a simulated storage: operations take virtual time and run beside their callers.

How they run, and what ends them, is in `sim_operations`. Bytes are taken from the caller's buffer
when they are written, not before, so that a buffer that is filled again too early shows.
"""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dolmen.protocol.checksums import Buffer
from dolmen.simulation.sim_device import SimDevice
from dolmen.simulation.sim_inode import SimInode
from dolmen.simulation.sim_operations import DiskTimes, SimThreads, Steps
from dolmen.simulation.sim_storage import SimDirectory, SimStorage
from dolmen.simulation.trace import Trace

T = TypeVar("T")

PIECE_BYTES = 256 * 1024
"""Written or read in one step: others get their turn between two steps, and death can come."""

BY_FAULTS = (errno.EIO, errno.ENOSPC, errno.EROFS)
"""What only a disk says with which something is the matter."""

TEMPORARY_SUFFIX = ".new"


class SimDisk:
    """A process's use of its machine's storage."""

    def __init__(
        self,
        storage: SimStorage,
        process: str,
        times: DiskTimes | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.storage = storage
        self.process = process
        self.times = times or DiskTimes()
        self._trace = trace
        self._threads = SimThreads(self._note)
        self._locks: dict[SimLock, None] = {}
        self._closed = self._killed = False
        self.open_files = 0

    def kill(self) -> None:
        """The process has died: what runs stops, its locks are free; what was written stays."""
        self._killed = True
        self._threads.kill()
        for lock in list(self._locks):
            lock.release()

    async def in_one_go(self, operations: Coroutine[Any, Any, T]) -> T:
        if self._threads.are_here:
            return await operations
        try:
            self._check_usable()
        except BaseException:
            operations.close()
            raise
        return await self._threads.run_through(operations)

    async def open(
        self, path: str, *, create: bool = False, writable: bool = True, past_cache: bool = False
    ) -> "SimFile":
        inode = await self._step(path, lambda: self.storage.open(path, create=create))
        self.open_files += 1
        return SimFile(self, inode, writable=writable)

    async def read_file(self, path: str) -> bytes:
        return await self._step(path, lambda: self.storage.file(path).readable_data())

    async def write_file(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        await self.run(self.storage.device_of(path), self._write_file(path, data))

    async def rename(self, source: str, target: str) -> None:
        await self._step(source, lambda: self.storage.rename(source, target))

    async def remove(self, path: str) -> None:
        await self._step(path, lambda: self.storage.remove(path))

    async def remove_tree(self, path: str) -> None:
        await self.run(self.storage.device_of(path), self._remove_tree(path))

    async def make_directories(self, path: str, *, below: str = "/") -> None:
        await self.run(self.storage.device_of(path), self._make_directories(path, below))

    async def sync_directory(self, path: str) -> None:
        await self._step(path, lambda: self.storage.sync_directory(path), self.times.sync_s)

    async def list_directory(self, path: str) -> list[str]:
        return await self._step(path, lambda: sorted(self.storage.directory(path).entries))

    async def is_directory(self, path: str) -> bool:
        return await self._step(path, lambda: isinstance(self._find(path), SimDirectory))

    async def exists(self, path: str) -> bool:
        return await self._step(path, lambda: self._find(path) is not None)

    async def space(self, path: str) -> tuple[int, int]:
        def look() -> tuple[int, int]:
            device = self.storage.find(path).device
            return device.capacity_bytes, device.free_bytes

        return await self._step(path, look)

    async def device(self, path: str) -> int:
        return await self._step(path, lambda: self.storage.find(path).device.number)

    def lock_directory(self, path: str) -> "SimLock":
        lock = SimLock(self, self.storage.lock(path, self.process))
        self._locks[lock] = None
        return lock

    def unlock(self, lock: "SimLock") -> None:
        """Give up a lock of this process."""
        self._locks.pop(lock, None)

    def close(self) -> None:
        self._closed = True

    async def run(self, device: SimDevice, steps: Steps[T]) -> T:
        """Do something beside the caller, when one of the few threads is free for it."""
        if not self._threads.are_here:
            self._check_usable()
        return await self._threads.run(device, steps)

    def _check_usable(self) -> None:
        if self._killed:
            raise asyncio.CancelledError  # there is no process any more that could hear of an error
        if self._closed:
            raise RuntimeError("the disk is closed")

    async def _step(self, path: str, work: Callable[[], T], lasts_s: float = 0.0) -> T:
        return await self.run(self.storage.device_of(path), self._one(work, lasts_s))

    def _one(self, work: Callable[[], T], lasts_s: float) -> Steps[T]:
        yield self.times.operation_s + lasts_s
        return work()

    def _note(self, error: Exception | None) -> None:
        if self._trace is not None:
            self._trace.count(self.process, "disk")
            if isinstance(error, OSError) and error.errno in BY_FAULTS:
                self._trace.toll["disk operations failed"] += 1

    def _find(self, path: str) -> object | None:
        try:
            return self.storage.find(path)
        except OSError:
            return None

    def _write_file(self, path: str, data: bytes) -> Steps[None]:
        temporary = path + TEMPORARY_SUFFIX
        yield self.times.operation_s
        inode = self.storage.open(temporary, create=True)
        try:
            self.storage.truncate(inode, 0)
            yield self.times.transfer_s(len(data))
            self.storage.write(inode, 0, data)
            yield self.times.lasting_s
            self.storage.sync(inode)
        except OSError:
            self.storage.remove(temporary)
            raise
        yield self.times.operation_s
        self.storage.rename(temporary, path)
        yield self.times.lasting_s
        self.storage.sync_directory(_parent(path))

    def _remove_tree(self, path: str) -> Steps[None]:
        yield self.times.operation_s
        node = self._find(path)
        if node is None:
            return
        for name in sorted(self.storage.directory(path).entries):
            below = f"{path}/{name}"
            if isinstance(self.storage.find(below), SimDirectory):
                yield from self._remove_tree(below)
            else:
                yield self.times.operation_s
                self.storage.remove(below)
        self.storage.remove_directory(path)

    def _make_directories(self, path: str, below: str) -> Steps[None]:
        parent = _parent(path)
        if self._find(path) is None and path != "/":
            if path == below:
                raise FileNotFoundError(errno.ENOENT, "the directory is missing", path)
            yield from self._make_directories(parent, below)
        yield self.times.operation_s
        if self._find(path) is None:
            self.storage.make_directory(path)
        elif not isinstance(self._find(path), SimDirectory):
            raise NotADirectoryError(errno.ENOTDIR, "exists and is no directory", path)
        yield self.times.lasting_s
        self.storage.sync_directory(parent)  # also when whoever made it was killed before


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class SimFile:
    """An open file of a simulated disk."""

    def __init__(self, disk: SimDisk, inode: SimInode, *, writable: bool) -> None:
        self._disk = disk
        self.inode = inode
        self._writable = writable
        self._closed = False

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        self._check_open()
        return await self._disk.run(self.inode.device, self._read(offset, buffer))

    async def write_at(self, offset: int, data: Buffer) -> None:
        self._check_writable()
        await self._disk.run(self.inode.device, self._write(offset, memoryview(data)))

    async def truncate(self, length_bytes: int) -> None:
        self._check_writable()
        await self._disk.run(self.inode.device, self._truncate(length_bytes))

    async def sync(self) -> None:
        self._check_open()
        await self._disk.run(self.inode.device, self._sync())

    async def size(self) -> int:
        self._check_open()
        return len(self.inode.data)

    async def close(self) -> None:
        self._disk.open_files -= not self._closed
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the file is closed")

    def _check_writable(self) -> None:
        self._check_open()
        if not self._writable:
            raise OSError(errno.EBADF, "the file is open for reading only")

    def _read(self, offset: int, buffer: memoryview) -> Steps[int]:
        done = 0
        while done < len(buffer):
            wanted = min(len(buffer) - done, PIECE_BYTES)
            yield self._disk.times.transfer_s(wanted)
            piece = self.inode.readable_data(offset + done, offset + done + wanted)
            buffer[done : done + len(piece)] = piece
            done += len(piece)
            if len(piece) < wanted:
                break
        return done

    def _write(self, offset: int, view: memoryview) -> Steps[None]:
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            yield self._disk.times.transfer_s(len(piece))
            self._disk.storage.write(self.inode, offset + start, bytes(piece))

    def _truncate(self, length_bytes: int) -> Steps[None]:
        yield self._disk.times.operation_s
        self._disk.storage.truncate(self.inode, length_bytes)

    def _sync(self) -> Steps[None]:
        yield self._disk.times.lasting_s
        self._disk.storage.sync(self.inode)


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
