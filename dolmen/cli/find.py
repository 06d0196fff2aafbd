"""`dolmen find`: what is below directories and is as it was asked for."""

import fnmatch
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import click

from dolmen.cli.cluster_path import (
    ClusterPath,
    ClusterPathType,
    parse_cluster_path,
    path_arguments,
)
from dolmen.cli.formats import entry_document, printable
from dolmen.cli.options import gathered
from dolmen.cli.printing import Rows
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.cli.sources import Found, find_sources
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.identifiers import DEPTH_LIMIT

KINDS = {"f": EntryKind.FILE, "d": EntryKind.DIRECTORY}

#: As find has them; without a letter they are blocks of 512 bytes there, which nobody expects.
SIZE_UNITS = {"": 1, "c": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class FindOptions:
    """What `find` was asked for."""

    paths: tuple[ClusterPath, ...]
    name: str | None
    kind: str | None
    min_depth: int
    max_depth: int | None
    size: tuple[str, int] | None
    newer: ClusterPath | None
    as_json: bool


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    found = re.fullmatch(r"([+-]?)([0-9]{1,18})([A-Za-z]?)", value)
    if found is None or found[3] not in SIZE_UNITS:
        raise click.BadParameter(f"{value} is no length such as 0, +64M (more) or -1k (less)")
    return found[1], int(found[2]) * SIZE_UNITS[found[3]]


DEPTH = click.IntRange(0, DEPTH_LIMIT)


@click.command()
@path_arguments("paths", required=False)
@click.option("--name", "-name", metavar="GLOB", help="Only names that match, as 'a*' does.")
@click.option("--type", "-type", "kind", type=click.Choice(list(KINDS)), help="Files, directories.")
@click.option(
    "--mindepth",
    "-mindepth",
    "min_depth",
    metavar="N",
    type=DEPTH,
    default=0,
    help="Only what is so many levels below PATH, or more.",
)
@click.option(
    "--maxdepth",
    "-maxdepth",
    "max_depth",
    metavar="N",
    type=DEPTH,
    help="Only what is so many levels below PATH, or less; PATH itself is 0.",
)
@click.option(
    "--size",
    "-size",
    metavar="[+-]N[kMGT]",
    callback=_size,
    help="Only files of so many bytes; +N of more, -N of less.",
)
@click.option(
    "--newer",
    "-newer",
    metavar="PATH",
    type=ClusterPathType(),
    help="Only what was modified after PATH was.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@client_options
@gathered(FindOptions)
def find(options: FindOptions) -> None:
    """List what is at and below paths, parents first, names in byte order.

    \b
      dolmen find /data --name '*.csv' --type f
      dolmen find /logs --maxdepth 1 --size +1G --json
    """
    run(lambda session: _find(session, options))


async def _find(session: Session, options: FindOptions) -> None:
    failures = Failures()
    after_ms = await _modified_ms(session, options.newer)
    paths = options.paths or (parse_cluster_path("/"),)
    with Rows() as rows:
        for root in await find_sources(session, paths, failures):
            with failures.item():
                async for entry, depth in entries_below(root, options.max_depth):
                    if is_wanted(entry, depth, options) and entry.modified_ms > after_ms:
                        path = root.asked.shown(entry.path)
                        if options.as_json:
                            rows.add_document(entry_document(entry, path))
                        else:
                            rows.add(printable(path))
    failures.end()


async def entries_below(
    root: Found, max_depth: int | None = None
) -> AsyncIterator[tuple[FileInfo, int]]:
    """`root` and what is below it, each with how many levels below `root` it is."""
    yield root.info, 0
    if root.info.kind is EntryKind.FILE or max_depth == 0:
        return
    level = _level(root.info.path)
    async for entry in root.client.walk_tree(root.info.path, max_depth or 0):
        yield entry, _level(entry.path) - level


def _level(path: str) -> int:
    return path.rstrip("/").count("/")


async def _modified_ms(session: Session, path: ClusterPath | None) -> int:
    if path is None:
        return -1
    return (await (await session.client(path)).info(path.path)).modified_ms


def is_wanted(entry: FileInfo, depth: int, options: FindOptions) -> bool:
    """Whether all that was asked of an entry holds, its time apart."""
    if depth < options.min_depth:
        return False
    if options.kind is not None and entry.kind is not KINDS[options.kind]:
        return False
    if options.size is not None and not _has_size(entry, options.size):
        return False
    name = entry.path.rpartition("/")[2] or "/"
    return options.name is None or fnmatch.fnmatchcase(name, options.name)


def _has_size(entry: FileInfo, size: tuple[str, int]) -> bool:
    if entry.kind is not EntryKind.FILE:
        return False
    sign, length_bytes = size
    if sign == "+":
        return entry.length_bytes > length_bytes
    if sign == "-":
        return entry.length_bytes < length_bytes
    return entry.length_bytes == length_bytes
