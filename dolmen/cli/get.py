"""`dolmen get`: files and directories of a cluster to this machine, and to standard output.

A file is written under a temporary name beside its target, synced, read back and compared, and only
then given its name. What is no regular file (a pipe, a device) is written to as it is.
"""

import errno
import os
import secrets
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path

import click

from dolmen.cli.cluster_path import ClusterPath, path_arguments
from dolmen.cli.copy_plan import Destination, below, place
from dolmen.cli.options import gathered
from dolmen.cli.progress import Meter, meter
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, Work, in_parallel, run
from dolmen.cli.sources import Found, files_below, find_sources
from dolmen.cli.streams import (
    fetch,
    fetch_to_standard_output,
    hash_of,
    in_own_thread,
)
from dolmen.cli.transfer_options import transfer_options
from dolmen.client import Client
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import ChecksumMismatch

#: Of the name of the target, so that the temporary name is within the limit of 255 bytes.
NAME_BYTES_KEPT = 200


@dataclass(frozen=True)
class GetOptions:
    """What `get` was asked for."""

    sources: tuple[ClusterPath, ...]
    target: str
    recursive: bool
    force: bool
    jobs: int
    quiet: bool


@dataclass(frozen=True)
class Download:
    """One file of the cluster and where it goes."""

    client: Client
    path: str
    target: Path
    length_bytes: int


@click.command()
@path_arguments("sources")
@click.argument("target", type=click.Path(), metavar="TARGET")
@transfer_options
@client_options
@gathered(GetOptions)
def get(options: GetOptions) -> None:
    """Copy files of the cluster to TARGET on this machine; - is standard output.

    A file appears whole or not at all, after its bytes were compared with its checksum.

    \b
      dolmen get /data/flights.csv .
      dolmen get '/logs/2013-*' logs/
      dolmen get -r /data/results .        as ./results
      dolmen get /backup.tar - | tar x
    """
    run(lambda session: _get(session, options), options.jobs)


async def _get(session: Session, options: GetOptions) -> None:
    failures = Failures()
    sources = await find_sources(session, options.sources, failures)
    if options.target == "-":
        for found in sources:
            with failures.item():
                await fetch_to_standard_output(found.client, found.source.path)
        failures.end()
        return
    several = len(options.sources) > 1 or any(found.by_pattern for found in sources)
    target = _destination(options.target, several)
    with meter("get", quiet=options.quiet) as shown:

        async def do(download: Download) -> None:
            with failures.item():
                await _get_file(download, options.force, shown)

        async def all_files() -> AsyncIterator[Work]:
            for found in sources:
                with failures.looking():
                    root = place(found.source, target, recursive=options.recursive)
                    async for download in _downloads(found, root):
                        shown.expect(download.length_bytes)
                        yield partial(do, download)

        await in_parallel(all_files(), options.jobs)
    failures.end()


async def _downloads(found: Found, root: str) -> AsyncIterator[Download]:
    """The files to copy; the directories for them are made."""
    async for entry, relative in files_below(found):
        target = Path(below(root, relative))
        is_directory = entry.kind is EntryKind.DIRECTORY
        _make_directory(target if is_directory else target.parent)
        if not is_directory:
            yield Download(found.client, entry.path, target, entry.length_bytes)


def _check(info: FileInfo, local_hash: bytes) -> None:
    """Compare what is on this machine's disk with what the file is, where that is recorded."""
    if info.content_hash and info.content_hash != local_hash:
        raise ChecksumMismatch(
            f"what was written here has checksum {local_hash.hex()}, the file has"
            f" {info.content_hash.hex()}: it was removed, try again",
            info.path,
        )


def _make_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)


def _destination(target: str, several: bool) -> Destination:
    path = Path(target)
    ends_with_slash = target.endswith(("/", "/."))
    return Destination(str(path), path.is_dir(), os.path.lexists(path), ends_with_slash, several)


async def _get_file(download: Download, force: bool, shown: Meter) -> None:
    target = download.target
    if target.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "is a directory, and a file is to go there", str(target)
        )
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        await _get_into_special_file(download, shown)
        return
    if not force:
        _check_free(target)
    temporary = _temporary_name(target)
    try:
        with FileIO(temporary, "x+") as stream:
            info = await fetch(download.client, download.path, stream, shown)
            _check(info, await in_own_thread(lambda: hash_of(stream)))
            await in_own_thread(lambda: os.fsync(stream))
        _publish(temporary, target, force)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


async def _get_into_special_file(download: Download, shown: Meter) -> None:
    # Opening a pipe waits for its reader.
    with await in_own_thread(lambda: FileIO(download.target, "w")) as stream:
        await fetch(download.client, download.path, stream, shown)


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "exists; -f replaces it", str(target))


def _temporary_name(target: Path) -> Path:
    kept = os.fsencode(target.name)[:NAME_BYTES_KEPT]
    return target.with_name(f".{os.fsdecode(kept)}.{secrets.token_hex(8)}.part")


def _publish(temporary: Path, target: Path, force: bool) -> None:
    """Give the file its name; without `force` only if nothing has that name, in the same step."""
    if force:
        temporary.replace(target)
    else:
        try:
            target.hardlink_to(temporary)
        except FileExistsError:
            _check_free(target)
            raise
        except OSError:
            # A file system without hard links: the look and the rename are two steps there.
            _check_free(target)
            temporary.replace(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
