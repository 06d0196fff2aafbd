"""A file being written: it appears at its path, whole, when `close` succeeds."""

from dolmen.client.links import Links
from dolmen.client.new_file import NewFile
from dolmen.client.writer_life import WriterLife
from dolmen.protocol.checksums import Buffer
from dolmen.protocol.client_messages import CreateFile, FileInfo
from dolmen.protocol.errors import InvalidRequest


class Writer(WriterLife):
    """Takes a file's bytes in order.

    `close` publishes the file: PathExists for an exclusive writer that came second. `abandon`, and
    an exception within `async with`, publish nothing. A write that fails, or is cancelled, spoils
    the writer. Calls from several tasks take turns.
    """

    def __init__(self, path: str, file: NewFile) -> None:
        self.block_size_bytes = file.block_size_bytes
        self.replication = file.replication
        self._file = file
        super().__init__(path, file)

    @property
    def length_bytes(self) -> int:
        """Bytes taken so far."""
        return self._file.length_bytes if self._info is None else self._info.length_bytes

    @property
    def content_hash(self) -> bytes:
        """xxh3-128 of the bytes taken so far: of the whole file, after `close`."""
        return self._file.content_hash

    def stays_inline(self, coming_bytes: int) -> bool:
        """Whether the file, as long as that with what is to come, is published in one call."""
        return self._file.stays_inline(coming_bytes)

    async def write(self, data: Buffer) -> None:
        """Take the next bytes. Returns when they are copied or sent: the buffer may be reused.

        Waits while enough segments are on their way.
        """
        async with self._alone("a write failed or was cancelled"):
            await self._file.put(data)

    async def flush(self) -> None:
        """InvalidRequest: nothing of this file can be seen before all of it."""
        raise InvalidRequest(
            f"{self.path} appears whole when it is closed, so nothing can be flushed:"
            " open it with visible=True",
            self.path,
        )

    async def _finish(self, modified_ms: int) -> FileInfo:
        return await self._file.publish(modified_ms)


async def open_writer(links: Links, request: CreateFile, coming_bytes: int | None) -> Writer:
    """Return the writer of a file of which so many bytes are to come, if that is known."""
    if not links.namenode.was_reached:
        await links.namenode.connect()
    file = NewFile(links, request)
    await file.begin(coming_bytes)
    return Writer(request.path, file)
