"""`dolmen ls` and `dolmen du`."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import click

from dolmen.cli.cluster_path import ClusterPath, parse_cluster_path, path_arguments
from dolmen.cli.formats import (
    entry_document,
    local_time,
    mode_text,
    printable,
    size_text,
    table,
)
from dolmen.cli.globs import expand
from dolmen.cli.options import gathered
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.client import Client
from dolmen.protocol.client_messages import EntryKind, FileInfo

#: Rows whose columns are lined up together; a longer listing is printed as it comes.
ROWS_TOGETHER = 1000

LEFT_COLUMNS = frozenset({0, 2, 3})


@dataclass(frozen=True)
class ListOptions:
    """What `ls` was asked for."""

    paths: tuple[ClusterPath, ...]
    long: bool
    recursive: bool
    human: bool
    directory: bool
    as_json: bool


@dataclass(frozen=True)
class UsageOptions:
    """What `du` was asked for."""

    paths: tuple[ClusterPath, ...]
    summary: bool
    human: bool
    as_json: bool


@dataclass(frozen=True)
class Usage:
    """What is at and below a path: its length, and the space of all replicas."""

    path: str
    length_bytes: int
    space_bytes: int

    def plus(self, other: "Usage") -> "Usage":
        return Usage(
            self.path,
            self.length_bytes + other.length_bytes,
            self.space_bytes + other.space_bytes,
        )


@click.command()
@path_arguments("paths", required=False)
@click.option("-l", "long", is_flag=True, help="Mode, replication, owner, length, time.")
@click.option("-R", "recursive", is_flag=True, help="All that is below, too.")
@click.option("-h", "human", is_flag=True, help="Lengths as 1.5K, 12M.")
@click.option("-d", "directory", is_flag=True, help="Directories themselves, not their entries.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@client_options
@gathered(ListOptions)
def ls(options: ListOptions) -> None:
    """List files, and the entries of directories; without a path, of the root.

    Paths are printed in the form they were asked in.

    \b
      dolmen ls -l /data
      dolmen ls -d '/data/2013-*'
      dolmen ls dolmen://namenode:9870/data
    """
    run(lambda session: _list(session, options))


@click.command()
@path_arguments("paths", required=False)
@click.option("-s", "summary", is_flag=True, help="One line for each path, not for its entries.")
@click.option("-h", "human", is_flag=True, help="Lengths as 1.5K, 12M.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@client_options
@gathered(UsageOptions)
def du(options: UsageOptions) -> None:
    """Show length, space with all replicas, and path of the entries of directories."""
    run(lambda session: _measure(session, options))


async def _list(session: Session, options: ListOptions) -> None:
    failures = Failures()
    for path in options.paths or (parse_cluster_path("/"),):
        with failures.item():
            client = await session.client(path)
            rows: list[FileInfo] = []
            for found in await expand(client, path.path):
                async for entry in _listed(client, found, options):
                    rows.append(entry)
                    if len(rows) == ROWS_TOGETHER:
                        _print_entries(rows, path, options)
                        rows.clear()
            _print_entries(rows, path, options)
    failures.end()


async def _listed(client: Client, found: FileInfo, options: ListOptions) -> AsyncIterator[FileInfo]:
    if found.kind is EntryKind.FILE or options.directory:
        yield found
        return
    entries = client.walk_tree if options.recursive else client.iterate_directory
    async for entry in entries(found.path):
        yield entry


def _print_entries(rows: list[FileInfo], asked: ClusterPath, options: ListOptions) -> None:
    if options.as_json:
        for row in rows:
            click.echo(json.dumps(entry_document(row, asked.shown(row.path))))
    elif options.long:
        cells = [_long_row(row, asked, options.human) for row in rows]
        click.echo("".join(f"{line}\n" for line in table(cells, LEFT_COLUMNS)), nl=False)
    else:
        lines = (printable(asked.shown(row.path)) for row in rows)
        click.echo("".join(f"{line}\n" for line in lines), nl=False)


def _long_row(info: FileInfo, asked: ClusterPath, human: bool) -> tuple[str, ...]:
    return (
        mode_text(info),
        str(info.replication) if info.kind is EntryKind.FILE else "-",
        printable(info.owner),
        printable(info.group),
        size_text(info.length_bytes, human),
        local_time(info.modified_ms),
        printable(asked.shown(info.path)),
    )


async def _measure(session: Session, options: UsageOptions) -> None:
    failures = Failures()
    for path in options.paths or (parse_cluster_path("/"),):
        with failures.item():
            client = await session.client(path)
            rows: list[Usage] = []
            for found in await expand(client, path.path):
                async with aclosing(_usages(client, found, options.summary)) as usages:
                    async for usage in usages:
                        rows.append(usage)
                        if len(rows) == ROWS_TOGETHER:
                            _print_usages(rows, path, options)
                            rows.clear()
            _print_usages(rows, path, options)
    failures.end()


async def _usages(client: Client, found: FileInfo, summary: bool) -> AsyncGenerator[Usage, None]:
    """Of `found` itself, or of each entry of the directory it is, one after the other."""
    if found.kind is EntryKind.FILE:
        yield _usage(found, found.path)
        return
    depth = found.path.rstrip("/").count("/") + 2
    total = Usage(found.path, 0, 0) if summary else None
    async for entry in client.walk_tree(found.path):
        path = found.path if summary else "/".join(entry.path.split("/")[:depth])
        usage = _usage(entry, path)
        if total is not None and total.path == path:
            usage = total.plus(usage)
        elif total is not None:
            yield total
        total = usage
    if total is not None:
        yield total


def _usage(info: FileInfo, path: str) -> Usage:
    return Usage(path, info.length_bytes, info.length_bytes * info.replication)


def _print_usages(usages: list[Usage], asked: ClusterPath, options: UsageOptions) -> None:
    if options.as_json:
        for usage in usages:
            document = {
                "path": asked.shown(usage.path),
                "length_bytes": usage.length_bytes,
                "space_bytes": usage.space_bytes,
            }
            click.echo(json.dumps(document))
        return
    rows = [
        (
            size_text(usage.length_bytes, options.human),
            size_text(usage.space_bytes, options.human),
            printable(asked.shown(usage.path)),
        )
        for usage in usages
    ]
    for line in table(rows):
        click.echo(line)
