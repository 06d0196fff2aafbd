"""`dolmen setrep`: how many replicas files shall have, and waiting until they do.

Waiting asks file by file and walks the tree once more for it, so that a tree of any size needs no
memory. A block has what it shall have when exactly so many datanodes hold it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import click

from dolmen.cli.cluster_path import ClusterPath, path_arguments
from dolmen.cli.find import entries_below
from dolmen.cli.formats import printable
from dolmen.cli.options import gathered
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, Work, in_parallel, run
from dolmen.cli.sources import Found, find_sources
from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import NoSuchPath, StaleHandle

#: Each is one small call: more of them would only wait for the namenode's next batch.
CALLS_AT_ONCE = 16

#: Of no weight beside copying a block, and for the namenode beside its heartbeats.
POLL_S = 0.25

#: The limits of the setting `replication`.
REPLICATION = click.IntRange(1, 512)


@dataclass(frozen=True)
class ReplicationOptions:
    """What `setrep` was asked for."""

    replication: int
    paths: tuple[ClusterPath, ...]
    wait: bool


@click.command()
@click.argument("replication", metavar="N", type=REPLICATION)
@path_arguments("paths")
@click.option("-w", "wait", is_flag=True, help="Return when all blocks have so many replicas.")
@client_options
@gathered(ReplicationOptions)
def setrep(options: ReplicationOptions) -> None:
    """Have N replicas of files, and of all files below directories.

    The cluster copies and removes replicas by itself; Ctrl-C ends only the waiting for it.

    \b
      dolmen setrep 2 /logs
      dolmen setrep -w 3 '/data/*.parquet'
    """
    run(lambda session: _set(session, options))


async def _set(session: Session, options: ReplicationOptions) -> None:
    failures = Failures()
    roots = await find_sources(session, options.paths, failures)

    async def do(root: Found, path: str) -> None:
        with failures.item():
            await root.client.set_attributes(path, replication=options.replication)

    async def all_files() -> AsyncIterator[Work]:
        for root in roots:
            with failures.looking():
                async for path in _files(root):
                    yield partial(do, root, path)

    await in_parallel(all_files(), CALLS_AT_ONCE)
    if options.wait:
        try:
            for root in roots:
                with failures.looking():
                    await _await_replicas(root, options.replication)
        except asyncio.CancelledError:
            click.echo("dolmen: not waiting any more; the cluster goes on with it", err=True)
            raise
    failures.end()


async def _files(root: Found) -> AsyncIterator[str]:
    async for entry, _ in entries_below(root):
        if entry.kind is EntryKind.FILE:
            yield entry.path


async def _await_replicas(root: Found, replication: int) -> None:
    live = (await root.client.report()).live_datanodes
    if live < replication:
        click.echo(
            f"dolmen: only {live} datanodes are live: this waits until {replication} are", err=True
        )
    async for path in _files(root):
        shown = printable(root.asked.shown(path))
        told = ""
        while lacking := await _lacking(root, path, replication):
            if lacking != told:
                told = lacking
                click.echo(f"dolmen: waiting for {shown}: {lacking}", err=True)
            await asyncio.sleep(POLL_S)


async def _lacking(root: Found, path: str, replication: int) -> str:
    """What is not yet as it shall be, or nothing; a file that is gone by now is no matter."""
    total = ready = 0
    try:
        async for block in root.client.locate_blocks(path):
            total += 1
            ready += sum(not replica.stale for replica in block.replicas) == replication
    except (NoSuchPath, StaleHandle):
        return ""
    if ready == total:
        return ""
    return f"{ready} of {total} blocks have {replication} replicas"
