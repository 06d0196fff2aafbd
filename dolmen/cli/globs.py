"""`*`, `?` and `[...]` in paths of a cluster, as a shell has them; `**` is any number of levels.

A path that exists is itself, whatever its characters. A name that begins with a dot is matched only
by a pattern that does.
"""

import fnmatch
from collections.abc import AsyncIterator
from typing import Protocol

from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import NoSuchPath

MAGIC = frozenset("*?[")

#: More matches than anyone means in one command; they are held in memory.
MATCHES_MAX = 1_000_000


class Tree(Protocol):
    """What a client knows of a namespace."""

    async def info(self, path: str) -> FileInfo: ...

    def iterate_directory(self, path: str) -> AsyncIterator[FileInfo]: ...


def has_magic(text: str) -> bool:
    return not MAGIC.isdisjoint(text)


async def expand(tree: Tree, path: str) -> list[FileInfo]:
    """What is at `path`, or all that it matches, in byte order; NoSuchPath if nothing is."""
    try:
        return [await tree.info(path)]
    except NoSuchPath as error:
        if not has_magic(path):
            there = await _deepest_there(tree, path)
            raise NoSuchPath(
                f"{error.message}; dolmen ls {there} shows what is there", path
            ) from None
    found: dict[str, FileInfo] = {}
    async for entry in _matches(tree, await tree.info("/"), path.strip("/").split("/")):
        found[entry.path] = entry
        if len(found) > MATCHES_MAX:
            raise NoSuchPath(f"{path} matches more than {MATCHES_MAX} paths: name fewer")
    if not found:
        raise NoSuchPath(f"{path}: nothing matches")
    return [found[match] for match in sorted(found, key=str.encode)]


async def _deepest_there(tree: Tree, path: str) -> str:
    """The nearest directory above `path` that exists: behind it the path goes wrong."""
    while path := path.rpartition("/")[0]:
        try:
            await tree.info(path)
        except NoSuchPath:
            continue
        return path
    return "/"


async def _matches(tree: Tree, directory: FileInfo, patterns: list[str]) -> AsyncIterator[FileInfo]:
    """What the patterns, one for each level, match below `directory`."""
    pattern, rest = patterns[0], patterns[1:]
    if pattern == "**":
        async for match in _matches_anywhere(tree, directory, rest):
            yield match
        return
    async for entry in _entries(tree, directory, pattern):
        if not rest:
            yield entry
        elif entry.kind is EntryKind.DIRECTORY:
            async for match in _matches(tree, entry, rest):
                yield match


async def _matches_anywhere(
    tree: Tree, directory: FileInfo, rest: list[str]
) -> AsyncIterator[FileInfo]:
    async for match in _matches(tree, directory, rest or ["*"]):
        yield match
    async for entry in _entries(tree, directory, "*"):
        if entry.kind is EntryKind.DIRECTORY:
            async for match in _matches_anywhere(tree, entry, rest):
                yield match


async def _entries(tree: Tree, directory: FileInfo, pattern: str) -> AsyncIterator[FileInfo]:
    if not has_magic(pattern):
        try:
            yield await tree.info(f"{directory.path.rstrip('/')}/{pattern}")
        except NoSuchPath:
            return
        return
    async for entry in tree.iterate_directory(directory.path):
        if name_matches(entry.path.rpartition("/")[2], pattern):
            yield entry


def name_matches(name: str, pattern: str) -> bool:
    if name.startswith(".") and not pattern.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, pattern)
