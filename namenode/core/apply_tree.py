"""Applies the edits of the tree: directories, entries, attributes."""

from typing import Any

from dolmen.protocol.client_messages import EntryKind
from namenode.core.change import Change, Handlers, replace
from namenode.core.edits import AttributesSet, DirectoryMade, EntryDeleted, EntryRenamed
from namenode.core.lookup import find_child, load_inode
from namenode.core.records import Entry, Inode


def place(change: Change, inode_id: int, parent_id: int, name: str) -> None:
    """Write the entry at which an inode stands from now on."""
    change.set_entry(parent_id, name, Entry(inode_id, change.txid))


def _make_directory(change: Change, edit: DirectoryMade) -> None:
    change.new_inode(
        Inode(
            inode_id=edit.inode_id,
            parent_id=edit.parent_id,
            name=edit.name,
            kind=EntryKind.DIRECTORY,
            mode=edit.mode,
            owner=edit.owner,
            group=edit.group,
            created_ms=edit.time_ms,
            modified_ms=edit.time_ms,
            created_txid=change.txid,
            changed_txid=change.txid,
        )
    )
    place(change, edit.inode_id, edit.parent_id, edit.name)
    change.touch_directory(edit.parent_id, +1, edit.time_ms)
    change.set_meta(directories=change.meta.directories + 1)


def _rename(change: Change, edit: EntryRenamed) -> None:
    inode = load_inode(change.writer, edit.inode_id)
    replaced_id = find_child(change.writer, edit.parent_id, edit.name)
    if replaced_id is not None:
        change.discard(load_inode(change.writer, replaced_id), edit.replaced_due_ms)
    change.set_entry(inode.parent_id, inode.name, None)
    place(change, inode.inode_id, edit.parent_id, edit.name)
    change.touch_directory(inode.parent_id, -1, edit.time_ms)
    change.touch_directory(edit.parent_id, 1 if replaced_id is None else 0, edit.time_ms)
    moved = replace(inode, parent_id=edit.parent_id, name=edit.name, changed_txid=change.txid)
    change.put_inode(moved)


def _delete(change: Change, edit: EntryDeleted) -> None:
    inode = load_inode(change.writer, edit.inode_id)
    change.set_entry(inode.parent_id, inode.name, None)
    change.touch_directory(inode.parent_id, -1, edit.time_ms)
    change.discard(inode, edit.due_ms)


def _set_attributes(change: Change, edit: AttributesSet) -> None:
    fields: dict[str, Any] = {
        name: value
        for name, value in (
            ("replication", edit.replication),
            ("mode", edit.mode),
            ("owner", edit.owner),
            ("group", edit.group),
            ("modified_ms", edit.modified_ms),
        )
        if value is not None
    }
    inode = load_inode(change.writer, edit.inode_id)
    change.put_inode(replace(inode, changed_txid=change.txid, **fields))


HANDLERS: Handlers = {
    DirectoryMade: _make_directory,
    EntryRenamed: _rename,
    EntryDeleted: _delete,
    AttributesSet: _set_attributes,
}
