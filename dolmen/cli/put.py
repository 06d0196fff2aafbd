"""`dolmen put`: local files, directories and standard input into a cluster."""

import glob
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from dolmen.cli.cluster_path import ClusterPath, ClusterPathType
from dolmen.cli.copy_plan import Destination, Source, below, place
from dolmen.cli.globs import has_magic
from dolmen.cli.options import gathered
from dolmen.cli.progress import Meter, NoMeter, meter
from dolmen.cli.said import Said, client_options, settings_flags
from dolmen.cli.session import Failures, Session, Work, in_parallel, run
from dolmen.cli.standard_streams import STANDARD_INPUT
from dolmen.cli.store import FileShape, destination_in, store
from dolmen.cli.streams import in_own_thread, local_pieces
from dolmen.cli.transfer_options import transfer_options
from dolmen.client import Client
from dolmen.protocol.errors import RequestRefused

#: A thread for each would cost more than looking at it.
LOOKED_AT_TOGETHER = 100


@dataclass(frozen=True)
class PutOptions:
    """What `put` was asked for."""

    sources: tuple[str, ...]
    target: ClusterPath
    recursive: bool
    force: bool
    jobs: int
    quiet: bool


@dataclass(frozen=True)
class Upload:
    """One local file and where it goes."""

    source: str
    path: str
    length_bytes: int


class SourceType(click.Path):
    """A path of this machine; a shell is offered paths of the cluster, too, after the first one."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        from dolmen.cli.path_completion import complete_path

        local = super().shell_complete(ctx, param, incomplete)
        # One word alone is taken for the target, whether or not it could be one.
        first = ctx.get_parameter_source("target") is not ParameterSource.COMMANDLINE
        return local if first else [*local, *complete_path(ctx, incomplete)]


@click.command()
@click.argument("sources", nargs=-1, required=True, type=SourceType(), metavar="SOURCE...")
@click.argument("target", type=ClusterPathType())
@transfer_options
@settings_flags("block_size", "replication", default="the cluster's")
@client_options
@gathered(PutOptions)
def put(options: PutOptions) -> None:
    """Copy local files to TARGET in the cluster; - is standard input.

    A file appears whole or not at all. Its checksum is compared with the local bytes.

    \b
      dolmen put flights.csv /data/
      dolmen put -r results /data          as /data/results
      zcat log.gz | dolmen put - /logs/today
    """
    shape = FileShape.named(Said.now(), replace=options.force)
    run(lambda session: _put(session, options, shape), options.jobs)


async def _put(session: Session, options: PutOptions, shape: FileShape) -> None:
    client = await session.client(options.target)
    sources = list(_expand(options.sources))
    several = len(sources) > 1 or sources != list(options.sources)
    target = await destination_in(client, options.target, several=several)
    if "-" in sources:
        await _put_standard_input(client, target, shape)
        return
    failures = Failures()
    with meter("put", quiet=options.quiet) as shown:

        async def do(upload: Upload) -> None:
            with failures.item():
                await _put_file(client, upload, shape, shown)

        async def all_files() -> AsyncIterator[Work]:
            for source in sources:
                with failures.looking():
                    root = place(_look(source), target, recursive=options.recursive)
                    async for upload in _uploads(client, source, root, failures):
                        shown.expect(upload.length_bytes)
                        yield partial(do, upload)

        await in_parallel(all_files(), options.jobs)
    failures.end()


async def _uploads(
    client: Client, source: str, root: str, failures: Failures
) -> AsyncIterator[Upload]:
    """The files to copy to `root`; the directories for them are made."""
    walk = _walk(source, "", (), failures)
    while batch := await in_own_thread(lambda: list(islice(walk, LOOKED_AT_TOGETHER))):
        for path, relative, found in batch:
            target = below(root, relative)
            if not stat.S_ISDIR(found.st_mode):
                yield Upload(path, target, found.st_size)
                continue
            with failures.looking():
                await client.make_directory(target, parents=True, exist_ok=True)


async def _put_standard_input(client: Client, target: Destination, shape: FileShape) -> None:
    if target.takes_inside:
        raise click.UsageError("standard input has no name: give the path of a file, and no more")
    with FileIO(STANDARD_INPUT, closefd=False) as stream:
        async with aclosing(local_pieces(stream)) as pieces:
            await store(client, target.path, pieces, shape, NoMeter())


async def _put_file(client: Client, upload: Upload, shape: FileShape, shown: Meter) -> None:
    # Opening a pipe waits for its writer.
    with await in_own_thread(lambda: FileIO(upload.source)) as stream:
        shape = replace(shape, length_bytes=upload.length_bytes)
        async with aclosing(local_pieces(stream)) as pieces:
            await store(client, upload.path, pieces, shape, shown)


def _expand(sources: tuple[str, ...]) -> Iterator[str]:
    """The shell expands patterns, unless they are quoted; a name that exists is itself."""
    for source in sources:
        matches = []
        if has_magic(source) and not os.path.lexists(source):
            matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - gives strings
        yield from matches or [source]


def _look(source: str) -> Source:
    is_directory = stat.S_ISDIR(os.stat(source).st_mode)  # noqa: PTH116 - a string, whose closing slash has a meaning
    name = Path(source).name
    contents = is_directory and (source.endswith("/") or name in ("", ".."))
    return Source(source, name, is_directory, contents)


Entry = tuple[str, str, os.stat_result]


def _walk(
    path: str, relative: str, above: tuple[tuple[int, int], ...], failures: Failures
) -> Iterator[Entry]:
    """`path` and all below it, links followed: (path, path relative to it, what it is)."""
    found = os.stat(path)  # noqa: PTH116 - a string, whose closing slash has a meaning
    if not stat.S_ISDIR(found.st_mode):
        if relative and not stat.S_ISREG(found.st_mode):
            raise RequestRefused(f"{path}: is no regular file")
        yield path, relative, found
        return
    identity = (found.st_dev, found.st_ino)
    if identity in above:
        raise RequestRefused(f"{path}: is a link to a directory above it")
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries)
    yield path, relative, found
    for name in names:
        inner = f"{relative}/{name}" if relative else name
        with failures.looking():
            yield from _walk(f"{path.rstrip('/')}/{name}", inner, (*above, identity), failures)
