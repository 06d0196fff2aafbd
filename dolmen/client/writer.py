"""A file being written: it appears at its path, whole, when `close` succeeds."""

from types import TracebackType
from typing import TYPE_CHECKING

from dolmen.protocol.checksums import Buffer
from dolmen.protocol.client_messages import CreateFile, FileInfo

if TYPE_CHECKING:
    from dolmen.client.client import Client


class Writer:
    """Takes a file's bytes in order. One task at a time.

    `async with` closes on success and abandons on an exception. A write that fails, or is cancelled,
    spoils the writer: all that is left is `abandon`.
    """

    path: str
    block_size_bytes: int
    replication: int
    length_bytes: int
    """Bytes taken so far."""

    @property
    def info(self) -> FileInfo:
        """The published file; only after `close`."""

    @property
    def content_hash(self) -> bytes:
        """xxh3-128 of the bytes taken so far: of the whole file, after `close`."""

    async def write(self, data: Buffer) -> None:
        """Take the next bytes. Returns when they are copied or sent: the buffer may be reused.

        Waits while enough segments are on their way. `bytes` are taken without a copy.
        """

    async def close(self) -> FileInfo:
        """Publish the file and return what it is; the same answer when called again.

        TooFewDatanodes after `retry_for` if its blocks are not durable enough; PathExists for an
        exclusive writer that came second. After an error nothing was published, unless it is
        OutcomeUnknown.
        """

    async def abandon(self) -> None:
        """Publish nothing and let the namenode drop the bytes. Idempotent; never raises."""

    async def __aenter__(self) -> "Writer":
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
            await self.abandon()


async def open_writer(client: "Client", request: CreateFile) -> Writer:
    """Make the file's inode and return its writer."""
