"""Applies the edits of the background: detached trees taken apart, doomed files reclaimed."""

from dolmen.protocol.errors import DataDamaged
from namenode.core import tables
from namenode.core.change import Change, Handlers, replace
from namenode.core.edits import BlocksReclaimed, DoomPostponed, TreeDismantled
from namenode.core.lookup import find_file_block, load_inode
from namenode.core.records import ENTRY
from namenode.core.sheet import ENTRIES
from namenode.core.tables import View


def _dismantle(change: Change, edit: TreeDismantled) -> None:
    writer = change.writer
    directory = load_inode(writer, edit.inode_id)
    key = tables.number_key(edit.inode_id)
    due = writer.get(tables.DETACHED, key)
    if due is None:
        raise DataDamaged(f"directory {edit.inode_id} is taken apart but was never detached")
    entries = first_entries(writer, edit.inode_id, edit.limit)
    for entry, child_id in entries:
        writer.set(ENTRIES, entry, None)
        change.discard(load_inode(writer, child_id), tables.read_number(due))
    left = directory.entry_count - len(entries)
    if left:
        change.put_inode(replace(directory, entry_count=left, changed_txid=change.txid))
        return
    change.delete_inode(edit.inode_id)
    writer.delete(tables.DETACHED, key)
    change.set_meta(directories=change.meta.directories - 1)


def first_entries(view: View, inode_id: int, limit: int) -> list[tuple[bytes, int]]:
    """Return (key, inode id) of the first entries of a directory."""
    start = tables.number_key(inode_id)
    entries: list[tuple[bytes, int]] = []
    for key, value in view.scan(tables.ENTRIES, start):
        if key[:8] != start or len(entries) == limit:
            break
        entries.append((key, ENTRY.decode(value).inode_id))
    return entries


def _reclaim(change: Change, edit: BlocksReclaimed) -> None:
    writer = change.writer
    inode = load_inode(writer, edit.inode_id)
    left = max(0, inode.block_count - edit.limit)
    for index in range(inode.block_count - 1, left - 1, -1):
        block_id = find_file_block(writer, inode.inode_id, index)
        if block_id is not None:
            writer.delete(tables.FILE_BLOCKS, tables.file_block_key(inode.inode_id, index))
            writer.delete(tables.BLOCKS, tables.number_key(block_id))
    if left:
        change.put_inode(replace(inode, block_count=left, changed_txid=change.txid))
        return
    if inode.hidden:
        change.set_meta(hidden_files=change.meta.hidden_files - 1)
    change.delete_inode(inode.inode_id)
    writer.delete(tables.DOOMED, tables.doomed_key(inode.doomed_due_ms, inode.inode_id))


def _postpone(change: Change, edit: DoomPostponed) -> None:
    inode = load_inode(change.writer, edit.inode_id)
    old = tables.doomed_key(inode.doomed_due_ms, inode.inode_id)
    change.writer.delete(tables.DOOMED, old)
    change.writer.put(tables.DOOMED, tables.doomed_key(edit.due_ms, inode.inode_id), b"")
    change.put_inode(replace(inode, doomed_due_ms=edit.due_ms, changed_txid=change.txid))


HANDLERS: Handlers = {
    TreeDismantled: _dismantle,
    BlocksReclaimed: _reclaim,
    DoomPostponed: _postpone,
}
