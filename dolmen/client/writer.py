"""A file being written: it appears at its path, whole, when `close` succeeds."""

import asyncio
from types import TracebackType

from dolmen.client.cutting import Cutting
from dolmen.client.links import Links
from dolmen.client.written_file import WrittenFile
from dolmen.protocol.checksums import Buffer, ContentHasher
from dolmen.protocol.client_messages import (
    CommittedBlock,
    CreatedFile,
    CreateFile,
    FileInfo,
    PublishFile,
)
from dolmen.protocol.errors import DolmenError, InvalidRequest, OutcomeUnknown

ABANDONED = "it was abandoned"


class Writer:
    """Takes a file's bytes in order.

    `async with` closes on success and abandons on an exception, and so does its collection as
    garbage. A write that fails, or is cancelled, spoils the writer: all that is left is `abandon`,
    or a `close` that does the same and fails. Calls from several tasks take turns.
    """

    def __init__(self, links: Links, request: CreateFile, created: CreatedFile) -> None:
        self.path = request.path
        self.block_size_bytes = created.block_size_bytes
        self.replication = created.replication
        self._exclusive = request.exclusive
        self._inode_id = created.inode_id
        self._hasher = ContentHasher()
        file = WrittenFile(created.inode_id, request.path, created.replication)
        self._cutting = Cutting(links, file, created.block_size_bytes, self._hasher.update)
        self._turn = asyncio.Lock()
        self._spoiled: str | None = None
        self._info: FileInfo | None = None

    @property
    def length_bytes(self) -> int:
        """Bytes taken so far."""
        return self._cutting.length_bytes if self._info is None else self._info.length_bytes

    @property
    def fewest_replicas(self) -> int:
        """The replicas of the block that has fewest: below `replication`, if datanodes failed and
        others could not take over, until the namenode has made the rest."""
        return self._cutting.fewest_replicas

    @property
    def info(self) -> FileInfo:
        """The published file; only after `close`."""
        if self._info is None:
            raise InvalidRequest(f"{self.path} has not been published", self.path)
        return self._info

    @property
    def content_hash(self) -> bytes:
        """xxh3-128 of the bytes taken so far: of the whole file, after `close`."""
        return self._hasher.digest()

    async def write(self, data: Buffer) -> None:
        """Take the next bytes. Returns when they are copied or sent: the buffer may be reused.

        Waits while enough segments are on their way.
        """
        async with self._turn:
            self._check_open()
            self._spoiled = "a write failed or was cancelled"
            await self._cutting.put(data)
            self._spoiled = None

    async def flush(self) -> None:
        """InvalidRequest: nothing of this file can be seen before all of it."""
        raise InvalidRequest(
            f"{self.path} appears whole when it is closed, so nothing can be flushed:"
            " open it with visible=True",
            self.path,
        )

    async def close(self, *, modified_ms: int = 0) -> FileInfo:
        """Publish the file and return what it is; the same answer when called again.

        TooFewDatanodes after `retry_for` if its blocks are not durable enough; PathExists for an
        exclusive writer that came second. After an error nothing was published, unless it is
        OutcomeUnknown. `modified_ms` is the file's time, if not now.
        """
        async with self._turn:
            if self._info is not None:
                return self._info
            try:
                self._check_open()
                self._spoiled = "its close failed or was cancelled"
                self._info = await self._publish(modified_ms)
            except OutcomeUnknown:
                self._cutting.release()
                raise
            except DolmenError:
                await self._drop()
                raise
            self._cutting.release()
            return self._info

    async def abandon(self) -> None:
        """Publish nothing and let the namenode drop the bytes. Idempotent; never raises."""
        if self._info is None:
            await self._drop()

    async def __aenter__(self) -> "Writer":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            await self.abandon()
            return
        try:
            await self.close()
        except asyncio.CancelledError:
            await self.abandon()
            raise

    # ------------------------------------------------------------ the end

    def _check_open(self) -> None:
        if self._spoiled is not None:
            raise InvalidRequest(f"{self.path} cannot be written: {self._spoiled}", self.path)
        if self._info is not None:
            raise InvalidRequest(f"{self.path} is closed", self.path)
        self._cutting.check()

    async def _publish(self, modified_ms: int) -> FileInfo:
        def request(last: CommittedBlock | None) -> PublishFile:
            return PublishFile(
                self._inode_id,
                self.path,
                last,
                self._hasher.digest(),
                self._exclusive,
                modified_ms,
            )

        return await self._cutting.commit(request)

    async def _drop(self) -> None:
        if self._spoiled != ABANDONED:
            self._spoiled = ABANDONED
            reason = InvalidRequest(f"{self.path} cannot be written: {ABANDONED}", self.path)
            await self._cutting.drop(reason)


async def open_writer(links: Links, request: CreateFile) -> Writer:
    """Make the file's inode and return its writer."""
    created = await links.namenode.call(request, CreatedFile)
    return Writer(links, request, created)
