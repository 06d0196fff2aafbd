"""Making a file of the cluster from a stream of bytes, and comparing it with them."""

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import xxhash

from dolmen.cli.cluster_path import ClusterPath
from dolmen.cli.copy_plan import Destination
from dolmen.cli.progress import Meter
from dolmen.cli.said import Said
from dolmen.cli.streams import check_hash, hashed
from dolmen.client import Client
from dolmen.protocol.checksums import Buffer
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import ChecksumMismatch, DolmenError, NoSuchPath, PathExists
from dolmen.runtime.settings import BY_NAME, named_settings


@dataclass(frozen=True)
class FileShape:
    """How new files are made; 0 leaves it to the cluster."""

    replace: bool
    replication: int = 0
    block_size_bytes: int = 0

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
    client: Client,
    path: str,
    pieces: AsyncIterator[Buffer],
    shape: FileShape,
    shown: Meter,
) -> FileInfo:
    """Write `pieces` as the file at `path`; whatever fails before the end publishes nothing."""
    digest = xxhash.xxh3_128()
    try:
        writer = await client.open_writer(
            path,
            replication=shape.replication,
            block_size_bytes=shape.block_size_bytes,
            exclusive=not shape.replace,
        )
        async with writer:
            async for piece in hashed(pieces, digest, shown):
                await writer.write(piece)
    except PathExists as error:
        raise PathExists(f"{error.message}; -f replaces a file", path) from None
    try:
        check_hash(writer.info, digest.digest())
    except ChecksumMismatch:
        await _remove(client, writer.info)
        raise
    return writer.info


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
