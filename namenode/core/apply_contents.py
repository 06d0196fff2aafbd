"""Applies the edits of inline files: stored whole, and given another content."""

from dolmen.protocol.client_messages import EntryKind
from namenode.core.apply_tree import place
from namenode.core.change import Change, Handlers, replace
from namenode.core.edits import ContentReplaced, FileStored
from namenode.core.lookup import find_child, load_inode
from namenode.core.records import Inode


def _store(change: Change, edit: FileStored) -> None:
    replaced_id = find_child(change.writer, edit.parent_id, edit.name)
    if replaced_id is not None:
        change.doom(load_inode(change.writer, replaced_id), edit.replaced_due_ms)
    inode = Inode(
        inode_id=edit.inode_id,
        parent_id=edit.parent_id,
        name=edit.name,
        kind=EntryKind.FILE,
        mode=edit.mode,
        owner=edit.owner,
        group=edit.group,
        created_ms=edit.time_ms,
        modified_ms=edit.modified_ms,
        created_txid=change.txid,
        changed_txid=change.txid,
        length_bytes=len(edit.content),
        replication=edit.replication,
        block_size_bytes=edit.block_size_bytes,
        content_hash=edit.content_hash,
        published=True,
    )
    change.new_inode(inode)
    if edit.content:
        change.put_content(edit.inode_id, edit.content)
    place(change, edit.inode_id, edit.parent_id, edit.name)
    change.touch_directory(edit.parent_id, 1 if replaced_id is None else 0, edit.time_ms)
    change.count_file(inode, +1)


def _replace(change: Change, edit: ContentReplaced) -> None:
    inode = load_inode(change.writer, edit.inode_id)
    changed = replace(
        inode,
        length_bytes=len(edit.content),
        content_hash=edit.content_hash,
        modified_ms=edit.modified_ms,
        changed_txid=change.txid,
        cut_txid=change.txid if edit.cut else inode.cut_txid,
    )
    change.count_file(inode, -1)
    change.count_file(changed, +1)
    change.put_inode(changed)
    change.put_content(edit.inode_id, edit.content)


HANDLERS: Handlers = {FileStored: _store, ContentReplaced: _replace}
