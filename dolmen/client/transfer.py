"""Whole files between this machine and the cluster: in bounded memory, compared at the end.

The pieces of a download are hashed in order while they arrive, and written one after the other
while the next ones are fetched. The hash of what was handed on is compared with the file's own. An
upload compares the hash of what was read with the one the namenode recorded.
"""

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass

from dolmen.client.client import Client
from dolmen.client.in_order import read_in_order
from dolmen.client.writer import Writer
from dolmen.protocol.checksums import Buffer, ContentHasher
from dolmen.protocol.client_messages import FileInfo
from dolmen.protocol.errors import ChecksumMismatch, FileTooLarge
from dolmen.protocol.identifiers import FILE_BLOCKS_LIMIT
from dolmen.runtime.disk import Disk, DiskFile

COPY_BYTES = 4 * 1024 * 1024
"""Read from a local file at once."""

Progress = Callable[[int], None]
"""Told how many bytes more are done."""

Sink = Callable[[memoryview], Awaitable[object]]
"""Takes the next bytes; they may be overwritten when it returns."""


@dataclass(frozen=True, kw_only=True)
class UploadOptions:
    """What a new file is to be; 0 is the cluster's value, or now."""

    replication: int = 0
    block_size_bytes: int = 0
    mode: int = 0o644
    exclusive: bool = False
    modified_ms: int = 0
    length_bytes: int = 0
    """What is coming, if that is known; 0: what cannot fit is refused when it does not."""


def no_progress(count: int) -> None:
    """Tell nobody."""


# ---------------------------------------------------------------- to the cluster


async def upload_stream(
    client: Client,
    source: AsyncIterable[Buffer],
    path: str,
    options: UploadOptions = UploadOptions(),
    progress: Progress = no_progress,
) -> FileInfo:
    """Write what `source` yields to `path`, whole or not at all."""
    writer = await client.open_writer(
        path,
        replication=options.replication,
        block_size_bytes=options.block_size_bytes,
        mode=options.mode,
        exclusive=options.exclusive,
        coming_bytes=options.length_bytes or None,
    )
    try:
        _check_fits(writer, options.length_bytes)
        async for data in source:
            await writer.write(data)
            progress(len(data))
        info = await writer.close(modified_ms=options.modified_ms)
    except BaseException:
        await writer.abandon()
        raise
    if info.content_hash != writer.content_hash:
        raise _mismatch(path, writer.content_hash, info)
    return info


def _check_fits(writer: Writer, length_bytes: int) -> None:
    """Refuse now what the namenode would refuse when the last block that it allows is full."""
    if length_bytes > FILE_BLOCKS_LIMIT * writer.block_size_bytes:
        least_mib = -(-length_bytes // (FILE_BLOCKS_LIMIT << 20))
        raise FileTooLarge(
            f"{length_bytes} bytes are more than {FILE_BLOCKS_LIMIT} blocks of"
            f" {writer.block_size_bytes} bytes: use a block size of {least_mib}MiB or more",
            writer.path,
        )


async def upload_file(
    client: Client,
    local: tuple[Disk, str],
    path: str,
    options: UploadOptions = UploadOptions(),
    progress: Progress = no_progress,
) -> FileInfo:
    """Write a local file (its disk and its path there) to `path`, whole or not at all."""
    disk, local_path = local
    file = await disk.open(local_path, writable=False)
    try:
        async with contextlib.aclosing(_bytes_of(file)) as source:
            return await upload_stream(client, source, path, options, progress)
    finally:
        await file.close()


async def _bytes_of(file: DiskFile) -> AsyncGenerator[memoryview, None]:
    """Yield a local file's bytes, the next ones being read while the last ones are used."""
    buffers = [memoryview(bytearray(COPY_BYTES)) for _ in range(2)]
    offset = 0
    reading = asyncio.ensure_future(file.read_into(0, buffers[0]))
    try:
        while count := await reading:
            data = buffers[0][:count]
            buffers.reverse()
            offset += count
            reading = asyncio.ensure_future(file.read_into(offset, buffers[0]))
            yield data
    finally:
        await asyncio.gather(reading, return_exceptions=True)


# ---------------------------------------------------------------- from the cluster


async def download_stream(
    client: Client, path: str, sink: Sink, progress: Progress = no_progress
) -> FileInfo:
    """Give the bytes of a file to `sink` in order; ChecksumMismatch if they were not the file's."""
    reader = await client.open_reader(path)
    async with reader:
        hasher = ContentHasher()
        pieces = read_in_order(reader, 0, reader.length_bytes)
        async with contextlib.aclosing(pieces):
            async for data in pieces:
                hasher.update(data)
                await sink(data)
                progress(len(data))
    if reader.info.content_hash and reader.info.content_hash != hasher.digest():
        raise _mismatch(path, hasher.digest(), reader.info)
    return reader.info


async def download_file(
    client: Client, path: str, local: tuple[Disk, str], progress: Progress = no_progress
) -> FileInfo:
    """Bring a file to a local path, which has it whole or stays as it was."""
    disk, local_path = local
    directory, name = posixpath.split(local_path)
    temporary = posixpath.join(directory, f".{name[:200]}.{client.draw_name()}.part")
    file = await disk.open(temporary, create=True)
    try:
        offset = 0

        async def append(data: memoryview) -> None:
            nonlocal offset
            await file.write_at(offset, data)
            offset += len(data)

        try:
            info = await download_stream(client, path, append, progress)
        finally:
            await file.close()
        await disk.rename(temporary, local_path)
    except BaseException:
        with contextlib.suppress(OSError):
            await disk.remove(temporary)
        raise
    return info


def _mismatch(path: str, local_hash: bytes, info: FileInfo) -> ChecksumMismatch:
    return ChecksumMismatch(
        f"{path}: the bytes here have the xxh3-128 {local_hash.hex()}, the file has"
        f" {info.content_hash.hex()}",
        path,
    )
