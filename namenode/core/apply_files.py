"""Applies the edits of a file's life: created, written block by block, published or dropped."""

from dolmen.protocol.identifiers import block_number
from namenode.core import tables
from namenode.core.apply_tree import place
from namenode.core.change import Change, Handlers, replace
from namenode.core.edits import (
    BlockAllocated,
    BlockCommitted,
    FileCreated,
    FileDropped,
    FilePublished,
    PipelineUpdated,
    StampIssued,
)
from namenode.core.lookup import (
    datanode_numbers,
    find_child,
    find_file_block,
    find_inode,
    find_lease,
    load_block,
    load_inode,
)
from namenode.core.records import LEASE, Block, BlockState, Lease


def _create(change: Change, edit: FileCreated) -> None:
    change.new_inode(edit.inode(change.txid))
    lease = Lease(edit.inode_id, edit.client_id, edit.path)
    change.writer.put(tables.LEASES, tables.number_key(edit.inode_id), LEASE.encode(lease))


def _allocate(change: Change, edit: BlockAllocated) -> None:
    inode = load_inode(change.writer, edit.inode_id)
    replaced_id = find_file_block(change.writer, edit.inode_id, edit.index)
    if replaced_id is not None:
        change.writer.delete(tables.BLOCKS, tables.number_key(replaced_id))
    change.put_block(
        Block(
            block_id=edit.block_id,
            inode_id=edit.inode_id,
            index=edit.index,
            stamp=edit.stamp,
            length_bytes=0,
            digest=b"",
            state=BlockState.UNDER_CONSTRUCTION,
            expected=datanode_numbers(change.writer, edit.expected),
            offset_bytes=inode.length_bytes,
        )
    )
    key = tables.file_block_key(edit.inode_id, edit.index)
    change.writer.put(tables.FILE_BLOCKS, key, tables.number_key(edit.block_id))
    change.put_inode(replace(inode, block_count=edit.index + 1, changed_txid=change.txid))
    change.set_meta(
        next_block_number=max(change.meta.next_block_number, block_number(edit.block_id) + 1),
        next_stamp=max(change.meta.next_stamp, edit.stamp + 1),
    )


def _commit(change: Change, edit: BlockCommitted) -> None:
    block = load_block(change.writer, edit.block_id)
    change.put_block(
        replace(
            block,
            state=BlockState.COMMITTED,
            length_bytes=edit.length_bytes,
            digest=edit.digest,
            floor_bytes=edit.length_bytes,
        )
    )
    inode = load_inode(change.writer, block.inode_id)
    length_bytes = inode.length_bytes + edit.length_bytes
    change.put_inode(replace(inode, length_bytes=length_bytes, changed_txid=change.txid))


def _issue_stamp(change: Change, edit: StampIssued) -> None:
    block = load_block(change.writer, edit.block_id)
    change.put_block(replace(block, issued_stamp=edit.stamp))
    change.set_meta(next_stamp=max(change.meta.next_stamp, edit.stamp + 1))


def _update_pipeline(change: Change, edit: PipelineUpdated) -> None:
    block = load_block(change.writer, edit.block_id)
    expected = datanode_numbers(change.writer, edit.expected)
    updated = replace(block, stamp=edit.stamp, issued_stamp=0, expected=expected)
    change.put_block(updated)


def _publish(change: Change, edit: FilePublished) -> None:
    replaced_id = find_child(change.writer, edit.parent_id, edit.name)
    if replaced_id is not None:
        change.doom(load_inode(change.writer, replaced_id), edit.replaced_due_ms)
    inode = load_inode(change.writer, edit.inode_id)
    place(change, edit.inode_id, edit.parent_id, edit.name)
    change.touch_directory(edit.parent_id, 1 if replaced_id is None else 0, edit.time_ms)
    published = replace(
        inode,
        parent_id=edit.parent_id,
        name=edit.name,
        published=True,
        length_bytes=edit.length_bytes,
        content_hash=edit.content_hash,
        modified_ms=edit.modified_ms,
        changed_txid=change.txid,
    )
    change.put_inode(published)
    if published.lacks_hash:
        change.note_hash(published, edit.time_ms)
    change.writer.delete(tables.LEASES, tables.number_key(edit.inode_id))
    change.count_file(inode, +1)


def _drop(change: Change, edit: FileDropped) -> None:
    lease = find_lease(change.writer, edit.inode_id)
    target = find_inode(change.writer, lease.target_id) if lease is not None else None
    if target is not None:
        change.put_inode(replace(target, draft_id=0))
    change.writer.delete(tables.LEASES, tables.number_key(edit.inode_id))
    change.doom(load_inode(change.writer, edit.inode_id), edit.due_ms)


HANDLERS: Handlers = {
    FileCreated: _create,
    BlockAllocated: _allocate,
    BlockCommitted: _commit,
    StampIssued: _issue_stamp,
    PipelineUpdated: _update_pipeline,
    FilePublished: _publish,
    FileDropped: _drop,
}
