"""A file open for writing: it appears whole when it is closed, and only then, unless it is opened
to append or to be visible. Those stand at their path, and show what was flushed by `hflush`.

A body of a `with` that raised, and a handle that nobody closed, publish nothing more. The first
must be seen through the wrappers that fsspec, pandas and contextlib put around a handle: they close
it and say nothing of the exception. The second must not wait for anything: whoever collects garbage
may hold any lock.
"""

import asyncio
import errno
import io
import os
import sys
import threading
import warnings
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from dolmen.client import AppendWriter, Writer
from dolmen.protocol.checksums import Buffer
from fsspec_plugin.clients import FileWriter, keep_for_ever
from fsspec_plugin.os_errors import translating
from fsspec_plugin.synchronous import cross

if TYPE_CHECKING:
    from fsspec_plugin.filesystem import DolmenFileSystem

GATHERED_BYTES = 1024 * 1024
"""Small writes go to the loop together: each handing over costs some 50 µs."""

WRAPPERS = frozenset({"contextlib", "fsspec.core", "pandas.io.common"})
"""Modules whose context managers close a handle of ours when the body of their `with` ends."""

FRAMES_MAX = 12
"""From a wrapper's `__exit__` to our `close`: a text layer, a compressor and their helpers."""

_abandoning: set["asyncio.Task[None]"] = set()


class DolmenWriteFile(io.BufferedIOBase):
    """What `open` returns for the modes wb, xb and ab."""

    closed = True

    def __init__(
        self, fs: "DolmenFileSystem", path: str, mode: str, *, autocommit: bool, **options: Any
    ) -> None:
        self.fs = fs
        self.path = path
        self.name = path
        self.mode = mode
        self._autocommit = autocommit
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._gathered = bytearray()
        self._failure: BaseException | None = None
        self._collected = False
        self._loop = fs.loop
        self._writer: FileWriter | None = fs._open_to_write_and_wait(
            path, mode, deferred=not autocommit, **options
        )
        assert self._writer is not None
        self._length_bytes: int = self._writer.length_bytes
        self._grows = isinstance(self._writer, AppendWriter)
        self.closed = False

    # ------------------------------------------------------------ write

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        with self._lock:
            if self._collected:
                return view.nbytes  # a text layer that nobody closed empties itself into us
            self._check()
            self._length_bytes += view.nbytes
            if len(self._gathered) + view.nbytes <= GATHERED_BYTES:
                self._gathered += view
            else:
                self._send_gathered()
                self._send(data if isinstance(data, bytes) else view.cast("B"))
        return view.nbytes

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if self._pid != os.getpid():
            message = "a file open for writing cannot be used in a forked process: open one there"
            raise OSError(errno.EBADF, message, self.path)
        if self._failure is not None:
            raise self._refusal() from self._failure

    def _refusal(self) -> OSError:
        lost = "what was not flushed is lost" if self._grows else "nothing was published"
        message = f"{lost}, because writing failed before: {self._failure}"
        return OSError(errno.EIO, message, self.path)

    def _send_gathered(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, bytearray()
            self._send(gathered)

    def _send(self, data: Buffer) -> None:
        try:
            cross(self._loop, lambda: self._write(data))
        except BaseException as error:
            self._failure = error
            raise

    async def _write(self, data: Buffer) -> None:
        assert self._writer is not None
        with translating(self.path):
            await self._writer.write(data)

    def flush(self) -> None:
        """Nothing: others see what `hflush` shows them, or the whole file."""

    def hflush(self) -> None:
        """Return when all that was written is on disk and new readers see it."""
        if not self._grows:
            raise io.UnsupportedOperation(
                f"{self.path} appears whole when it is closed: open it with visible=True"
            )
        if not self._autocommit:
            raise io.UnsupportedOperation(
                f"{self.path} shows what is written at the end of the transaction, and not before"
            )
        with self._lock:
            self._check()
            self._send_gathered()
            try:
                cross(self._loop, self._flush)
            except BaseException as error:
                self._failure = error
                raise

    hsync = hflush

    async def _flush(self) -> None:
        assert self._writer is not None
        with translating(self.path):
            await self._writer.flush()

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Publish the file, or leave that to the transaction; idempotent, also after an error."""
        if self.closed:
            return
        if self._collected:
            self.closed = True
            return
        if raised_in_with_body():
            self.discard()
            return
        with self._lock:
            try:
                self._check()
                if self._autocommit:
                    self._publish()
                else:
                    self._send_gathered()
            except BaseException:
                self._abandon()
                raise
            finally:
                self.closed = True

    def commit(self) -> None:
        """Publish a file whose transaction ends well, unless it was discarded before."""
        self.close()
        if self._failure is not None:
            raise self._refusal() from self._failure
        if self._writer is not None:
            self._publish()

    def _publish(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()

        def publish() -> Coroutine[Any, Any, None]:
            return self._write_and_publish(gathered)

        writer = self._writer
        if isinstance(writer, Writer) and writer.stays_inline(len(gathered)):
            self.fs._call(publish)
        else:
            cross(self._loop, publish)
        self._writer = None

    async def _write_and_publish(self, data: Buffer) -> None:
        """Write the rest and publish: one handing over for a small file."""
        assert self._writer is not None
        if data:
            await self._write(data)
        await self.fs._publish(self.path, self._writer)

    def discard(self) -> None:
        """Publish nothing."""
        self.closed = True
        self._abandon()

    def discard_with_layers(self) -> None:
        """Publish nothing; a layer above that does not know may empty itself into us."""
        self._collected = True
        self.discard()

    def _abandon(self) -> None:
        if self._pid != os.getpid():
            self._drop(self)
            return
        writer, self._writer = self._writer, None
        self._gathered = bytearray()
        if writer is not None:
            cross(self._loop, writer.abandon)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _dealloc_warn(self, source: object) -> None:
        """Called by a text layer that is garbage, before it flushes and closes us: we let it."""
        self._drop(source)

    def __del__(self) -> None:
        if not self.closed:
            self.closed = True
            self._drop(self)

    def _drop(self, source: object) -> None:
        """Publish nothing, and wait for nothing."""
        self._collected = True
        writer, self._writer = self._writer, None
        if writer is not None and self._pid != os.getpid():
            keep_for_ever(writer)
            return
        if writer is None or sys.is_finalizing():
            return
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(_begin_to_abandon, writer)
        lost = "what was not flushed is lost" if self._grows else "so not published"
        message = f"{self.path} was never closed, and {lost}"
        warnings.warn(message, ResourceWarning, stacklevel=3, source=source)

    # ------------------------------------------------------------ the rest of a file

    def tell(self) -> int:
        return self._length_bytes

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def full_name(self) -> str:
        return self.fs.unstrip_protocol(self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"{self.path} is open for writing: such a file cannot be pickled")

    def __repr__(self) -> str:
        return f"<DolmenWriteFile {self.full_name} {'closed' if self.closed else self.mode}>"


def raised_in_with_body() -> bool:
    """Whether a wrapper's `__exit__`, told of an exception, is what closes a handle now."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(FRAMES_MAX):
        if frame is None:
            return False
        if frame.f_code.co_name == "__exit__" and frame.f_globals.get("__name__") in WRAPPERS:
            return _was_told_of_an_exception(frame)
        frame = frame.f_back
    return False


def _was_told_of_an_exception(frame: FrameType) -> bool:
    for value in frame.f_locals.values():
        values = value if isinstance(value, tuple) else (value,)
        if any(isinstance(one, BaseException) for one in values):
            return True
    return False


def _begin_to_abandon(writer: FileWriter) -> None:
    task = asyncio.ensure_future(writer.abandon())
    _abandoning.add(task)
    task.add_done_callback(_abandoning.discard)
