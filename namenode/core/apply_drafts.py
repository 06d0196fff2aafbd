"""Applies the edits by which published files grow, shrink and are joined: their blocks move.

With the blocks their whole hash is gone; the edit that brings it back is here, too.
"""

from itertools import islice

from dolmen.protocol.checksums import hash_of_length
from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import DataDamaged
from namenode.core import tables
from namenode.core.change import Change, Handlers, replace
from namenode.core.edits import (
    BlocksMoved,
    ContentHashed,
    DraftAttached,
    FileExtended,
    FileJoined,
    HiddenFileMade,
)
from namenode.core.lookup import file_block_keys, load_inode
from namenode.core.records import BLOCK, LEASE, Inode


def _attach(change: Change, edit: DraftAttached) -> None:
    writer, key = change.writer, tables.number_key(edit.draft_id)
    lease = LEASE.decode(writer.get(tables.LEASES, key) or b"")
    writer.put(tables.LEASES, key, LEASE.encode(replace(lease, target_id=edit.inode_id)))
    change.put_inode(replace(load_inode(writer, edit.inode_id), draft_id=edit.draft_id))


def _make_hidden(change: Change, edit: HiddenFileMade) -> None:
    of = load_inode(change.writer, edit.of_id)
    change.new_inode(
        Inode(
            inode_id=edit.inode_id,
            parent_id=0,
            name="",
            kind=EntryKind.FILE,
            mode=of.mode,
            owner=of.owner,
            group=of.group,
            created_ms=edit.time_ms,
            modified_ms=edit.time_ms,
            created_txid=change.txid,
            changed_txid=change.txid,
            replication=of.replication,
            block_size_bytes=of.block_size_bytes,
            published=True,
            doomed_due_ms=edit.due_ms,
            first_due_ms=edit.due_ms,
            hidden=True,
        )
    )
    change.writer.put(tables.DOOMED, tables.doomed_key(edit.due_ms, edit.inode_id), b"")
    change.set_meta(hidden_files=change.meta.hidden_files + 1)


def _move(change: Change, edit: BlocksMoved) -> None:
    writer = change.writer
    source, target = load_inode(writer, edit.source_id), load_inode(writer, edit.inode_id)
    keys = list(islice(file_block_keys(writer, source, edit.first_index), edit.count))
    if len(keys) < edit.count:
        raise DataDamaged(f"inode {source.inode_id} has not the {edit.count} blocks that move")
    length_bytes = 0
    for number, block_key in enumerate(keys):
        block = BLOCK.decode(writer.get(tables.BLOCKS, block_key) or b"")
        index = target.block_count + number
        moved = replace(
            block,
            inode_id=edit.inode_id,
            index=index,
            offset_bytes=target.length_bytes + length_bytes,
        )
        from_key = tables.file_block_key(edit.source_id, edit.first_index + number)
        writer.delete(tables.FILE_BLOCKS, from_key)
        writer.put(tables.FILE_BLOCKS, tables.file_block_key(edit.inode_id, index), block_key)
        writer.put(tables.BLOCKS, block_key, BLOCK.encode(moved))
        length_bytes += block.length_bytes
    _count(change, source, -edit.count, -length_bytes)
    _count(change, target, edit.count, length_bytes)


def _count(change: Change, inode: Inode, blocks: int, length_bytes: int) -> None:
    """Note that a file has so many blocks and bytes more."""
    if inode.published and not inode.doomed_due_ms:
        change.set_meta(blocks=change.meta.blocks + blocks)
    change.put_inode(
        replace(
            inode,
            block_count=inode.block_count + blocks,
            length_bytes=inode.length_bytes + length_bytes,
            changed_txid=change.txid,
        )
    )


def _extend(change: Change, edit: FileExtended) -> None:
    inode = load_inode(change.writer, edit.inode_id)
    extended = replace(
        inode,
        modified_ms=edit.modified_ms,
        content_hash=hash_of_length(inode.length_bytes),
        changed_txid=change.txid,
        cut_txid=change.txid if edit.cut else inode.cut_txid,
    )
    change.put_inode(extended)
    change.note_hash(extended, edit.time_ms)


def _join(change: Change, edit: FileJoined) -> None:
    inode = load_inode(change.writer, edit.inode_id)
    change.set_entry(inode.parent_id, inode.name, None)
    change.touch_directory(inode.parent_id, -1, edit.time_ms)
    change.delete_inode(inode.inode_id)
    change.writer.delete(tables.UNHASHED, tables.number_key(inode.inode_id))
    change.count_file(inode, -1)


def _hash(change: Change, edit: ContentHashed) -> None:
    inode = load_inode(change.writer, edit.inode_id)
    if inode.changed_txid != edit.changed_txid:
        raise DataDamaged(
            f"inode {edit.inode_id} is of transaction {inode.changed_txid}, and gets the hash of"
            f" what it was at {edit.changed_txid}"
        )
    change.put_inode(replace(inode, content_hash=edit.content_hash))
    change.writer.delete(tables.UNHASHED, tables.number_key(inode.inode_id))


HANDLERS: Handlers = {
    DraftAttached: _attach,
    HiddenFileMade: _make_hidden,
    BlocksMoved: _move,
    FileExtended: _extend,
    FileJoined: _join,
    ContentHashed: _hash,
}
