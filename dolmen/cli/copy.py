"""`dolmen cp`: files and directories within a cluster, or from one cluster to another."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import click

from dolmen.cli.cluster_path import ClusterPath, ClusterPathType, path_arguments
from dolmen.cli.copy_plan import below, place
from dolmen.cli.options import gathered
from dolmen.cli.progress import Meter, meter
from dolmen.cli.said import Said, client_options, settings_flags
from dolmen.cli.session import Failures, Session, Work, in_parallel, run
from dolmen.cli.sources import Found, files_below, find_sources
from dolmen.cli.store import FileShape, destination_in, store
from dolmen.cli.transfer_options import transfer_options
from dolmen.client import Client
from dolmen.client.in_order import read_in_order
from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import RequestRefused


@dataclass(frozen=True)
class CopyOptions:
    """What `cp` was asked for."""

    sources: tuple[ClusterPath, ...]
    target: ClusterPath
    recursive: bool
    force: bool
    jobs: int
    quiet: bool


@dataclass(frozen=True)
class Copy:
    """One file and where it goes."""

    client: Client
    path: str
    target: str
    length_bytes: int


@click.command()
@path_arguments("sources")
@click.argument("target", type=ClusterPathType())
@transfer_options
@settings_flags("block_size", "replication", default="the cluster's")
@client_options
@gathered(CopyOptions)
def cp(options: CopyOptions) -> None:
    """Copy files of a cluster to TARGET, which may be of another one.

    \b
      dolmen cp /data/flights.csv /backup/
      dolmen cp -r /data dolmen://other:9870/data
    """
    shape = FileShape.named(Said.now(), replace=options.force)
    run(lambda session: _copy(session, options, shape), options.jobs)


async def _copy(session: Session, options: CopyOptions, shape: FileShape) -> None:
    failures = Failures()
    sources = await find_sources(session, options.sources, failures)
    client = await session.client(options.target)
    several = len(options.sources) > 1 or any(found.by_pattern for found in sources)
    target = await destination_in(client, options.target, several=several)
    with meter("cp", quiet=options.quiet) as shown:

        async def do(item: Copy) -> None:
            with failures.item():
                await _copy_file(item, client, shape, shown)

        async def all_files() -> AsyncIterator[Work]:
            for found in sources:
                with failures.looking():
                    root = place(found.source, target, recursive=options.recursive)
                    if found.client is client:
                        _check_apart(found, root)
                    async for item in _copies(found, client, root):
                        shown.expect(item.length_bytes)
                        yield partial(do, item)

        await in_parallel(all_files(), options.jobs)
    failures.end()


def _check_apart(found: Found, root: str) -> None:
    if root == found.info.path:
        raise RequestRefused("is the file itself: a copy needs another path", root)
    if found.source.is_directory and f"{root}/".startswith(f"{found.info.path.rstrip('/')}/"):
        raise RequestRefused(f"cannot be copied into itself, as {root}", found.info.path)


async def _copies(found: Found, client: Client, root: str) -> AsyncIterator[Copy]:
    """The files to copy; the directories for them are made."""
    async for entry, relative in files_below(found):
        if entry.kind is EntryKind.DIRECTORY:
            await client.make_directory(below(root, relative), parents=True, exist_ok=True)
        else:
            target = below(root, relative)
            yield Copy(found.client, entry.path, target, entry.length_bytes)


async def _copy_file(item: Copy, client: Client, shape: FileShape, shown: Meter) -> None:
    reader = await item.client.open_reader(item.path)
    try:
        async with aclosing(read_in_order(reader, 0, reader.length_bytes)) as pieces:
            await store(client, item.target, pieces, shape, shown)
    finally:
        await reader.close()
