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
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from functools import partial
from io import FileIO
from typing import TypeVar

import xxhash

from dolmen.cli.progress import Meter, NoMeter
from dolmen.client import Client, Reader
from dolmen.protocol.checksums import Buffer
from dolmen.protocol.client_messages import FileInfo
from dolmen.protocol.errors import ChecksumMismatch, DataDamaged, RequestRefused

Result = TypeVar("Result")

#: Large enough that a thread and a call for each cost nothing beside it.
PIECE_BYTES = 4 * 1024 * 1024

#: Pieces of one file that are read at once: two or more blocks, and at most 16 MiB of memory.
PIECES_AHEAD = 4

STANDARD_INPUT = 0
STANDARD_OUTPUT = 1


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
    task = asyncio.create_task(in_own_thread(lambda: stream.read(PIECE_BYTES)))
    try:
        while piece := await task:
            given_bytes += len(piece)
            if before is not None and given_bytes > before[0]:
                break  # it may grow as fast as it is read
            task = asyncio.create_task(in_own_thread(lambda: stream.read(PIECE_BYTES)))
            yield piece
    finally:
        task.cancel()
    if before is not None and (given_bytes != before[0] or _version(stream) != before):
        raise RequestRefused(f"{stream.name}: changed while it was read; try again")


async def cluster_pieces(reader: Reader) -> AsyncGenerator[bytearray, None]:
    """A file of the cluster in order; DataDamaged if it ends before its length."""
    offsets = deque(range(0, reader.length_bytes, PIECE_BYTES))
    tasks: deque[asyncio.Task[bytearray]] = deque()
    given_bytes = 0
    try:
        while offsets or tasks:
            while offsets and len(tasks) < PIECES_AHEAD:
                read = reader.read_at(offsets.popleft(), PIECE_BYTES)
                tasks.append(asyncio.create_task(read))
            piece = await tasks[0]
            tasks.popleft()
            given_bytes += len(piece)
            yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if given_bytes != reader.length_bytes:
        raise DataDamaged(
            f"{given_bytes} bytes were read of {reader.length_bytes}", reader.info.path
        )


async def fetch(client: Client, path: str, stream: FileIO, meter: Meter) -> FileInfo:
    """Write a file of the cluster to `stream`; ChecksumMismatch if it is not what was put."""
    digest = xxhash.xxh3_128()
    reader = await client.open_reader(path)
    try:
        async with aclosing(cluster_pieces(reader)) as pieces:
            async for piece in pieces:
                await in_own_thread(partial(write_all, stream, piece))
                digest.update(piece)
                meter.advance(len(piece))
    finally:
        await reader.close()
    check_hash(reader.info, digest.digest())
    return reader.info


async def fetch_to_standard_output(client: Client, path: str) -> None:
    sys.stdout.flush()
    with FileIO(STANDARD_OUTPUT, "w", closefd=False) as stream:
        await fetch(client, path, stream, NoMeter())


async def hashed(
    pieces: AsyncIterator[Buffer], digest: "xxhash.xxh3_128", meter: Meter
) -> AsyncGenerator[Buffer, None]:
    """The same pieces, after they went into `digest`."""
    async for piece in pieces:
        digest.update(piece)
        yield piece
        meter.advance(len(piece))


def check_hash(info: FileInfo, local_hash: bytes) -> None:
    """Compare what is here with what the writer of the file recorded, where it did."""
    if info.content_hash and info.content_hash != local_hash:
        raise ChecksumMismatch(
            f"the bytes here have checksum {local_hash.hex()}, the file has"
            f" {info.content_hash.hex()}: try again",
            info.path,
        )


def hash_of(stream: FileIO) -> bytes:
    digest = xxhash.xxh3_128()
    stream.seek(0)
    while piece := stream.read(PIECE_BYTES):
        digest.update(piece)
    return digest.digest()


def write_all(stream: FileIO, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _version(stream: FileIO) -> tuple[int, int] | None:
    found = os.fstat(stream.fileno())
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
