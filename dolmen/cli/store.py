"""Making a file of the cluster from a stream of bytes, and comparing it with them."""

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from dolmen.cli.cluster_path import ClusterPath
from dolmen.cli.copy_plan import Destination
from dolmen.cli.progress import Meter
from dolmen.cli.said import Said
from dolmen.client import Client
from dolmen.client.transfer import UploadOptions, upload_stream
from dolmen.protocol.checksums import Buffer, ContentHasher
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import ChecksumMismatch, DolmenError, NoSuchPath, PathExists
from dolmen.runtime.settings import BY_NAME
from dolmen.runtime.settings_sources import named_settings


@dataclass(frozen=True)
class FileShape:
    """How new files are made; 0 leaves it to the cluster."""

    replace: bool
    replication: int = 0
    block_size_bytes: int = 0
    length_bytes: int = 0  #: what is coming, if that is known

    @classmethod
    def named(cls, said: Said, *, replace: bool) -> "FileShape":
        """With the replication and block size that were named, and the cluster's own otherwise."""
        values = {
            name: int(BY_NAME[name].parse(*text))
            for name, text in named_settings(said.flags, os.environ, said.config).items()
            if name in ("replication", "block_size")
        }
        return cls(replace, values.get("replication", 0), values.get("block_size", 0))


async def store(
    client: Client, path: str, pieces: AsyncIterator[Buffer], shape: FileShape, shown: Meter
) -> FileInfo:
    """Write `pieces` as the file at `path`; whatever fails before the end publishes nothing."""
    hasher = ContentHasher()
    options = UploadOptions(
        replication=shape.replication,
        block_size_bytes=shape.block_size_bytes,
        exclusive=not shape.replace,
        length_bytes=shape.length_bytes,
    )
    try:
        async with aclosing(_hashed(pieces, hasher)) as source:
            info = await upload_stream(client, source, path, options, shown.advance)
    except PathExists as error:
        raise PathExists(f"{error.message}; -f replaces a file", path) from None
    if info.content_hash != hasher.digest():
        await _remove(client, info)
        raise ChecksumMismatch(
            f"the bytes here have checksum {hasher.digest().hex()}, the file had"
            f" {info.content_hash.hex()}: it was deleted, try again",
            path,
        )
    return info


async def _hashed(
    pieces: AsyncIterator[Buffer], hasher: ContentHasher
) -> AsyncGenerator[Buffer, None]:
    """The same pieces, each after it went into the hasher."""
    async for piece in pieces:
        hasher.update(piece)
        yield piece


async def destination_in(client: Client, target: ClusterPath, *, several: bool) -> Destination:
    """The target of a copy into the cluster, as it is now."""
    try:
        found = await client.info(target.path)
    except NoSuchPath:
        return Destination(target.path, False, False, target.ends_with_slash, several)
    is_directory = found.kind is EntryKind.DIRECTORY
    return Destination(target.path, is_directory, True, target.ends_with_slash, several)


async def _remove(client: Client, wrong: FileInfo) -> None:
    """Take a file away that is not what was sent, unless it has been replaced already."""
    with suppress(DolmenError):
        if (await client.info(wrong.path)).inode_id == wrong.inode_id:
            await client.delete(wrong.path)
