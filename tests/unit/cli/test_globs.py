"""Patterns in paths of a cluster, on a namespace that is a dict."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dolmen.cli.globs import expand
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import NoSuchPath


class DictTree:
    """Files and the directories above them."""

    def __init__(self, *files: str) -> None:
        self._entries = {"/": EntryKind.DIRECTORY}
        for file in files:
            for depth in range(2, file.count("/") + 1):
                self._entries["/".join(file.split("/")[:depth])] = EntryKind.DIRECTORY
            self._entries[file] = EntryKind.FILE

    async def info(self, path: str) -> FileInfo:
        if path not in self._entries:
            raise NoSuchPath("does not exist", path)
        return FileInfo(path, 1, self._entries[path], 0, 0o644, "o", "g", 0, 0)

    async def iterate_directory(self, path: str) -> AsyncIterator[FileInfo]:
        for entry in sorted(self._entries):
            if entry != "/" and entry.rpartition("/")[0] == path.rstrip("/"):
                yield await self.info(entry)


TREE = DictTree(
    "/a/1.csv", "/a/2.csv", "/a/.hidden", "/a/b/1.csv", "/a/b/c/1.csv", "/x/[1]", "/x/1"
)


def matches(pattern: str) -> list[str]:
    return [entry.path for entry in asyncio.run(expand(TREE, pattern))]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/a/1.csv", ["/a/1.csv"]),
        ("/", ["/"]),
        ("/*", ["/a", "/x"]),
        ("/a/*", ["/a/1.csv", "/a/2.csv", "/a/b"]),
        ("/a/.*", ["/a/.hidden"]),
        ("/a/?.csv", ["/a/1.csv", "/a/2.csv"]),
        ("/a/[!1].csv", ["/a/2.csv"]),
        ("/*/b/1.csv", ["/a/b/1.csv"]),
        ("/a/**/1.csv", ["/a/1.csv", "/a/b/1.csv", "/a/b/c/1.csv"]),
        ("/a/b/**", ["/a/b/1.csv", "/a/b/c", "/a/b/c/1.csv"]),
    ],
)
def test_a_pattern_matches_as_in_a_shell(pattern: str, expected: list[str]) -> None:
    assert matches(pattern) == expected


def test_a_path_that_exists_is_itself_and_no_pattern() -> None:
    assert matches("/x/[1]") == ["/x/[1]"]


@pytest.mark.parametrize("pattern", ["/nothing", "/a/*.parquet", "/nothing/*"])
def test_what_matches_nothing_is_not_found(pattern: str) -> None:
    with pytest.raises(NoSuchPath):
        matches(pattern)
