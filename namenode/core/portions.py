"""A path and all that is below it, files with their blocks, in small portions.

Whoever looks at every block of a tree takes a slice of a few milliseconds at a time and goes on
behind a bookmark: the name of the last entry seen and, if that is a file with blocks still to come,
its inode id and the index of the next block. So a file of any length, and a tree of any size, take
the same small slices; what changes in between neither hides nor repeats another entry.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec

from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.identifiers import FILE_BLOCKS_LIMIT, format_path
from namenode.core.listing import parse_bookmark, walk_below
from namenode.core.lookup import Names, existing_at, file_block_ids, find_child, load_inode
from namenode.core.records import Inode
from namenode.core.tables import View

WITHIN_FILE = "//"
"""Stands between the name of a file and the block that comes next: no name has it inside."""


PLACE_LIMIT = 40
"""Digits of an inode id and an index, generously."""


class Portion(msgspec.Struct, frozen=True):
    """An entry; or some more blocks of a file, whose first ones were in an earlier portion."""

    names: Names
    inode: Inode
    first_index: int
    block_ids: tuple[int, ...]

    @property
    def path(self) -> str:
        """The whole path."""
        return format_path(self.names)

    @property
    def last(self) -> bool:
        """Whether no more blocks of this entry come."""
        return self.first_index + len(self.block_ids) >= self.inode.block_count


class Slice(msgspec.Struct, frozen=True):
    """Some portions; the next slice begins after `after`, and there is none if `more` is false."""

    portions: tuple[Portion, ...]
    after: str
    more: bool


class Measure(msgspec.Struct, frozen=True):
    """How much one slice may take."""

    entries: int
    blocks: int


class Bookmark(msgspec.Struct, frozen=True):
    """The last entry seen; of the file `inode_id`, if that is one, only to before `index`."""

    below: Names
    inode_id: int = 0
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> "Bookmark":
        """InvalidRequest, or NameTooLong, for what is none."""
        entry, within, place = text.partition(WITHIN_FILE)
        below = parse_bookmark(entry)
        if not within:
            return cls(below)
        inode_id, colon, index = place.partition(":")
        fits = inode_id.isdecimal() and index.isdecimal() and len(place) <= PLACE_LIMIT
        if not (colon and fits):
            raise InvalidRequest(f"{text!r} names no place after which to go on")
        return cls(below, int(inode_id), min(int(index), FILE_BLOCKS_LIMIT))

    def text(self) -> str:
        """The bookmark as it is sent."""
        entry = "/".join(self.below)
        return f"{entry}{WITHIN_FILE}{self.inode_id}:{self.index}" if self.inode_id else entry


def take_slice(view: View, path: str, after: str, measure: Measure) -> Slice:
    """Return the next portions of `path` and what is below it. NoSuchPath, InvalidRequest.

    The path itself comes first, and `measure` must have room for an entry more.
    """
    names, top = existing_at(view, path)
    taken: list[Portion] = []
    blocks_left = measure.blocks
    mark = Bookmark.parse(after)
    for below, inode, index in _ahead(view, top, mark, bool(after)):
        if len(taken) >= measure.entries or blocks_left == 0:
            return Slice(tuple(taken), mark.text(), more=True)
        block_ids = tuple(islice(file_block_ids(view, inode, index), blocks_left))
        taken.append(Portion((*names, *below), inode, index, block_ids))
        blocks_left -= len(block_ids)
        mark = Bookmark(below)
        if not taken[-1].last:
            mark = Bookmark(below, inode.inode_id, index + len(block_ids))
            return Slice(tuple(taken), mark.text(), more=True)
    return Slice(tuple(taken), "", more=False)


def _ahead(
    view: View, top: Inode, mark: Bookmark, resumed: bool
) -> Iterator[tuple[Names, Inode, int]]:
    """Yield (names below the top, inode, index of its first block to come)."""
    if not resumed:
        yield (), top, 0
    elif mark.inode_id:
        inode = _at(view, top, mark.below)
        if inode is not None and inode.inode_id == mark.inode_id:
            yield mark.below, inode, mark.index
    if top.kind == EntryKind.DIRECTORY:
        for below, inode in walk_below(view, top, mark.below):
            yield below, inode, 0


def _at(view: View, top: Inode, below: Names) -> Inode | None:
    """Return what is at these names below `top`, None if nothing is any more."""
    inode_id = top.inode_id
    for name in below:
        child_id = find_child(view, inode_id, name)
        if child_id is None:
            return None
        inode_id = child_id
    return load_inode(view, inode_id)
