"""Decides about drafts: opened for a published file, and ended to let others write it.

A draft is an unpublished file whose lease names another file, its target, and the target names the
draft (decision 0008). Both references are made by one edit and end with the lease, whatever ends
it, so a file has at most one draft, and a file with a draft has a writer. Whoever takes over has
the old draft dropped: its writer then names an inode without a lease in all that it still asks
for, and changes nothing.
"""

from dolmen.protocol.client_messages import EntryKind, FileInfo, LocatedBlock
from dolmen.protocol.draft_messages import DraftOpened, OpenDraft, RecoverLease
from dolmen.protocol.errors import IsADirectory, LeaseConflict, Overloaded, StaleHandle
from dolmen.protocol.identifiers import format_path
from namenode.core import tables
from namenode.core.blocks import last_block
from namenode.core.case import Case
from namenode.core.edits import AnyEdit, DraftAttached, FileCreated
from namenode.core.files import drop
from namenode.core.leases import LEASES_LIMIT
from namenode.core.lookup import Names, existing_at, info_of, load_inode
from namenode.core.opening import located, token_end_ms
from namenode.core.outcome import Effect, FileOpened, LeaseEnded, LeaseTouched, Outcome
from namenode.core.records import Inode


def open_draft(case: Case, request: OpenDraft) -> Outcome:
    """Decide OpenDraft."""
    names, target = existing_file(case, request.path)
    path = format_path(names)
    if request.inode_id not in (0, target.inode_id):
        raise StaleHandle(f"{path}: the file was replaced", path)
    _check_takeover(case, target, path)
    if case.view.count(tables.LEASES) >= LEASES_LIMIT:
        raise Overloaded(f"{LEASES_LIMIT} files are being written; try again later", path)
    created = FileCreated(
        inode_id=case.meta.next_inode_id,
        client_id=case.client_id,
        path=path,
        mode=target.mode,
        owner=target.owner,
        group=target.group,
        replication=target.replication,
        block_size_bytes=target.block_size_bytes,
        time_ms=case.now_ms,
    )
    attached = DraftAttached(created.inode_id, target.inode_id)
    tail = _tail_of(case, target, request.host)
    until_ms = token_end_ms(case, target)
    opened = (FileOpened(target.inode_id, until_ms),) if tail is not None else ()
    dropped, ended = _end_draft(case, target)
    return Outcome(
        DraftOpened(
            draft_id=created.inode_id,
            inode_id=target.inode_id,
            path=path,
            length_bytes=target.length_bytes,
            block_size_bytes=target.block_size_bytes,
            replication=target.replication,
            tail=tail,
        ),
        edits=(*dropped, created, attached),
        effects=(*ended, LeaseTouched(created.inode_id), *opened),
    )


def existing_file(case: Case, path: str) -> tuple[Names, Inode]:
    """Return the names and the inode of a file that a caller named."""
    names, inode = existing_at(case.view, path)
    if inode.kind == EntryKind.DIRECTORY:
        raise IsADirectory(f"{format_path(names)}: is a directory", format_path(names))
    return names, inode


def _check_takeover(case: Case, target: Inode, path: str) -> None:
    """Raise LeaseConflict while the one who writes the file was heard lately."""
    if not target.draft_id:
        return
    silent_ms = case.world.leases.silent_ms(target.draft_id, case.now_ms)
    limit_ms = case.world.settings.lease_soft_limit_ms
    if silent_ms >= limit_ms:
        return
    open_ms = case.now_ms - load_inode(case.view, target.draft_id).created_ms
    raise LeaseConflict(
        f"{path}: another handle has been writing it for {open_ms / 1000:.0f} s and was heard"
        f" {silent_ms / 1000:.0f} s ago; it can be taken over after {limit_ms / 1000:.0f} s of"
        f" silence, or now with `dolmen recover-lease {path}`",
        path,
    )


def _tail_of(case: Case, target: Inode, host: str) -> LocatedBlock | None:
    tail = last_block(case, target)
    return None if tail is None else located(case, tail, host, token_end_ms(case, target))


def _end_draft(case: Case, target: Inode) -> tuple[tuple[AnyEdit, ...], tuple[Effect, ...]]:
    """Return what ends the draft of a file, if it has one."""
    if not target.draft_id:
        return (), ()
    edit = drop(case.now_ms, load_inode(case.view, target.draft_id))
    return (edit,), (LeaseEnded(target.draft_id),)


def recover_lease(case: Case, request: RecoverLease) -> Outcome:
    """Decide RecoverLease: there is nothing to recover but the right to write."""
    names, target = existing_file(case, request.path)
    info: FileInfo = info_of(names, target)
    edits, effects = _end_draft(case, target)
    return Outcome(info, edits, effects)
