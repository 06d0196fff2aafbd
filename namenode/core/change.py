"""One group of edits as it is applied: the tables, the transaction id, and the counters
meanwhile."""

from collections.abc import Callable
from typing import Any

import msgspec

from dolmen.protocol.client_messages import EntryKind
from namenode.core import tables
from namenode.core.lookup import load_inode, load_meta
from namenode.core.records import (
    BLOCK,
    CONTENT,
    META_KEY,
    Block,
    Content,
    Entry,
    Inode,
)
from namenode.core.sheet import COUNTERS, ENTRIES, INODES, Sheet

replace = msgspec.structs.replace

Handlers = dict[type[Any], Callable[["Change", Any], None]]
"""One function for each kind of edit."""


class Change:
    """What the functions that apply edits share: records are read and written through it."""

    def __init__(self, writer: Sheet, txid: int) -> None:
        self.writer = writer
        self.txid = txid
        self.meta = load_meta(writer)

    def set_meta(self, **fields: Any) -> None:
        """Change counters; they are stored at the end of the group."""
        self.meta = replace(self.meta, **fields)

    def store_meta(self) -> None:
        """Write the counters, which now include this transaction."""
        meta = replace(self.meta, applied_txid=self.txid)
        self.writer.set(COUNTERS, META_KEY, meta)

    def put_inode(self, inode: Inode) -> None:
        """Store an inode."""
        self.writer.set(INODES, tables.number_key(inode.inode_id), inode)

    def new_inode(self, inode: Inode) -> None:
        """Store an inode whose id was drawn for it."""
        self.put_inode(inode)
        next_id = max(self.meta.next_inode_id, inode.inode_id + 1)
        self.set_meta(next_inode_id=next_id)

    def note_hash(self, inode: Inode, time_ms: int) -> None:
        """Note whether a file's hash is to be computed, and since when."""
        key = tables.number_key(inode.inode_id)
        if inode.lacks_hash:
            self.writer.put(tables.UNHASHED, key, tables.number_key(time_ms))
        else:
            self.writer.delete(tables.UNHASHED, key)

    def delete_inode(self, inode_id: int) -> None:
        """Remove an inode, and its content if it has one."""
        self.writer.set(INODES, tables.number_key(inode_id), None)
        self.writer.delete(tables.CONTENTS, tables.number_key(inode_id))

    def set_entry(self, parent_id: int, name: str, entry: Entry | None) -> None:
        """Have an entry in a directory, or none."""
        self.writer.set(ENTRIES, tables.entry_key(parent_id, name), entry)

    def put_content(self, inode_id: int, data: bytes) -> None:
        """Store the bytes of an inline file, or remove them if there are none."""
        key = tables.number_key(inode_id)
        if data:
            self.writer.put(tables.CONTENTS, key, CONTENT.encode(Content(data)))
        else:
            self.writer.delete(tables.CONTENTS, key)

    def count_file(self, inode: Inode, change: int) -> None:
        """Note that a file, as it is in `inode`, came into the tree (+1) or left it (-1)."""
        meta = self.meta
        self.set_meta(
            files=meta.files + change,
            blocks=meta.blocks + change * inode.block_count,
            inline_files=meta.inline_files + change * inode.is_inline,
            inline_bytes=meta.inline_bytes + change * inode.is_inline * inode.length_bytes,
        )

    def put_block(self, block: Block) -> None:
        """Store a block."""
        self.writer.put(tables.BLOCKS, tables.number_key(block.block_id), BLOCK.encode(block))

    def touch_directory(self, inode_id: int, entries: int, time_ms: int) -> None:
        """Note in a directory that `entries` came (or went), and when."""
        directory = load_inode(self.writer, inode_id)
        self.put_inode(
            replace(
                directory,
                entry_count=directory.entry_count + entries,
                modified_ms=time_ms,
                changed_txid=self.txid,
            )
        )

    def doom(self, inode: Inode, due_ms: int) -> None:
        """Move a file, which has no entry any more, to those whose blocks go when due."""
        if inode.published:
            self.count_file(inode, -1)
        if inode.lacks_hash:
            self.writer.delete(tables.UNHASHED, tables.number_key(inode.inode_id))
        self.put_inode(
            replace(
                inode,
                parent_id=0,
                name="",
                doomed_due_ms=due_ms,
                first_due_ms=due_ms,
                changed_txid=self.txid,
            )
        )
        self.writer.put(tables.DOOMED, tables.doomed_key(due_ms, inode.inode_id), b"")

    def discard(self, inode: Inode, due_ms: int) -> None:
        """Take what lost its place in the tree out of it: a file is doomed, a directory detached.

        An empty directory goes at once: there is nothing to take apart.
        """
        if inode.kind == EntryKind.FILE:
            self.doom(inode, due_ms)
        elif inode.entry_count == 0:
            self.delete_inode(inode.inode_id)
            self.set_meta(directories=self.meta.directories - 1)
        else:
            self.put_inode(replace(inode, parent_id=0, name="", changed_txid=self.txid))
            key = tables.number_key(inode.inode_id)
            self.writer.put(tables.DETACHED, key, tables.number_key(due_ms))
