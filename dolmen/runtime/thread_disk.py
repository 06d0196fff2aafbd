"""Disks by way of `os`, on a few threads.

Reading what the page cache holds costs less than going to a thread for it, so small reads are first
tried in place with RWF_NOWAIT, which returns what is in memory and never waits for the device; the
rest is read by a thread. Everything else always runs on a thread.

An operation that has begun runs to its end, also if its caller is cancelled meanwhile. A file's
descriptor is therefore closed by the last operation that uses it, never under it: the number could
belong to another file by then.

What is done in one go is a coroutine that a thread runs without any event loop: awaited there, an
operation is done on the spot, so that nothing is ever waited for.
"""

import contextlib
import errno
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dolmen.protocol.checksums import Buffer
from dolmen.runtime.disk_threads import DiskThreads
from dolmen.runtime.file_lock import FileLock

T = TypeVar("T")

THREADS = 4
"""Per volume: enough to keep a disk's queue from running dry, few enough for a slow disk to starve
nobody else."""

INLINE_READ_BYTES = 1024 * 1024
"""A read in place copies at memory speed: this much holds up the loop for a tenth of a millisecond.
"""

TEMPORARY_SUFFIX = ".new"

_NOT_IN_MEMORY = (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class ThreadDisk:
    """One file system, or one volume's share of its threads."""

    def __init__(self) -> None:
        self._threads = DiskThreads(THREADS)
        self._files: weakref.WeakSet[ThreadFile] = weakref.WeakSet()

    async def in_one_go(self, operations: Coroutine[Any, Any, T]) -> T:
        if self._threads.are_here:
            return await operations
        try:
            done = self._threads.submit(lambda: _run_through(operations))
        except RuntimeError:
            operations.close()
            raise
        return await done

    async def open(
        self, path: str, *, create: bool = False, writable: bool = True, past_cache: bool = False
    ) -> "ThreadFile":
        flags = os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY)
        if create:
            flags |= os.O_CREAT
        if self._threads.are_here:
            descriptor = os.open(path, flags, 0o644)
        else:
            descriptor = await self._threads.submit(lambda: os.open(path, flags, 0o644), os.close)
        file = ThreadFile(descriptor, self, past_cache=past_cache)
        self._files.add(file)
        return file

    async def read_file(self, path: str) -> bytes:
        return await self.run(lambda: _read_file(path))

    async def write_file(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        await self.run(lambda: _write_file(path, data, mode))

    async def rename(self, source: str, target: str) -> None:
        await self.run(lambda: os.replace(source, target))

    async def remove(self, path: str) -> None:
        await self.run(lambda: os.unlink(path))

    async def remove_tree(self, path: str) -> None:
        await self.run(lambda: _remove_tree(path))

    async def make_directories(self, path: str, *, below: str = "/") -> None:
        await self.run(lambda: _make_directories(path, below))

    async def sync_directory(self, path: str) -> None:
        await self.run(lambda: _sync_directory(path))

    async def list_directory(self, path: str) -> list[str]:
        return await self.run(lambda: sorted(os.listdir(path)))

    async def is_directory(self, path: str) -> bool:
        return await self.run(lambda: os.path.isdir(path))

    async def exists(self, path: str) -> bool:
        return await self.run(lambda: os.path.lexists(path))

    async def space(self, path: str) -> tuple[int, int]:
        return await self.run(lambda: _space(path))

    async def device(self, path: str) -> int:
        return await self.run(lambda: os.stat(path).st_dev)

    def lock_directory(self, path: str) -> FileLock:
        return FileLock(path)

    def close(self) -> None:
        """Also close the files that a killed owner left open: nothing uses them any more."""
        self._threads.close()
        for file in list(self._files):
            file.let_go()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on a thread of this disk. Cancelling the caller does not stop it."""
        return work() if self._threads.are_here else await self._threads.submit(work)


class ThreadFile:
    """An open file: its descriptor, and how many operations are using it.

    Operations begin on the event loop, or in one go on a thread, and end on a thread.
    """

    def __init__(self, descriptor: int, disk: ThreadDisk, *, past_cache: bool = False) -> None:
        self._descriptor = descriptor
        self._disk = disk
        self._past_cache = past_cache
        self._counting = threading.Lock()
        self._users = 0
        self._closing = False

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        if self._past_cache:
            return await self._run(lambda fd: _read_past_cache(fd, offset, buffer))
        done = 0
        if len(buffer) <= INLINE_READ_BYTES:
            done = self._use(self._begin(), lambda fd: _read_in_place(fd, offset, buffer))
        if done == len(buffer):
            return done
        rest = buffer[done:]
        return done + await self._run(lambda fd: _read_fully(fd, offset + done, rest))

    async def write_at(self, offset: int, data: Buffer) -> None:
        await self._run(lambda fd: _write_fully(fd, offset, data))

    async def truncate(self, length_bytes: int) -> None:
        await self._run(lambda fd: os.ftruncate(fd, length_bytes))

    async def sync(self) -> None:
        await self._run(os.fdatasync)

    async def size(self) -> int:
        return self._use(self._begin(), lambda fd: os.fstat(fd).st_size)

    def fileno(self) -> int:
        """Return the descriptor, to be passed on while the file is open."""
        return self._descriptor

    async def close(self) -> None:
        with self._counting:
            self._closing = True
            descriptor = self._unused()
        if descriptor is not None:
            await self._disk.run(lambda: os.close(descriptor))

    def let_go(self) -> None:
        """Close the descriptor at once: no operation is under way."""
        self._closing = True
        descriptor = self._unused()
        if descriptor is not None:
            os.close(descriptor)

    async def _run(self, work: Callable[[int], T]) -> T:
        descriptor = self._begin()
        return await self._disk.run(lambda: self._use(descriptor, work))

    def _begin(self) -> int:
        """Count an operation, which `_use` ends; return what it works on."""
        with self._counting:
            if self._closing:
                raise OSError(errno.EBADF, "the file is closed")
            self._users += 1
            return self._descriptor

    def _use(self, descriptor: int, work: Callable[[int], T]) -> T:
        """Do an operation. The last one of a file that was closed meanwhile closes it."""
        try:
            return work(descriptor)
        finally:
            with self._counting:
                self._users -= 1
                unused = self._unused()
            if unused is not None:
                os.close(unused)

    def _unused(self) -> int | None:
        """Return the descriptor to be closed, once, when it was asked for and nobody uses it."""
        if not self._closing or self._users or self._descriptor < 0:
            return None
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor


def _run_through(operations: Coroutine[Any, Any, T]) -> T:
    """Run what awaits only what is done on the spot."""
    try:
        operations.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    operations.close()
    raise RuntimeError("what is done in one go awaits something that is no operation of its disk")


def _read_in_place(descriptor: int, offset: int, buffer: memoryview) -> int:
    """Read what the page cache holds, as one run from the start; 0 if it must wait."""
    try:
        return os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in _NOT_IN_MEMORY:
            return 0
        raise


def _read_fully(descriptor: int, offset: int, buffer: memoryview) -> int:
    done = 0
    while done < len(buffer):
        count = os.preadv(descriptor, [buffer[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def _read_past_cache(descriptor: int, offset: int, buffer: memoryview) -> int:
    """The pages are dropped before and after: not O_DIRECT, which needs aligned buffers, and which
    some file systems do not have. Pages that are not clean stay."""
    os.posix_fadvise(descriptor, offset, len(buffer), os.POSIX_FADV_DONTNEED)
    try:
        return _read_fully(descriptor, offset, buffer)
    finally:
        os.posix_fadvise(descriptor, offset, len(buffer), os.POSIX_FADV_DONTNEED)


def _write_fully(descriptor: int, offset: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view = view[count:]
        offset += count


def _read_file(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _write_file(path: str, data: bytes, mode: int) -> None:
    temporary = path + TEMPORARY_SUFFIX
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # one left by a crash may have other permissions
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode)
    try:
        try:
            os.fchmod(descriptor, mode)  # it may be left over from a process that died
            _write_fully(descriptor, 0, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(os.path.dirname(path))


def _remove_tree(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _make_directories(path: str, below: str) -> None:
    """Also sync the last one that is there already: who made it may have been killed before."""
    parent = os.path.dirname(path)
    if not os.path.lexists(path):
        if path == below:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        _make_directories(parent, below)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, "exists and is no directory", path) from None
        with contextlib.suppress(PermissionError):  # then it is not of our making
            _sync_directory(parent)
    else:
        _sync_directory(parent)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _space(path: str) -> tuple[int, int]:
    found = os.statvfs(path)
    return found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail
