"""Files for coroutines: `async with await fs.open_async(path, mode) as file`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING

from dolmen.client import Reader
from dolmen.client.in_order import read_in_order
from dolmen.protocol.checksums import Buffer
from fsspec_plugin.clients import FileWriter
from fsspec_plugin.os_errors import translating

if TYPE_CHECKING:
    from fsspec_plugin.filesystem import DolmenFileSystem


class AsyncReadFile:
    """Reads in order; iterating over it yields pieces that arrive ahead of their use."""

    mode = "rb"

    def __init__(self, path: str, reader: Reader) -> None:
        self.path = path
        self.closed = False
        self.size = reader.length_bytes
        self.loc = 0
        self._reader = reader

    async def read(self, length: int = -1) -> bytes:
        """Return the next bytes, all that are left if `length` is negative."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        left = max(0, self.size - self.loc)
        with translating(self.path):
            data = await self._reader.read_at(self.loc, left if length < 0 else min(length, left))
        self.loc += len(data)
        return bytes(data)

    def seek(self, position: int) -> int:
        """Go on reading at `position`."""
        if position < 0:
            raise ValueError(f"cannot seek to {position}, before the start of the file")
        self.loc = position
        return position

    def tell(self) -> int:
        """Return where the next read begins."""
        return self.loc

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        with translating(self.path):
            async with aclosing(read_in_order(self._reader, self.loc, self.size)) as pieces:
                async for piece in pieces:
                    self.loc += len(piece)
                    yield bytes(piece)

    async def close(self) -> None:
        """Forget the file. Idempotent."""
        self.closed = True
        await self._reader.close()

    async def __aenter__(self) -> "AsyncReadFile":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncWriteFile:
    """Takes bytes in order; the file appears whole when it is closed, or grows at each `hflush`."""

    def __init__(self, fs: "DolmenFileSystem", path: str, mode: str, writer: FileWriter) -> None:
        self.path = path
        self.mode = mode
        self.closed = False
        self._fs = fs
        self._writer = writer

    async def write(self, data: Buffer) -> int:
        """Take the next bytes; waits while enough is on its way."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with translating(self.path):
            await self._writer.write(data)
        return memoryview(data).nbytes

    async def hflush(self) -> None:
        """Return when all that was written is on disk and new readers see it."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with translating(self.path):
            await self._writer.flush()

    hsync = hflush

    def tell(self) -> int:
        """Return how long the file is with the bytes that were taken."""
        return self._writer.length_bytes

    async def close(self) -> None:
        """Publish the file. Idempotent, also after an error."""
        if not self.closed:
            self.closed = True
            await self._fs._publish(self.path, self._writer)

    async def discard(self) -> None:
        """Publish nothing."""
        self.closed = True
        await self._writer.abandon()

    async def __aenter__(self) -> "AsyncWriteFile":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.discard()
