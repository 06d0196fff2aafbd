"""Joins files: the namenode moves their blocks, and contents that are short enough together.

Inline files that are to be joined to blocks, or are too long together, get blocks of their own
first: each is appended to, by nothing.
"""

import asyncio
from collections.abc import Sequence

from dolmen.client.append_writer import open_appender
from dolmen.client.checksum_lists import ChecksumLists
from dolmen.client.links import Links
from dolmen.protocol.client_messages import FileInfo, GetInfo
from dolmen.protocol.draft_messages import ConcatFiles
from dolmen.protocol.errors import NeedsBlocks

AT_ONCE = 16
"""Files that get blocks at the same time."""

ATTEMPTS = 3
"""Somebody may replace a file by another inline one meanwhile; who does so again and again is not
waited for."""


async def concat(
    links: Links, checksums: ChecksumLists, target: str, sources: Sequence[str]
) -> FileInfo:
    """Put the bytes of `sources` behind those of `target`."""
    request = ConcatFiles(target, tuple(sources))
    for _ in range(ATTEMPTS):
        try:
            return await links.namenode.call(request, FileInfo)
        except NeedsBlocks:
            await _give_blocks(links, checksums, (target, *sources))
    return await links.namenode.call(request, FileInfo)


async def _give_blocks(links: Links, checksums: ChecksumLists, paths: Sequence[str]) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def give(path: str) -> None:
        async with turns:
            info = await links.namenode.call(GetInfo(path), FileInfo)
            if info.inline:
                async with await open_appender(links, checksums, path, info.inode_id) as writer:
                    await writer.write_again()

    giving = [asyncio.create_task(give(path)) for path in paths]
    try:
        await asyncio.gather(*giving)
    finally:
        for task in giving:
            task.cancel()
        await asyncio.gather(*giving, return_exceptions=True)
