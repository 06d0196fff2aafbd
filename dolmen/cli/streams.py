"""Bytes between files of this machine and files of a cluster: in order, in bounded memory.

Reading and writing a local file may block for ever (a terminal, a full pipe, a network disk), so
each such step runs in a daemon thread of its own: the event loop keeps its connections alive
meanwhile, and Ctrl-C ends the command without waiting for a read that never returns. While one
piece is written the next ones are already on their way.
"""

import asyncio
import os
import stat
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import suppress
from functools import partial
from io import FileIO
from typing import TypeVar

from dolmen.cli.progress import Meter, NoMeter
from dolmen.cli.standard_streams import STANDARD_OUTPUT, told_with_name
from dolmen.client import Client
from dolmen.client.transfer import download_stream
from dolmen.protocol.checksums import Buffer, ContentHasher
from dolmen.protocol.client_messages import FileInfo
from dolmen.protocol.errors import RequestRefused

Result = TypeVar("Result")

#: Large enough that a thread and a call for each cost nothing beside it.
PIECE_BYTES = 4 * 1024 * 1024


async def in_own_thread(work: Callable[[], Result]) -> Result:
    """Do work that may block; a caller that is cancelled leaves it behind."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(finish: Callable[[], None]) -> None:
        if not done.done():
            finish()

    def work_and_tell() -> None:
        try:
            finish = partial(done.set_result, work())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the waiting caller's
            finish = partial(done.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(settle, finish)

    threading.Thread(target=work_and_tell, daemon=True).start()
    return await done


async def local_pieces(stream: FileIO) -> AsyncGenerator[bytes, None]:
    """What can be read until the end, the next piece being read while one is used.

    RequestRefused at the end if it is a regular file that was changed meanwhile.
    """
    before = _version(stream)
    given_bytes = 0
    task = asyncio.create_task(in_own_thread(partial(_next_piece, stream)))
    try:
        while piece := await task:
            given_bytes += len(piece)
            if before is not None and given_bytes > before[0]:
                break  # it may grow as fast as it is read
            task = asyncio.create_task(in_own_thread(partial(_next_piece, stream)))
            yield piece
    finally:
        task.cancel()
    if before is not None and (given_bytes != before[0] or _version(stream) != before):
        raise RequestRefused(f"{stream.name}: changed while it was read; try again")


async def fetch(client: Client, path: str, stream: FileIO, meter: Meter) -> FileInfo:
    """Write a file of the cluster to `stream`; ChecksumMismatch if it is not what was put."""

    async def write(data: memoryview) -> None:
        await in_own_thread(partial(write_all, stream, data))

    return await download_stream(client, path, write, meter.advance)


async def fetch_to_standard_output(client: Client, path: str) -> None:
    sys.stdout.flush()
    with FileIO(STANDARD_OUTPUT, "w", closefd=False) as stream:
        await fetch(client, path, stream, NoMeter())


async def to_standard_output(pieces: AsyncIterable[Buffer]) -> None:
    """Write all that `pieces` yields behind what was printed before."""
    sys.stdout.flush()
    with FileIO(STANDARD_OUTPUT, "w", closefd=False) as stream:
        async for piece in pieces:
            await in_own_thread(partial(write_all, stream, piece))


def hash_of(stream: FileIO) -> bytes:
    """The checksum of all that is in the file, as the namenode records it."""
    hasher = ContentHasher()
    stream.seek(0)
    while piece := stream.read(PIECE_BYTES):
        hasher.update(piece)
    return hasher.digest()


def write_all(stream: FileIO, data: Buffer) -> None:
    """Write all of it; an error names the file."""
    view = memoryview(data)
    with told_with_name(stream):
        while view:
            view = view[stream.write(view) :]


def _next_piece(stream: FileIO) -> bytes:
    with told_with_name(stream):
        return stream.read(PIECE_BYTES)


def _version(stream: FileIO) -> tuple[int, int] | None:
    found = os.fstat(stream.fileno())
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
