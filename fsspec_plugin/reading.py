"""A file open for reading: many threads on one handle, pinned to the file as it was opened.

DuckDB seeks and reads from many threads on one handle. So a seek binds to the next read of the
thread that did it, and otherwise there is one position; bytes are fetched by position, outside of
the lock. The reader belongs to the event loop it was made on: in a forked child the handle opens
the file anew, and only if it is still the same one.
"""

import asyncio
import errno
import io
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from fsspec.caching import BaseCache, caches

from dolmen.client import Reader
from dolmen.protocol.checksums import CHUNK_BYTES
from fsspec_plugin.entries import Entry, describe
from fsspec_plugin.os_errors import translating
from fsspec_plugin.readahead import MIB, Readahead
from fsspec_plugin.synchronous import cross, runs_here

if TYPE_CHECKING:
    from fsspec_plugin.filesystem import DolmenFileSystem

CACHE_BLOCK_BYTES = 4 * MIB
"""For a cache of fsspec that was asked for by name, without a block size."""

LINE_PIECE_BYTES = 64 * 1024
"""What lines are cut from: enough that the cutting, not the fetching, takes the time."""

READ1_BYTES = 256 * 1024

SEEKING_THREADS_MAX = 1000
"""Threads that sought and did not read yet; more are threads that are gone."""


class DolmenFile(io.BufferedIOBase):
    """What `open(path, "rb")` returns."""

    closed = True  # until it is open
    mode = "rb"

    def __init__(
        self,
        fs: "DolmenFileSystem",
        path: str,
        *,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
    ) -> None:
        if cache_type is not None and cache_type not in caches:
            raise ValueError(
                f"no cache is called {cache_type!r}; there are {sorted(map(str, caches))}"
            )
        self.fs = fs
        self.path = path
        self.name = path
        self.blocksize = block_size or CACHE_BLOCK_BYTES
        self._cache_type = cache_type
        self._cache_options = cache_options or {}
        self._position = 0
        self._sought: dict[int, int] = {}
        self._lines = (0, b"")  # where the bytes begin that lines were cut from last
        self._reader: Reader | None = None
        self._open()
        self.closed = False

    def _open(self) -> None:
        reader: Reader = self.fs._call(lambda: self.fs._open_reader(self.path))
        if self._reader is not None and _identity(reader) != _identity(self._reader):
            message = "the file was replaced since it was opened, before this process was forked"
            raise OSError(errno.ESTALE, message, self.path)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._reader = reader
        self.size = reader.length_bytes
        self.details = describe(reader.info, self.fs._ask(self.path))
        self._readahead = Readahead(self.size, self._begin, reader.memory.open())
        self._cache_lock = threading.Lock()
        self.cache = self._make_cache()  # fsspec's own layers put one of theirs here

    def _make_cache(self) -> BaseCache | None:
        """The cache of fsspec's that was asked for by name; None: our own readahead."""
        if self._cache_type is None:
            return None
        make = caches[self._cache_type]
        return make(self.blocksize, self._fetch_range, self.size, **self._cache_options)

    # ------------------------------------------------------------ fetch

    def _begin(self, start: int, end: int) -> "Future[bytes]":
        loop = self.fs.loop
        if loop is None or loop.is_closed():
            raise RuntimeError("this filesystem is asynchronous: use `await fs.open_async(...)`")
        if runs_here(loop):
            raise NotImplementedError("a file is read from within the loop that must fetch it")
        return asyncio.run_coroutine_threadsafe(self._read_at(start, end), loop)

    async def _read_at(self, start: int, end: int) -> bytes:
        assert self._reader is not None
        with translating(self.path):
            return bytes(await self._reader.read_at(start, end - start))

    async def _read_into(self, start: int, buffer: memoryview) -> int:
        assert self._reader is not None
        with translating(self.path):
            return await self._reader.read_into(start, buffer)

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._begin(start, end).result()

    def _fetch(self, start: int, end: int) -> bytes:
        if self.cache is None:
            return self._read_at_hand(start, end) or self._readahead.read(start, end)
        if type(self.cache) is BaseCache:  # "none"
            return self._fetch_range(start, end)
        with self._cache_lock:  # these caches are not made for threads
            return self.cache._fetch(start, end)  # type: ignore[no-any-return]

    def _read_at_hand(self, start: int, end: int) -> bytes:
        """Return a range if its blocks are open on our own host, and in memory; b"" if not."""
        assert self._reader is not None
        if end - start <= CHUNK_BYTES:
            found = self._reader.read_at_hand(start, end - start)
            if found is not None:
                return found
        memory = io.BytesIO(bytes(end - start))  # reads into bytes, which no other buffer becomes
        with memory.getbuffer() as buffer:
            count = self._reader.read_into_at_hand(start, buffer)
        return memory.getvalue() if count == end - start else b""

    # ------------------------------------------------------------ position

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if self._pid != os.getpid():
            self._open()

    def tell(self) -> int:
        self._check()
        with self._lock:
            return self._sought.get(threading.get_ident(), self._position)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check()
        with self._lock:
            here = self._sought.get(threading.get_ident(), self._position)
            bases = {io.SEEK_SET: 0, io.SEEK_CUR: here, io.SEEK_END: self.size}
            if whence not in bases:
                raise ValueError(f"whence is {whence}, not 0, 1 or 2")
            position = bases[whence] + offset
            if position < 0:
                raise ValueError(f"cannot seek to {position}, before the start of the file")
            if len(self._sought) >= SEEKING_THREADS_MAX:
                self._sought.clear()
            self._position = self._sought[threading.get_ident()] = position
            return position

    def _take(self, length: int | None) -> tuple[int, int]:
        """Move the position over the next bytes; return their range."""
        self._check()
        with self._lock:
            start = self._sought.pop(threading.get_ident(), self._position)
            left = max(0, self.size - start)
            length = left if length is None or length < 0 else min(length, left)
            self._position = start + length
            return start, start + length

    # ------------------------------------------------------------ read

    def read(self, size: int | None = -1, /) -> bytes:
        start, end = self._take(size)
        return self._fetch(start, end) if end > start else b""

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(READ1_BYTES if size < 0 else size)

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        start, end = self._take(len(view))
        if self.cache is None:
            self._fill(start, view[: end - start])
        else:
            view[: end - start] = self._fetch(start, end) if end > start else b""
        return end - start

    def _fill(self, start: int, view: memoryview) -> None:
        """Read into the caller's memory what is at hand, and what is long; else by way of ours."""
        assert self._reader is not None
        done = self._reader.read_into_at_hand(start, view)
        rest, start = view[done:], start + done
        if len(rest) >= MIB:
            cross(self.fs.loop, lambda: self._read_into(start, rest))
        elif rest:
            rest[:] = self._readahead.read(start, start + len(rest))

    def readinto1(self, buffer: Any, /) -> int:
        return self.readinto(buffer)

    def peek(self, size: int = 0, /) -> bytes:
        """Return bytes that come next, at least one if there is one, and stay where we are."""
        start = self.tell()
        end = min(start + max(size, 1), self.size)
        return self._fetch(start, end) if end > start else b""

    def readline(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        limit = self.size if size is None or size < 0 else min(self.size, start + size)
        parts = []
        position = start
        while position < limit:
            first, piece = self._lines
            at = position - first
            if not 0 <= at < len(piece):
                piece = self._fetch(position, min(position + LINE_PIECE_BYTES, self.size))
                self._lines, at = (position, piece), 0
            stop = at + limit - position
            end = piece.find(b"\n", at, stop) + 1
            parts.append(piece[at : end or stop])
            position += len(parts[-1])
            if end:
                break
        self._take(position - start)
        return b"".join(parts)

    def readuntil(self, char: bytes = b"\n", blocks: int | None = None) -> bytes:
        """Return what comes up to and with `char`, or up to the end of the file."""
        start = self.tell()
        found, position = b"", start
        while position < self.size:
            end = min(position + (blocks or self.blocksize), self.size)
            found += self._fetch(position, end)
            index = found.find(char, max(0, position - start - len(char) + 1))
            if index >= 0:
                found = found[: index + len(char)]
                break
            position = end
        self._take(len(found))
        return found

    # ------------------------------------------------------------ the rest of a file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def info(self) -> Entry:
        """What `fs.info` says, as of the opening."""
        return dict(self.details)

    @property
    def full_name(self) -> str:
        return self.fs.unstrip_protocol(self.path)

    @property
    def loc(self) -> int:
        """The position, as fsspec calls it."""
        return self.tell()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._pid == os.getpid():
                self._readahead.close()

    discard = close

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (
            self.fs,
            self.path,
            (self.blocksize, self._cache_type, self._cache_options),
            0 if self.closed else self.tell(),
        )

    def __repr__(self) -> str:
        return f"<DolmenFile {self.full_name} {'closed' if self.closed else 'rb'}>"


def reopen(
    fs: "DolmenFileSystem", path: str, cache: tuple[int, str | None, dict[str, Any]], position: int
) -> DolmenFile:
    """Open a file that was pickled, at the position it had."""
    block_size, cache_type, cache_options = cache
    file = DolmenFile(
        fs, path, block_size=block_size, cache_type=cache_type, cache_options=cache_options
    )
    file.seek(position)
    return file


def _identity(reader: Reader) -> tuple[int, int, int]:
    """Return what names the bytes of a file: its hash may come to be known later."""
    info = reader.info
    return info.inode_id, info.length_bytes, info.cut_txid
