"""A file that grows, as a stream: what is there, and then what is flushed behind it.

Each version of the file is read through a reader of its own, which keeps to it; what was given is
counted, so nothing comes twice or is left out, whatever blocks the next version has. Bytes once
flushed never change, unless bytes were taken away: `cut_txid` tells that.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from dolmen.client.checksum_lists import ChecksumLists
from dolmen.client.in_order import read_in_order
from dolmen.client.links import Links
from dolmen.client.reader import Reader, open_reader, reopen_reader
from dolmen.protocol.client_messages import FileInfo, GetInfo
from dolmen.protocol.errors import DataDamaged, NoSuchPath, NotADirectory, StaleHandle

SHORTEST_PAUSE_S = 0.05
"""After news more comes soon, but no flush is faster than this on a busy disk."""

LONGEST_PAUSE_S = 1.0
"""What a quiet file costs: one small call a second for each who follows it."""


Start = Callable[[Reader], Awaitable[int]]
"""Finds the offset at which to begin, in the version that is followed first."""


async def follow(
    links: Links, checksums: ChecksumLists, path: str, start: int | Start
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of the file that is at `path` now; see `Client.follow`."""
    reader = await open_reader(links, checksums, path)
    position = await _start_in(reader, start)
    failed_at = -1
    while True:
        failure = None
        pieces = read_in_order(reader, position, reader.length_bytes)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    position += len(piece)
                    yield bytes(piece)
        except (StaleHandle, DataDamaged) as error:
            if failed_at == position:
                raise
            failure, failed_at = error, position  # of a version that may be none any more
        else:
            await _wait_for_news(links, reader.info)
        newer = await reopen_reader(links, checksums, reader.info.inode_id)
        if failure is not None and newer.info.changed_txid == reader.info.changed_txid:
            raise failure
        await _check_kept(reader, newer, position)
        reader = newer


async def _start_in(reader: Reader, start: int | Start) -> int:
    if not isinstance(start, int):
        return await start(reader)
    return start if start >= 0 else max(0, reader.length_bytes + start)


async def _wait_for_news(links: Links, known: FileInfo) -> None:
    """Return when the file is not as it was, or not where it was."""
    pause_s = SHORTEST_PAUSE_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        try:
            info = await links.namenode.call(GetInfo(known.path), FileInfo)
        except (NoSuchPath, NotADirectory):
            return
        if (info.inode_id, info.changed_txid) != (known.inode_id, known.changed_txid):
            return


async def _check_kept(before: Reader, now: Reader, position: int) -> None:
    """Raise StaleHandle unless the bytes before `position` are those that they were.

    If the block is there that holds the last of them, none was taken away. Of a file that is, or
    was, inline there are so few that they are compared.
    """
    if now.info.cut_txid == before.info.cut_txid or position == 0:
        return
    path, length_bytes = now.info.path, now.length_bytes
    if length_bytes < position:
        raise StaleHandle(
            f"{path}: was cut to {length_bytes} bytes, below the {position} that were given", path
        )
    if before.info.inline or now.info.inline:
        kept = await before.read_at(0, position) == await now.read_at(0, position)
    else:
        kept = await before.block_at(position - 1) == await now.block_at(position - 1)
    if not kept:
        raise StaleHandle(
            f"{path}: was cut, and whether below the {position} bytes that were given cannot be"
            " told; begin again",
            path,
        )
