"""The edit log of one machine: segments in a directory, each named by its first transaction.

A segment is made with its head by one atomic write, then grows batch by batch, each synced before
the next. Opening walks the whole chain. Before anything of the last segment is believed, its intact
batches are written into a new file and synced (rule 6): after a crash, or a sync that failed, the
page cache may show bytes that are not on the disk. A torn batch at the very end is left out and
said so.
"""

import logging
from collections.abc import AsyncIterator
from itertools import pairwise
from posixpath import join

from dolmen.protocol.errors import DataDamaged, WrongCluster
from dolmen.runtime.disk import Disk, DiskFile
from namenode.core.edit_batches import (
    SEGMENT_HEADER_BYTES,
    START,
    Batch,
    Position,
    decode_segment_header,
    encode_batch,
    encode_segment_header,
    is_torn_tail,
    walk_segment,
)

log = logging.getLogger(__name__)

SEGMENT_LIMIT_BYTES = 64 * 1024 * 1024
"""A start reads the last segment into memory and writes it again: a tenth of a second."""

PIECE_BYTES = 1024 * 1024
SUFFIX = ".edits"
NEW_SUFFIX = ".new"


class FileEditLog:
    """Use `open_file_edit_log`."""

    def __init__(self, disk: Disk, directory: str, cluster_id: str) -> None:
        self._disk = disk
        self._directory = directory
        self._cluster_id = cluster_id
        self._position = START
        self._segments: list[int] = []  # first transaction of each, ascending
        self._file: DiskFile | None = None  # the last segment
        self._length_bytes = 0
        self._appended_bytes = 0
        self._begin_segment = True
        self._failed = False

    @property
    def position(self) -> Position:
        return self._position

    @property
    def first_txid(self) -> int:
        return self._segments[0] if self._segments else self._position.txid + 1

    @property
    def appended_bytes(self) -> int:
        return self._appended_bytes

    async def append(self, batch: Batch) -> None:
        if self._failed:
            raise OSError("an append to the edit log has failed before")
        position = self._position.follow(batch)
        data = encode_batch(batch)
        self._failed = True  # until it is known to be durable, also when this call is cancelled
        if self._begin_segment or self._length_bytes >= SEGMENT_LIMIT_BYTES:
            await self._make_segment(batch.epoch)
        assert self._file is not None
        await self._disk.in_one_go(_write_synced(self._file, self._length_bytes, data))
        self._failed = False
        self._length_bytes += len(data)
        self._appended_bytes += len(data)
        self._position = position

    async def _make_segment(self, epoch: int) -> None:
        first_txid = self._position.txid + 1
        path = self._path(first_txid)
        header = encode_segment_header(self._cluster_id, self._position, epoch)
        await self._disk.write_file(path, header)
        if self._file is not None:
            await self._file.close()
        self._file = await self._disk.open(path)
        self._length_bytes = len(header)
        self._begin_segment = False
        if first_txid not in self._segments:  # an empty one is simply replaced
            self._segments.append(first_txid)

    async def read(self, from_txid: int) -> AsyncIterator[Batch]:
        if from_txid < self.first_txid:
            raise DataDamaged(
                f"the edit log in {self._directory} begins at transaction {self.first_txid},"
                f" but {from_txid} is needed"
            )
        bounds = [*self._segments, self._position.txid + 1]
        for first_txid, next_txid in pairwise(bounds):
            if next_txid <= from_txid:
                continue
            path = self._path(first_txid)
            data = await read_whole(self._disk, path)
            position = self._check_header(data, path, first_txid)
            for _, batch in walk_segment(data, position):
                position = position.follow(batch)
                if batch.last_txid >= from_txid:
                    yield batch
            if position.txid != next_txid - 1:
                raise _damaged(path, "it has changed since this namenode started")

    async def trim(self, before_txid: int) -> None:
        """Remove segments whole. The last one stays, but the next append begins a new one."""
        while len(self._segments) > 1 and self._segments[1] <= before_txid:
            await self._disk.remove(self._path(self._segments[0]))
            await self._disk.sync_directory(self._directory)  # each, or a crash may leave a gap
            del self._segments[0]
        if self._segments and self._segments[-1] <= self._position.txid:
            self._begin_segment = True

    async def close(self) -> None:
        self._failed = True
        if self._file is not None:
            await self._file.close()

    async def recover(self) -> None:
        """Read what is there, and make sure of it."""
        await self._disk.make_directories(self._directory)
        names = await self._disk.list_directory(self._directory)
        for name in names:
            if name.endswith(NEW_SUFFIX):  # a write that did not come to its rename
                await self._disk.remove(join(self._directory, name))
        self._segments = sorted(
            int(name.removesuffix(SUFFIX)) for name in names if name.endswith(SUFFIX)
        )
        for index, first_txid in enumerate(self._segments):
            path = self._path(first_txid)
            data = await read_whole(self._disk, path)
            position = self._check_header(data, path, first_txid)
            if index and (position.txid, position.digest) != self._position_pair():
                raise _damaged(path, f"the edits after {self._position.txid} are missing before it")
            self._position = position
            end = self._walk(data, path, is_last=first_txid == self._segments[-1])
        if self._segments:
            await self._rewrite(path, data[:end])

    def _position_pair(self) -> tuple[int, bytes]:
        return self._position.txid, self._position.digest

    def _check_header(self, data: bytes, path: str, first_txid: int) -> Position:
        try:
            cluster_id, position = decode_segment_header(data)
        except DataDamaged as error:
            raise _damaged(path, error.message) from None
        if cluster_id != self._cluster_id:
            raise WrongCluster(
                f"{path} belongs to cluster {cluster_id}, this namenode to {self._cluster_id}"
            )
        if position.txid + 1 != first_txid:
            raise _damaged(path, f"it begins at transaction {position.txid + 1}")
        return position

    def _walk(self, data: bytes, path: str, *, is_last: bool) -> int:
        """Follow the batches of a segment; return where the intact ones end."""
        end = SEGMENT_HEADER_BYTES
        try:
            for end, batch in walk_segment(data, self._position):  # noqa: B007
                self._position = self._position.follow(batch)
        except DataDamaged as error:
            raise _damaged(path, f"offset {end}: {error.message}") from None
        if end == len(data):
            return end
        if not is_last or not is_torn_tail(data, end):
            raise _damaged(path, f"the batch of edits at offset {end} is not intact")
        log.warning(
            "edit log %s: left out %d bytes of an unfinished batch after transaction %d",
            path,
            len(data) - end,
            self._position.txid,
        )
        return end

    async def _rewrite(self, path: str, data: bytes) -> None:
        """Put `data` into the place of the last segment, durably, and go on behind it."""
        file = await self._disk.open(path + NEW_SUFFIX, create=True)
        for offset in range(0, len(data), PIECE_BYTES):
            await file.write_at(offset, data[offset : offset + PIECE_BYTES])
        await file.sync()
        await self._disk.rename(path + NEW_SUFFIX, path)
        await self._disk.sync_directory(self._directory)
        self._file = file
        self._length_bytes = len(data)
        self._begin_segment = False

    def _path(self, first_txid: int) -> str:
        return join(self._directory, f"{first_txid:020d}{SUFFIX}")


async def open_file_edit_log(disk: Disk, directory: str, cluster_id: str) -> FileEditLog:
    """Open, or make, the log in `directory`. DataDamaged, WrongCluster, UnsupportedVersion."""
    opened = FileEditLog(disk, directory, cluster_id)
    await opened.recover()
    return opened


async def _write_synced(file: DiskFile, offset: int, data: bytes) -> None:
    await file.write_at(offset, data)
    await file.sync()


async def read_whole(disk: Disk, path: str) -> bytes:
    """Return all bytes of a file, read in pieces."""
    file = await disk.open(path, writable=False)
    try:
        buffer = memoryview(bytearray(await file.size()))
        for offset in range(0, len(buffer), PIECE_BYTES):
            await file.read_into(offset, buffer[offset : offset + PIECE_BYTES])
        return bytes(buffer)
    finally:
        await file.close()


def _damaged(path: str, what: str) -> DataDamaged:
    return DataDamaged(
        f"{path}: {what}; put the file back from a copy,"
        " or the whole directory of the namenode from a backup"
    )
