"""A file being written: it appears at its path, whole, when `close` succeeds."""

from dolmen.client.cutting import Cutting
from dolmen.client.links import Links
from dolmen.client.writer_life import WriterLife
from dolmen.client.written_file import WrittenFile
from dolmen.protocol.checksums import Buffer, ContentHasher
from dolmen.protocol.client_messages import (
    CommittedBlock,
    CreatedFile,
    CreateFile,
    FileInfo,
    PublishFile,
)
from dolmen.protocol.errors import InvalidRequest


class Writer(WriterLife):
    """Takes a file's bytes in order.

    `close` publishes the file: PathExists for an exclusive writer that came second. `abandon`, and
    an exception within `async with`, publish nothing. A write that fails, or is cancelled, spoils
    the writer. Calls from several tasks take turns.
    """

    def __init__(self, links: Links, request: CreateFile, created: CreatedFile) -> None:
        self.block_size_bytes = created.block_size_bytes
        self.replication = created.replication
        self._exclusive = request.exclusive
        self._inode_id = created.inode_id
        self._hasher = ContentHasher()
        file = WrittenFile(created.inode_id, request.path, created.replication)
        cutting = Cutting(links, file, created.block_size_bytes, self._hasher.update)
        super().__init__(request.path, cutting)

    @property
    def length_bytes(self) -> int:
        """Bytes taken so far."""
        return self._cutting.length_bytes if self._info is None else self._info.length_bytes

    @property
    def content_hash(self) -> bytes:
        """xxh3-128 of the bytes taken so far: of the whole file, after `close`."""
        return self._hasher.digest()

    async def write(self, data: Buffer) -> None:
        """Take the next bytes. Returns when they are copied or sent: the buffer may be reused.

        Waits while enough segments are on their way.
        """
        async with self._alone("a write failed or was cancelled"):
            await self._cutting.put(data)

    async def flush(self) -> None:
        """InvalidRequest: nothing of this file can be seen before all of it."""
        raise InvalidRequest(
            f"{self.path} appears whole when it is closed, so nothing can be flushed:"
            " open it with visible=True",
            self.path,
        )

    async def _finish(self, modified_ms: int) -> FileInfo:
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


async def open_writer(links: Links, request: CreateFile) -> Writer:
    """Make the file's inode and return its writer."""
    created = await links.namenode.call(request, CreatedFile)
    return Writer(links, request, created)
