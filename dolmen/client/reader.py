"""A file being read: pinned to the inode and the blocks it had when it was opened.

A range is cut into pieces within blocks, and pieces are read in parallel, each straight into its
part of the caller's one buffer. The client's `streams` bound how many are under way over all its
readers.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType

from dolmen.client.checksum_lists import ChecksumLists
from dolmen.client.core.block_read import BlockRead, Part
from dolmen.client.core.read_plan import next_piece
from dolmen.client.file_blocks import FileBlocks
from dolmen.client.links import Links
from dolmen.client.piece_reader import PieceReader
from dolmen.client.range_reader import RangeReader
from dolmen.protocol.checksums import content_hash
from dolmen.protocol.client_messages import EntryKind, FileInfo, OpenedFile, OpenFile
from dolmen.protocol.draft_messages import ReopenFile
from dolmen.protocol.errors import ChecksumMismatch, DolmenError, InvalidRequest, IsADirectory


class Reader:
    """Reads any range, from any number of tasks at once.

    The bytes of an inline file came when it was opened. Else each read is verified against the
    checksums that the namenode vouches for, and goes on with another replica when one fails.
    BlockMissing lists the replicas that were tried in vain; StaleHandle: the file was deleted or
    replaced, and its blocks are no longer kept.
    """

    def __init__(self, links: Links, opened: OpenedFile, checksums: ChecksumLists) -> None:
        self.info: FileInfo = opened.info
        """The file as it was when it was opened."""
        self.piece_bytes = links.options.read_piece_bytes
        """What one bulk read brings; reading in multiples of it is best."""
        self.memory = links.read_memory
        """For what is fetched before it is asked for; all readers of the client share it."""
        self._links = links
        self._streams = links.options.streams
        self._blocks = FileBlocks(links, opened)
        self._pieces = PieceReader(links, self._blocks, checksums)
        self._content = _verified(opened)
        self._closed = False

    @property
    def length_bytes(self) -> int:
        """The file's length."""
        return self.info.length_bytes

    async def read_at(self, offset: int, length: int) -> bytearray:
        """Return the bytes of a range, fewer (or none) where the file ends before."""
        self._check(offset, length)
        buffer = bytearray(max(0, min(length, self.length_bytes - offset)))
        await self.read_into(offset, memoryview(buffer))
        return buffer

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` on, blocks in parallel; return how many bytes there were.

        After an error the buffer's contents are undefined.
        """
        buffer = buffer.cast("B")
        self._check(offset, len(buffer))
        length = max(0, min(len(buffer), self.length_bytes - offset))
        if self.info.inline:
            return self.read_into_at_hand(offset, buffer)
        whole = _Range(offset, buffer[:length])
        streams = min(self._streams, -(-length // self.piece_bytes))
        if streams <= 1:
            await self._read_pieces(whole)
            return length
        readers = [asyncio.create_task(self._read_pieces(whole)) for _ in range(streams)]
        try:
            await asyncio.gather(*readers)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        return length

    def read_at_hand(self, offset: int, length: int) -> bytes | None:
        """Return the bytes of a short range in any thread, without waiting for anything; None if
        that cannot be."""
        if self.info.inline:
            return self._content[offset : offset + length]
        return self._pieces.at_hand.read(offset, length)

    def read_into_at_hand(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` on in any thread, as far as that needs no waiting; return
        how far."""
        if self.info.inline:
            content = self._content[offset : offset + len(buffer)]
            buffer[: len(content)] = content
            return len(content)
        return self._pieces.at_hand.read_into(offset, buffer)

    async def read_ranges(
        self, ranges: Sequence[tuple[int, int]], *, max_gap: int = 0
    ) -> list[bytes | DolmenError]:
        """Return the bytes of many (start, end), in their order, or an error where there is one.

        A range ends where the file does. Those at most `max_gap` bytes apart are read as one.
        """
        for start, end in ranges:
            self._check(start, max(0, end - start))
        length = self.length_bytes
        if self.info.inline:
            return [self._content[start:end] for start, end in ranges]
        clipped = [(min(start, length), min(end, length)) for start, end in ranges]
        reader = RangeReader(self._links, self._blocks, self._pieces, self.read_into)
        return await reader.read(clipped, max_gap)

    async def block_at(self, offset: int) -> tuple[int, int]:
        """Return the id of the block that holds the byte at `offset`, and where it begins.

        An inline file has none.
        """
        located = (await self._blocks.holding(offset)).located
        return located.block_id, located.offset_bytes

    async def close(self) -> None:
        """Forget the file. Idempotent."""
        self._closed = True
        self._pieces.at_hand.forget()

    async def __aenter__(self) -> "Reader":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _read_pieces(self, whole: "_Range") -> None:
        """Read the next piece that nobody has taken, until there is none."""
        while whole.taken_bytes < len(whole.buffer):
            position = whole.position
            place = await self._blocks.holding(position)
            if whole.position != position:
                continue  # another stream took this piece while the block was being located
            block = (place.located.offset_bytes, place.located.length_bytes)
            piece = next_piece(position, whole.end, block, self.piece_bytes)
            part = Part(piece, whole.take(piece.length))
            await self._pieces.read(place, BlockRead([part]))

    def _check(self, offset: int, length: int) -> None:
        if self._closed:
            raise InvalidRequest(f"{self.info.path} is closed", self.info.path)
        if offset < 0 or length < 0:
            raise InvalidRequest(f"no range begins at {offset} with {length} bytes")


class _Range:
    """A range of the file that several streams fill, each taking the next piece."""

    def __init__(self, offset: int, buffer: memoryview) -> None:
        self._offset = offset
        self.buffer = buffer
        self.taken_bytes = 0

    @property
    def position(self) -> int:
        """The file offset of the next piece."""
        return self._offset + self.taken_bytes

    @property
    def end(self) -> int:
        """The file offset behind the range."""
        return self._offset + len(self.buffer)

    def take(self, length: int) -> memoryview:
        """Return where the next `length` bytes go."""
        start = self.taken_bytes
        self.taken_bytes += length
        return self.buffer[start : self.taken_bytes]


def _verified(opened: OpenedFile) -> bytes:
    """Return the content of an inline file; of another one, nothing."""
    content, info = opened.content, opened.info
    if info.inline and content_hash(content) != info.content_hash:
        raise ChecksumMismatch(f"{info.path}: the bytes that came do not have its hash", info.path)
    return content


async def open_reader(links: Links, checksums: ChecksumLists, path: str) -> Reader:
    """Open the file at `path` as it is now."""
    opened = await links.namenode.call(OpenFile(path, links.host), OpenedFile)
    if opened.info.kind is not EntryKind.FILE:
        raise IsADirectory(f"{path} is a directory", path)
    return Reader(links, opened, checksums)


async def reopen_reader(links: Links, checksums: ChecksumLists, inode_id: int) -> Reader:
    """Open a file that is known, as it is now and wherever it was moved to; StaleHandle."""
    opened = await links.namenode.call(ReopenFile(inode_id, links.host), OpenedFile)
    return Reader(links, opened, checksums)
