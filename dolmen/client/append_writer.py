"""A writer whose file stands at its path all the while, and grows at each flush.

The bytes go to a draft, an inode that nobody sees, and `flush` moves them to the file, whole and on
disk, in one step (decision 0008). So the file always ends where it was last flushed, whatever
becomes of its writer. Short blocks at its end are written again, with what comes behind them
(`core/short_tail`): their bytes are read when the writer is opened, and kept after each flush.
"""

import contextlib
from collections.abc import Iterator

from dolmen.client.checksum_lists import ChecksumLists
from dolmen.client.core.short_tail import CONSIDERED_BYTES, ShortTail, is_short, repeated_bytes
from dolmen.client.cutting import Cutting
from dolmen.client.draft_opening import open_draft
from dolmen.client.links import Links
from dolmen.client.reader import Reader, reopen_reader
from dolmen.client.writer_life import WriterLife
from dolmen.client.written_file import WrittenFile
from dolmen.protocol.checksums import Buffer
from dolmen.protocol.client_messages import CommittedBlock, FileInfo
from dolmen.protocol.draft_messages import DraftOpened, ExtendFile
from dolmen.protocol.errors import (
    LeaseConflict,
    StaleHandle,
)


class AppendWriter(WriterLife):
    """Takes the bytes that come behind those of a file, in order.

    `close` flushes and lets others write the file. `abandon`, and an exception within `async with`,
    drop what was not flushed. A write or flush that fails, or is cancelled, spoils the writer.
    Calls from several tasks take turns.
    """

    def __init__(self, links: Links, opened: DraftOpened) -> None:
        self.inode_id = opened.inode_id
        self.block_size_bytes = opened.block_size_bytes
        self.replication = opened.replication
        self.flushed_bytes = opened.length_bytes
        """The file's length, as new readers see it."""
        self._links = links
        self._draft_id = opened.draft_id
        self._content = b""
        """All bytes of an inline file: the first block begins with them."""
        end_bytes = 0 if opened.tail is None else opened.length_bytes
        self._tail = ShortTail(end_bytes, opened.block_size_bytes)
        file = WrittenFile(opened.draft_id, opened.path, opened.replication)
        self._cutting = Cutting(links, file, opened.block_size_bytes, self._tail.add)
        super().__init__(opened.path, self._cutting)

    @property
    def length_bytes(self) -> int:
        """The file's length with all bytes taken so far."""
        return max(self.flushed_bytes, self._tail.start_bytes + self._cutting.length_bytes)

    async def write(self, data: Buffer) -> None:
        """Take the next bytes. Returns when they are copied or sent: the buffer may be reused.

        Waits while enough segments are on their way.
        """
        async with self._alone("a write failed or was cancelled"):
            with self._telling_loss():
                if not self._cutting.length_bytes and memoryview(data).nbytes:
                    await self._cutting.put(self._content or self._tail.start())
                await self._cutting.put(data)

    async def flush(self) -> None:
        """Return when all bytes taken so far are on disk, and new readers see them.

        TooFewDatanodes after `retry_for`, as `close`. LeaseConflict: another writer may have the
        file. StaleHandle: it was deleted or replaced.
        """
        async with self._alone("a flush failed or was cancelled"):
            if self._cutting.length_bytes:
                await self._extend()

    async def write_again(self) -> None:
        """Have the bytes of an inline file in a block, though nothing comes behind them.

        To be called before anything is written.
        """
        async with self._alone("a write failed or was cancelled"):
            await self._cutting.put(self._content)

    async def take_up(self, checksums: ChecksumLists) -> None:
        """Read what is to be written again: those of the file's short last blocks whose turn it is,
        or all of an inline file."""
        async with await reopen_reader(self._links, checksums, self.inode_id) as reader:
            if reader.length_bytes != self.flushed_bytes:
                raise LeaseConflict(f"{self.path} was changed by another writer", self.path)
            if reader.info.inline:
                self._content = bytes(await reader.read_at(0, self.flushed_bytes))
                return
            lengths = await self._short_lengths(reader)
            count = repeated_bytes(lengths)
            while sum(lengths) > count:
                del lengths[0]
            data = await reader.read_at(self.flushed_bytes - count, count)
            self._tail.recall(lengths, bytes(data))

    async def _short_lengths(self, reader: Reader) -> list[int]:
        """Return how long the short blocks at the file's end are."""
        lengths: list[int] = []
        end = self.flushed_bytes
        while end and self.flushed_bytes - end < CONSIDERED_BYTES:
            _, start = await reader.block_at(end - 1)
            if not is_short(end - start, self.block_size_bytes):
                break
            lengths.insert(0, end - start)
            end = start
        return lengths

    # ------------------------------------------------------------ the draft and its file

    async def _extend(self, *, final: bool = False, modified_ms: int = 0) -> FileInfo:
        length_bytes = self.length_bytes
        anything = self._cutting.length_bytes > 0
        start = self._tail.start_bytes if anything else self.flushed_bytes

        def request(last: CommittedBlock | None) -> ExtendFile:
            return ExtendFile(self._draft_id, start, self.flushed_bytes, last, final, modified_ms)

        with self._telling_loss():
            info = await self._cutting.commit(request)
        self.flushed_bytes = length_bytes
        if anything:
            self._tail.end()
            self._content = b""
        return info

    async def _finish(self, modified_ms: int) -> FileInfo:
        return await self._extend(final=True, modified_ms=modified_ms)

    def _check(self) -> None:
        with self._telling_loss():
            super()._check()

    @contextlib.contextmanager
    def _telling_loss(self) -> Iterator[None]:
        """Say which bytes are lost when the file is not ours, or not there, any more."""
        try:
            yield
        except LeaseConflict as error:
            raise LeaseConflict(
                f"{self.path}: the right to write it was lost, because another writer took it over"
                f" or this one was not heard in time; {self._loss()}",
                self.path,
            ) from error
        except StaleHandle as error:
            raise StaleHandle(
                f"{self.path}: was deleted or replaced while it was written, and what was flushed"
                f" went with it; {self._loss()}",
                self.path,
            ) from error

    def _loss(self) -> str:
        lost_bytes = self.length_bytes - self.flushed_bytes
        if not lost_bytes:
            return f"nothing else is lost: all {self.flushed_bytes} bytes had been flushed"
        return (
            f"the last {lost_bytes} bytes, from offset {self.flushed_bytes} on, had not been"
            " flushed and are dropped"
        )


async def open_appender(
    links: Links, checksums: ChecksumLists, path: str, inode_id: int = 0
) -> AppendWriter:
    """Become the one writer of the file at `path`, which must be `inode_id` if that is given."""
    opened = await open_draft(links, path, inode_id)
    writer = AppendWriter(links, opened)
    try:
        if _ends_short(opened):
            await writer.take_up(checksums)
    except BaseException:
        await writer.abandon()
        raise
    return writer


def _ends_short(opened: DraftOpened) -> bool:
    """Return whether bytes at the file's end may have to be written again."""
    if opened.tail is None:
        return opened.length_bytes > 0
    return is_short(opened.tail.length_bytes, opened.block_size_bytes)
