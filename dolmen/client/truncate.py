"""Takes away the end of a file: the beginning of the block that is cut is written anew.

Blocks never change (decision 0008), so readers of the file as it was keep it whole. At most one
block is written, in pieces; of an inline file none, as the namenode cuts its content.
"""

import contextlib

from dolmen.client.checksum_lists import ChecksumLists
from dolmen.client.cutting import Cutting
from dolmen.client.draft_opening import open_draft
from dolmen.client.in_order import read_in_order
from dolmen.client.links import Links
from dolmen.client.reader import Reader, reopen_reader
from dolmen.client.written_file import WrittenFile
from dolmen.protocol.client_messages import CommittedBlock, EntryKind, FileInfo, GetInfo
from dolmen.protocol.draft_messages import ExtendFile
from dolmen.protocol.errors import InvalidRequest, IsADirectory


async def truncate(
    links: Links, checksums: ChecksumLists, path: str, length_bytes: int
) -> FileInfo:
    """Cut the file at `path` to `length_bytes`."""
    info = await links.namenode.call(GetInfo(path), FileInfo)
    if info.kind is not EntryKind.FILE:
        raise IsADirectory(f"{path} is a directory", path)
    _check(info, length_bytes)
    if length_bytes == info.length_bytes:
        return info
    opened = await open_draft(links, path, info.inode_id)
    file = WrittenFile(opened.draft_id, path, opened.replication)
    cutting = Cutting(links, file, opened.block_size_bytes, lambda view: None)
    try:
        async with await reopen_reader(links, checksums, opened.inode_id) as reader:
            _check(reader.info, length_bytes)
            return await _cut(reader, cutting, opened.draft_id, length_bytes)
    except BaseException:
        await cutting.drop(InvalidRequest(f"{path} is not cut any more", path))
        raise
    finally:
        cutting.release()


async def _cut(reader: Reader, cutting: Cutting, draft_id: int, length_bytes: int) -> FileInfo:
    start = length_bytes
    if length_bytes < reader.length_bytes and not reader.info.inline:
        _, start = await reader.block_at(length_bytes)
    async with contextlib.aclosing(read_in_order(reader, start, length_bytes)) as pieces:
        async for piece in pieces:
            await cutting.put(piece)

    def request(last: CommittedBlock | None) -> ExtendFile:
        return ExtendFile(draft_id, start, length_bytes, last, final=True)

    return await cutting.commit(request)


def _check(info: FileInfo, length_bytes: int) -> None:
    if not 0 <= length_bytes <= info.length_bytes:
        raise InvalidRequest(
            f"{info.path} has {info.length_bytes} bytes: it cannot be cut to {length_bytes}",
            info.path,
        )
