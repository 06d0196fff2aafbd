"""`dolmen append`, `truncate`, `concat` and `recover-lease`: files that grow and shrink."""

import asyncio
import errno
import os
import stat
from contextlib import aclosing, suppress
from io import FileIO

import click

from dolmen.cli.cluster_path import ClusterPath, ClusterPathType, path_arguments
from dolmen.cli.ends import parse_part
from dolmen.cli.put import SourceType
from dolmen.cli.said import Said, client_options, settings_flags
from dolmen.cli.session import Failures, Session, run
from dolmen.cli.sources import find_sources
from dolmen.cli.standard_streams import STANDARD_INPUT
from dolmen.cli.store import FileShape
from dolmen.cli.streams import in_own_thread, local_pieces
from dolmen.cli.touch import check_parent
from dolmen.client import AppendWriter, Client
from dolmen.protocol.errors import NoSuchPath, RequestRefused

#: A stream may pause for hours: what came is shown after a while, and each time costs a block.
FLUSH_EVERY_S = 1.0


class LengthType(click.ParamType[int]):
    """Reads a length in bytes."""

    name = "length"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        part = parse_part(str(value), bytes_meant=True)
        if part is None or part.sign:
            self.fail(f"{value} is no length such as 0, 1000 or 64K", param, ctx)
        return part.number


@click.command()
@click.argument("sources", nargs=-1, required=True, type=SourceType(), metavar="LOCAL...")
@click.argument("target", type=ClusterPathType())
@settings_flags("block_size", "replication", default="the cluster's")
@client_options
def append(sources: tuple[str, ...], target: ClusterPath) -> None:
    """Write local files behind the end of TARGET, which is made if it is not there; - is standard
    input.

    All files together are added in one step; what comes from standard input is seen after a second.

    \b
      dolmen append new.csv /data/flights.csv
      journalctl -f | dolmen append - /logs/journal
    """
    shape = FileShape.named(Said.now(), replace=False)

    async def work(session: Session) -> None:
        client = await session.client(target)
        await in_own_thread(lambda: _check_local(sources))
        async with await _open(client, target.path, shape) as writer:
            for source in sources:
                await _append(writer, source)

    run(work)


@click.command()
@click.argument("length_bytes", type=LengthType(), metavar="LENGTH")
@path_arguments("paths")
@client_options
def truncate(length_bytes: int, paths: tuple[ClusterPath, ...]) -> None:
    """Take away what files have behind their first LENGTH bytes.

    \b
      dolmen truncate 0 /logs/today
      dolmen truncate 64K '/samples/*'
    """

    async def work(session: Session) -> None:
        failures = Failures()
        for found in await find_sources(session, paths, failures):
            with failures.item():
                await found.client.truncate(found.file, length_bytes)
        failures.end()

    run(work)


@click.command()
@click.argument("target", type=ClusterPathType())
@click.argument("sources", nargs=-1, required=True, type=ClusterPathType(), metavar="SOURCE...")
@client_options
def concat(target: ClusterPath, sources: tuple[ClusterPath, ...]) -> None:
    """Put the bytes of SOURCES behind those of TARGET, in one step in which the sources vanish.

    No byte is moved, however long the files are.

    \b
      dolmen concat /data/all.csv '/data/part-*'
    """

    async def work(session: Session) -> None:
        failures = Failures()
        found = await find_sources(session, sources, failures)
        failures.end()
        for one in found:
            if session.address_of(one.asked) != session.address_of(target):
                raise RequestRefused("is a file of another cluster: dolmen cp it first", one.file)
        client = await session.client(target)
        await client.concat(target.path, [one.file for one in found])

    run(work)


@click.command("recover-lease")
@path_arguments("paths")
@client_options
def recover_lease(paths: tuple[ClusterPath, ...]) -> None:
    """Take the right to write files from whoever has it. What was flushed stays."""

    async def work(session: Session) -> None:
        failures = Failures()
        for found in await find_sources(session, paths, failures):
            with failures.item():
                await found.client.recover_lease(found.file)
        failures.end()

    run(work)


def _check_local(sources: tuple[str, ...]) -> None:
    """What cannot be read is told before anything is made."""
    for source in sources:
        if source != "-" and stat.S_ISDIR(os.stat(source).st_mode):  # noqa: PTH116 - as in `put`
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), source)


async def _open(client: Client, path: str, shape: FileShape) -> AppendWriter:
    try:
        return await client.open_appender(path)
    except NoSuchPath:
        await check_parent(client, path)
    return await client.open_appender(
        path,
        create=True,
        replication=shape.replication,
        block_size_bytes=shape.block_size_bytes,
    )


async def _append(writer: AppendWriter, source: str) -> None:
    if source == "-":
        with FileIO(STANDARD_INPUT, closefd=False) as stream:
            await _append_stream(writer, stream)
    else:
        # Opening a pipe waits for its writer.
        with await in_own_thread(lambda: FileIO(source)) as stream:
            async with aclosing(local_pieces(stream)) as pieces:
                async for piece in pieces:
                    await writer.write(piece)


async def _append_stream(writer: AppendWriter, stream: FileIO) -> None:
    """Append what may come slowly, and have it seen soon."""
    ended = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_flush_until(ended, writer))
            async with aclosing(local_pieces(stream)) as pieces:
                async for piece in pieces:
                    await writer.write(piece)
            ended.set()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _flush_until(ended: asyncio.Event, writer: AppendWriter) -> None:
    while not ended.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_EVERY_S):
                await ended.wait()
        await writer.flush()
