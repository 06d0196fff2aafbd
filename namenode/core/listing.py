"""Answers about the tree: one entry, a directory page by page, everything below a directory.

Pages continue by name, never by position, so what changes between two pages neither hides nor
repeats another entry. A page ends at the wanted number of entries or before it outgrows a message.
"""

from collections.abc import Iterator

from dolmen.protocol.client_messages import (
    EntryKind,
    FileInfo,
    GetInfo,
    GetInfos,
    Infos,
    ListDirectory,
    Listing,
    WalkTree,
    make_listing,
)
from dolmen.protocol.errors import InvalidRequest, NoSuchPath, NotADirectory
from dolmen.protocol.identifiers import INFOS_LIMIT, LISTING_LIMIT, check_name, format_path
from namenode.core.case import OWNER_LIMIT_BYTES
from namenode.core.lookup import (
    Names,
    children,
    existing_at,
    find_child,
    info_at,
    info_of,
    load_inode,
)
from namenode.core.records import Inode
from namenode.core.tables import View

PAGE_LIMIT_BYTES = 768 * 1024
"""A page fits a message of 1 MiB, its last entry and the envelope included."""

_INFO_BYTES = 150 + 2 * OWNER_LIMIT_BYTES
"""A FileInfo without its path, generously."""

_CHARACTER_BYTES = 4
"""The most that a character takes."""


class _Page:
    """Collects entries until the page is full."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise InvalidRequest(f"a page has at least one entry, not {limit}")
        self.entries: list[FileInfo] = []
        self._limit = min(limit, LISTING_LIMIT)
        self._bytes = 0

    def take(self, path: str, inode: Inode) -> bool:
        """Add an entry; return False, and leave it out, if the page is full."""
        if len(self.entries) == self._limit or self._bytes > PAGE_LIMIT_BYTES:
            return False
        self.entries.append(info_at(path, inode))
        self._bytes += _most_bytes(path)
        return True


def _most_bytes(path: str) -> int:
    """Return what a FileInfo of this path takes at most."""
    return _INFO_BYTES + len(path) * (1 if path.isascii() else _CHARACTER_BYTES)


def _above(names: Names) -> str:
    """Return what stands before the names of entries below `names`."""
    return format_path((*names, ""))


def get_info(view: View, request: GetInfo) -> FileInfo:
    """Answer GetInfo."""
    return info_of(*existing_at(view, request.path))


def get_infos(view: View, request: GetInfos) -> Infos:
    """Answer GetInfos."""
    if not 0 < len(request.paths) <= INFOS_LIMIT:
        raise InvalidRequest(f"{len(request.paths)} paths: from 1 to {INFOS_LIMIT} may be asked")
    entries: list[FileInfo | None] = []
    page_bytes = 0
    for path in request.paths:
        page_bytes += _most_bytes(path)
        if entries and page_bytes > PAGE_LIMIT_BYTES:
            break
        try:
            entries.append(info_of(*existing_at(view, path)))
        except (NoSuchPath, NotADirectory):
            entries.append(None)
    return Infos(tuple(entries))


def list_directory(view: View, request: ListDirectory) -> Listing:
    """Answer ListDirectory."""
    names, inode = existing_at(view, request.path)
    if inode.kind != EntryKind.DIRECTORY:
        raise NotADirectory(f"{format_path(names)}: is a file", format_path(names))
    page = _Page(request.limit)
    if request.after:
        check_name(request.after, request.after)
    above = _above(names)
    after = request.after
    for name, child in children(view, inode.inode_id, after):
        if not page.take(above + name, child):
            return make_listing(page.entries, after)
        after = name
    return make_listing(page.entries)


def walk_tree(view: View, request: WalkTree) -> Listing:
    """Answer WalkTree."""
    names, inode = existing_at(view, request.path)
    if request.max_depth < 0:
        raise InvalidRequest(f"max_depth {request.max_depth} is below 0")
    page = _Page(request.limit)
    if inode.kind != EntryKind.DIRECTORY:
        return make_listing(())
    after, above = parse_bookmark(request.after), _above(names)
    for below, child in walk_below(view, inode, after, request.max_depth):
        if not page.take(above + "/".join(below), child):
            return make_listing(page.entries, "/".join(after))
        after = below
    return make_listing(page.entries)


def parse_bookmark(text: str) -> Names:
    """Return the names of an entry below a walk's start. InvalidRequest, NameTooLong."""
    names = tuple(name for name in text.split("/") if name)
    for name in names:
        check_name(name, text)
    return names


def walk_below(
    view: View, top: Inode, after: Names, max_depth: int = 0
) -> Iterator[tuple[Names, Inode]]:
    """Yield the entries below `top` that come after the entry `after`, depth first."""
    return _walk(view, _resume(view, top, after), max_depth)


_Place = tuple[int, Names, str]
"""A directory's inode id, its names below the walk's start, the last name in it already seen."""


def _resume(view: View, top: Inode, after: Names) -> list[_Place]:
    """Return the directories in which a walk that has seen `after` goes on, the deepest last.

    What of `after` no longer exists is passed by: its place in the order remains.
    """
    stack: list[_Place] = []
    directory_id, below = top.inode_id, Names()
    for name in after:
        stack.append((directory_id, below, name))
        child_id = find_child(view, directory_id, name)
        if child_id is None or load_inode(view, child_id).kind != EntryKind.DIRECTORY:
            return stack
        directory_id, below = child_id, (*below, name)
    stack.append((directory_id, below, ""))
    return stack


def _walk(view: View, stack: list[_Place], max_depth: int) -> Iterator[tuple[Names, Inode]]:
    """Yield what comes next, depth first. Only one scan is open at a time, however deep."""
    while stack:
        directory_id, below, after = stack.pop()
        if max_depth and len(below) >= max_depth:
            continue
        for name, child in children(view, directory_id, after):
            path = (*below, name)
            yield path, child
            if child.kind == EntryKind.DIRECTORY:
                stack.append((directory_id, below, name))
                stack.append((child.inode_id, path, ""))
                break
