"""`dolmen tree`: what is below a directory, drawn.

Whether an entry is the last of its directory is known when the next one is, so each directory on
the way down keeps one entry ahead and a page of its listing, and nothing else is kept.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import click

from dolmen.cli.cluster_path import ClusterPath, parse_cluster_path, path_arguments
from dolmen.cli.find import entries_below
from dolmen.cli.formats import entry_document, printable
from dolmen.cli.options import gathered
from dolmen.cli.printing import Rows
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.cli.sources import Found, find_sources
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import NoSuchPath, NotADirectory
from dolmen.protocol.identifiers import DEPTH_LIMIT


@dataclass(frozen=True)
class TreeOptions:
    """What `tree` was asked for."""

    paths: tuple[ClusterPath, ...]
    levels: int | None
    directories_only: bool
    as_json: bool


@dataclass
class Level:
    """A directory on the way down: what stands before its entries, and those to come."""

    prefix: str
    entries: AsyncIterator[FileInfo]
    ahead: FileInfo | None = None

    async def step(self) -> FileInfo | None:
        """The next entry, while `ahead` becomes the one after it."""
        entry, self.ahead = self.ahead, await anext(self.entries, None)
        return entry


@dataclass
class Count:
    """What was drawn."""

    directories: int = 0
    files: int = 0

    def add(self, entry: FileInfo) -> None:
        if entry.kind is EntryKind.DIRECTORY:
            self.directories += 1
        else:
            self.files += 1


@click.command()
@path_arguments("paths", required=False)
@click.option(
    "-L", "levels", metavar="N", type=click.IntRange(1, DEPTH_LIMIT), help="So many levels down."
)
@click.option("-d", "directories_only", is_flag=True, help="Directories only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@client_options
@gathered(TreeOptions)
def tree(options: TreeOptions) -> None:
    """Draw what is below directories; without a path, below the root.

    \b
      dolmen tree -L 2 /data
    """
    run(lambda session: _show(session, options))


async def _show(session: Session, options: TreeOptions) -> None:
    failures = Failures()
    paths = options.paths or (parse_cluster_path("/"),)
    count = Count()
    with Rows() as rows:
        for root in await find_sources(session, paths, failures):
            with failures.item():
                if options.as_json:
                    await _list(root, options, rows)
                else:
                    rows.add(printable(root.shown))
                    await _draw(root, options, rows, count)
        if not options.as_json:
            rows.add(f"\n{summary(count, options.directories_only)}")
    failures.end()


async def _list(root: Found, options: TreeOptions, rows: Rows) -> None:
    async for entry, depth in entries_below(root, options.levels):
        if entry.kind is EntryKind.DIRECTORY or not options.directories_only:
            document = entry_document(entry, root.asked.shown(entry.path))
            rows.add_document({**document, "depth": depth})


async def _draw(root: Found, options: TreeOptions, rows: Rows, count: Count) -> None:
    if root.info.kind is EntryKind.FILE:
        count.files += 1
        return
    levels = [await _level(root, root.info, "", options)]
    while levels:
        level = levels[-1]
        entry = await level.step()
        if entry is None:
            levels.pop()
            continue
        count.add(entry)
        branch, below = ("├── ", "│   ") if level.ahead else ("└── ", "    ")
        rows.add(level.prefix + branch + printable(entry.path.rpartition("/")[2]))
        deeper = options.levels is None or len(levels) < options.levels
        if entry.kind is EntryKind.DIRECTORY and deeper:
            levels.append(await _level(root, entry, level.prefix + below, options))


async def _level(root: Found, directory: FileInfo, prefix: str, options: TreeOptions) -> Level:
    level = Level(prefix, _entries(root, directory, options))
    await level.step()
    return level


async def _entries(
    root: Found, directory: FileInfo, options: TreeOptions
) -> AsyncIterator[FileInfo]:
    try:
        async for entry in root.client.iterate_directory(directory.path):
            if entry.kind is EntryKind.DIRECTORY or not options.directories_only:
                yield entry
    except (NoSuchPath, NotADirectory):
        return  # deleted since its parent was listed


def summary(count: Count, directories_only: bool) -> str:
    """How much was drawn, as `tree` ends with it."""
    directories = f"{count.directories} director{'y' if count.directories == 1 else 'ies'}"
    files = f"{count.files} file{'' if count.files == 1 else 's'}"
    return directories if directories_only else f"{directories}, {files}"
