"""Reading the tables: records by their ids, and paths resolved to inodes.

A path is resolved through `entries` alone, one look-up for each name; only the last inode is read.
What is not there says why in the caller's terms: a missing name is NoSuchPath, a file in the middle
of a path NotADirectory.
"""

from collections.abc import Iterable, Iterator

import msgspec

from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import DataDamaged, NoSuchPath, NotADirectory
from dolmen.protocol.identifiers import (
    ROOT_INODE_ID,
    format_block_id,
    format_path,
    parse_path,
)
from namenode.core import tables
from namenode.core.records import (
    BLOCK,
    CONTENT,
    DATANODE,
    ENTRY,
    INODE,
    LEASE,
    META_KEY,
    Block,
    Datanode,
    Inode,
    Lease,
    Meta,
)
from namenode.core.sheet import ANSWERED, COUNTERS, ENTRIES, INODES, find_record
from namenode.core.tables import View

NUMBER_LIMIT = 1 << 64
"""Ids are keys of 8 bytes; what a caller sends may be any integer."""

Names = tuple[str, ...]


def load_meta(view: View) -> Meta:
    """Return the counters of the namespace."""
    meta = find_record(view, COUNTERS, META_KEY)
    if meta is None:
        raise DataDamaged("the namespace has no meta record: it was never formatted")
    return meta


def trash_count(view: View) -> int:
    """Return how many deleted or replaced files are still kept."""
    return view.count(tables.DOOMED) - load_meta(view).hidden_files


def find_inode(view: View, inode_id: int) -> Inode | None:
    """Return an inode, or None."""
    if not 0 < inode_id < NUMBER_LIMIT:
        return None
    return find_record(view, INODES, tables.number_key(inode_id))


def load_inode(view: View, inode_id: int) -> Inode:
    """Return an inode that must exist."""
    inode = find_inode(view, inode_id)
    if inode is None:
        raise no_such_inode(inode_id)
    return inode


def no_such_inode(inode_id: int) -> DataDamaged:
    """Return what an inode that is missing means."""
    return DataDamaged(f"inode {inode_id} is named by a record or an edit and does not exist")


def load_content(view: View, inode: Inode) -> bytes:
    """Return the bytes of a file that has no blocks."""
    if not inode.is_inline:
        return b""
    value = view.get(tables.CONTENTS, tables.number_key(inode.inode_id))
    if value is None:
        raise DataDamaged(f"the content of inode {inode.inode_id} does not exist")
    return CONTENT.decode(value).data


def find_block(view: View, block_id: int) -> Block | None:
    """Return a block, or None."""
    if not 0 <= block_id < NUMBER_LIMIT:
        return None
    value = view.get(tables.BLOCKS, tables.number_key(block_id))
    return None if value is None else BLOCK.decode(value)


def load_block(view: View, block_id: int) -> Block:
    """Return a block that must exist."""
    block = find_block(view, block_id)
    if block is None:
        name = format_block_id(block_id)
        raise DataDamaged(f"block {name} is named by a record or an edit and does not exist")
    return block


def datanode_numbers(view: View, datanode_ids: Iterable[str]) -> tuple[int, ...]:
    """Return the numbers of datanodes that must have registered."""
    return tuple(_load_datanode(view, datanode_id).number for datanode_id in datanode_ids)


def _load_datanode(view: View, datanode_id: str) -> Datanode:
    value = view.get(tables.DATANODES, datanode_id.encode())
    if value is None:
        raise DataDamaged(f"datanode {datanode_id} is named by an edit and does not exist")
    return DATANODE.recall(value)


def find_file_block(view: View, inode_id: int, index: int) -> int | None:
    """Return the id of block number `index` of a file, or None."""
    value = view.get(tables.FILE_BLOCKS, tables.file_block_key(inode_id, index))
    return None if value is None else tables.read_number(value)


def file_block_keys(view: View, inode: Inode, first_index: int = 0) -> Iterator[bytes]:
    """Yield the ids of a file's blocks from `first_index` on, as the keys that they are."""
    if not inode.block_count:
        return
    start = tables.file_block_key(inode.inode_id, first_index)
    for key, value in view.scan(tables.FILE_BLOCKS, start):
        if key[:8] != start[:8]:
            return
        yield value


def file_block_ids(view: View, inode: Inode, first_index: int = 0) -> Iterator[int]:
    """Yield the ids of a file's blocks from `first_index` on."""
    return map(tables.read_number, file_block_keys(view, inode, first_index))


def find_lease(view: View, inode_id: int) -> Lease | None:
    """Return the lease on an unpublished file, or None."""
    if not 0 < inode_id < NUMBER_LIMIT:
        return None
    value = view.get(tables.LEASES, tables.number_key(inode_id))
    return None if value is None else LEASE.decode(value)


def find_child(view: View, parent_id: int, name: str) -> int | None:
    """Return the inode id at a name of a directory, or None."""
    entry = find_record(view, ENTRIES, tables.entry_key(parent_id, name))
    return None if entry is None else entry.inode_id


def find_answer(view: View, client_id: bytes, number: int) -> bytes | None:
    """Return the reply to a call that was answered before, or None."""
    kept = find_record(view, ANSWERED, tables.answers_key(client_id, number))
    if kept is not None:
        for answer in kept.answers:
            if answer.number == number:
                return answer.reply
    return None


def children(view: View, parent_id: int, after: str = "") -> Iterator[tuple[str, Inode]]:
    """Yield (name, inode) of a directory's entries after the name `after`, in byte order."""
    start = tables.entry_key(parent_id, after)
    if after:
        start += b"\0"  # no name has a NUL: this is the least key behind `after`
    directory = start[:8]
    for key, value in view.scan(tables.ENTRIES, start):
        if key[:8] != directory:
            return
        inode_id = ENTRY.decode(value).inode_id
        record = view.get(tables.INODES, tables.number_key(inode_id))
        if record is None:
            raise no_such_inode(inode_id)
        yield key[8:].decode(), INODE.decode(record)


class Resolved(msgspec.Struct, frozen=True):
    """How far a path exists: `inode` stands at the first `depth` names."""

    names: Names
    inode: Inode
    depth: int

    @property
    def missing(self) -> Names:
        """The names that do not exist."""
        return self.names[self.depth :]


def resolve(view: View, names: Names) -> Resolved:
    """Follow `names` as far as they exist. NotADirectory if a file is in the way."""
    inode_id, depth = ROOT_INODE_ID, 0
    for name in names:
        child_id = find_child(view, inode_id, name)
        if child_id is None:
            break
        inode_id, depth = child_id, depth + 1
    inode = load_inode(view, inode_id)
    if depth < len(names) and inode.kind != EntryKind.DIRECTORY:
        path = format_path(names)
        raise NotADirectory(f"{path}: {format_path(names[:depth])} is a file", path)
    return Resolved(names, inode, depth)


def existing(view: View, names: Names) -> Inode:
    """Return the inode at `names`. NoSuchPath, NotADirectory."""
    found = resolve(view, names)
    if found.missing:
        path = format_path(names)
        raise NoSuchPath(f"{path}: no such file or directory", path)
    return found.inode


def existing_at(view: View, path: str) -> tuple[Names, Inode]:
    """Return the names and the inode of a path that a caller sent."""
    names = parse_path(path)
    return names, existing(view, names)


def find_names(view: View, inode: Inode) -> Names | None:
    """Return where an inode stands, None if that is nowhere (any more)."""
    names: list[str] = []
    while inode.parent_id:
        names.append(inode.name)
        inode = load_inode(view, inode.parent_id)
    return tuple(reversed(names)) if inode.inode_id == ROOT_INODE_ID else None


def info_of(names: Names, inode: Inode) -> FileInfo:
    """Return what is told of an inode that stands at `names`."""
    return info_at(format_path(names), inode)


def info_at(path: str, inode: Inode) -> FileInfo:
    """Return what is told of an inode that stands at a path."""
    return FileInfo(  # by position: pages of a thousand are made of these
        path,
        inode.inode_id,
        inode.kind,
        inode.length_bytes,
        inode.mode,
        inode.owner,
        inode.group,
        inode.modified_ms,
        inode.created_ms,
        inode.replication,
        inode.block_size_bytes,
        inode.content_hash,
        inode.changed_txid,
        inode.cut_txid,
        inode.is_inline,
    )
