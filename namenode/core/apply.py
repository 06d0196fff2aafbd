"""The only code that changes durable tables: live work and replay go through it alike.

`apply_group` takes the edits of one outcome, in order, under one transaction id, and cannot refuse:
what a decision checked is not checked again, and an edit that does not fit the tables means that
they are damaged. Nothing in here depends on anything but the tables and the edits (no settings, no
clock), so that `replay(log) == live`. The counters stand in one record.

The edits fall into seven kinds, a module for each but the cluster's, which is here: `apply_tree`,
`apply_files`, `apply_contents`, `apply_drafts`, `apply_reclaim` and `apply_answers` register one
function per edit. Each takes the change and the edit.
"""

import msgspec

from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import DataDamaged
from dolmen.protocol.identifiers import FIRST_INODE_ID, ROOT_INODE_ID
from namenode.core import (
    apply_answers,
    apply_contents,
    apply_drafts,
    apply_files,
    apply_reclaim,
    apply_tree,
    tables,
)
from namenode.core.change import Change, Handlers
from namenode.core.edits import (
    AdminStateSet,
    AnyEdit,
    ClusterFormatted,
    DatanodeRegistered,
    EpochRaised,
    FutureGivenUp,
    StorageRegistered,
)
from namenode.core.lookup import load_meta
from namenode.core.records import (
    DATANODE,
    META_KEY,
    STORAGE,
    Datanode,
    Inode,
    Meta,
    Storage,
)
from namenode.core.sheet import COUNTERS, Sheet
from namenode.core.tables import Writer

ROOT_GROUP = "supergroup"
"""The group that entries get, from parent to child, until somebody sets another one (as in
HDFS)."""


def apply_group(edits: tuple[AnyEdit, ...], writer: Writer, txid: int) -> None:
    """Apply the edits of one outcome as transaction `txid`. If `writer` is a sheet, what they
    change is written with it, else at once."""
    sheet = writer if isinstance(writer, Sheet) else Sheet(writer)
    if isinstance(edits[0], ClusterFormatted):
        _format(edits[0], sheet)
        edits = edits[1:]
    change = Change(sheet, txid)
    for edit in edits:
        handler = _HANDLERS.get(type(edit))
        if handler is None:
            raise DataDamaged(f"{type(edit).__name__} has no place in a group: the log is damaged")
        handler(change, edit)
    change.store_meta()
    if sheet is not writer:
        sheet.write_out()


def seal(sheet: Sheet, txid: int, digest: bytes) -> None:
    """Record up to which transaction the tables go, and the log's digest there; write all."""
    meta = msgspec.structs.replace(load_meta(sheet), applied_txid=txid, applied_digest=digest)
    sheet.set(COUNTERS, META_KEY, meta)
    sheet.write_out()


def _format(edit: ClusterFormatted, sheet: Sheet) -> None:
    meta = Meta(
        cluster_id=edit.cluster_id,
        namespace_id=edit.namespace_id,
        created_ms=edit.time_ms,
        epoch=0,
        applied_txid=0,
        applied_digest=b"",
        next_inode_id=FIRST_INODE_ID,
        next_block_number=1,
        next_stamp=1,
        next_datanode_number=1,
        next_storage_number=1,
        files=0,
        directories=1,
        blocks=0,
    )
    sheet.set(COUNTERS, META_KEY, meta)
    change = Change(sheet, 1)
    change.put_inode(
        Inode(
            inode_id=ROOT_INODE_ID,
            parent_id=0,
            name="",
            kind=EntryKind.DIRECTORY,
            mode=0o755,
            owner="",
            group=ROOT_GROUP,
            created_ms=edit.time_ms,
            modified_ms=edit.time_ms,
            created_txid=1,
            changed_txid=1,
        )
    )


def _raise_epoch(change: Change, edit: EpochRaised) -> None:
    change.set_meta(epoch=edit.epoch)


def _register_datanode(change: Change, edit: DatanodeRegistered) -> None:
    key = edit.datanode_id.encode()
    known = change.writer.get(tables.DATANODES, key)
    datanode = Datanode(edit.datanode_id, edit.number, edit.address, edit.host, edit.rack)
    if known is not None:
        before = DATANODE.decode(known)
        datanode = msgspec.structs.replace(
            datanode,
            admin_state=before.admin_state,
            maintenance_until_ms=before.maintenance_until_ms,
        )
    change.writer.put(tables.DATANODES, key, DATANODE.encode(datanode))
    change.set_meta(next_datanode_number=max(change.meta.next_datanode_number, edit.number + 1))


def _set_admin_state(change: Change, edit: AdminStateSet) -> None:
    key = edit.datanode_id.encode()
    value = change.writer.get(tables.DATANODES, key)
    if value is None:
        raise DataDamaged(f"datanode {edit.datanode_id} is not in the tables")
    datanode = msgspec.structs.replace(
        DATANODE.decode(value),
        admin_state=edit.admin_state,
        maintenance_until_ms=edit.maintenance_until_ms,
    )
    change.writer.put(tables.DATANODES, key, DATANODE.encode(datanode))


def _give_up_future(change: Change, edit: FutureGivenUp) -> None:
    meta = change.meta
    change.set_meta(
        next_block_number=edit.next_block_number,
        next_stamp=edit.next_stamp,
        given_up_blocks=_with(meta.given_up_blocks, meta.next_block_number, edit.next_block_number),
        given_up_stamps=_with(meta.given_up_stamps, meta.next_stamp, edit.next_stamp),
    )


def _with(ranges: tuple[tuple[int, int], ...], first: int, end: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges with one more, which is joined to the last one if they touch."""
    if first == end:
        return ranges
    if ranges and ranges[-1][1] == first:
        return (*ranges[:-1], (ranges[-1][0], end))
    return (*ranges, (first, end))


def _register_storage(change: Change, edit: StorageRegistered) -> None:
    storage = Storage(edit.storage_id, edit.number, edit.datanode_id)
    change.writer.put(tables.STORAGES, edit.storage_id.encode(), STORAGE.encode(storage))
    change.set_meta(next_storage_number=max(change.meta.next_storage_number, edit.number + 1))


_HANDLERS: Handlers = {
    EpochRaised: _raise_epoch,
    DatanodeRegistered: _register_datanode,
    StorageRegistered: _register_storage,
    AdminStateSet: _set_admin_state,
    FutureGivenUp: _give_up_future,
    **apply_answers.HANDLERS,
    **apply_tree.HANDLERS,
    **apply_files.HANDLERS,
    **apply_contents.HANDLERS,
    **apply_drafts.HANDLERS,
    **apply_reclaim.HANDLERS,
}
