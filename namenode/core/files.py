"""Decides about unpublished files: created, published whole, abandoned.

A file being written is an inode in no directory with a lease on it (rule 18), so writers of one
path do not disturb each other. Publishing resolves the path anew and puts the file there, makes
missing parents and dooms what it replaces, in one group of edits: the last successful close wins.
"""

import msgspec

from dolmen.protocol.checksums import DIGEST_BYTES
from dolmen.protocol.client_messages import (
    AbandonFile,
    CreatedFile,
    CreateFile,
    Done,
    EntryKind,
    PublishFile,
)
from dolmen.protocol.errors import InvalidRequest, IsADirectory, Overloaded, PathExists
from dolmen.protocol.identifiers import format_path, parse_path
from namenode.core import tables
from namenode.core.blocks import commit_last, unfinished, wait_for
from namenode.core.case import Case, check_mode, check_time
from namenode.core.edits import FileCreated, FileDropped, FilePublished
from namenode.core.leases import LEASES_LIMIT, held_file
from namenode.core.lookup import (
    Names,
    Resolved,
    file_block_ids,
    find_inode,
    find_lease,
    info_of,
    resolve,
)
from namenode.core.namespace import check_replication, check_room, forgotten, make_directories
from namenode.core.outcome import (
    BlocksChanged,
    Effect,
    FileReplicationChanged,
    LeaseEnded,
    LeaseTouched,
    Outcome,
    Waits,
)
from namenode.core.records import Inode

BLOCK_SIZE_STEP_BYTES = 64 * 1024
"""Blocks are whole chunks, so that no two blocks share one."""

BLOCK_SIZE_LIMIT_BYTES = 2 * 1024 * 1024 * 1024
"""As the setting's: a larger block takes too long to copy."""

CHANGED_BLOCKS_LIMIT = 1000
"""Blocks that one effect names: the replicas of more are looked through in pieces."""


def create_file(case: Case, request: CreateFile) -> Outcome:
    """Decide CreateFile."""
    names = parse_path(request.path)
    path = format_path(names)
    settings = case.world.settings
    replication = request.replication or settings.replication
    block_size_bytes = request.block_size_bytes or settings.block_size_bytes
    check_replication(replication, path)
    _check_block_size(block_size_bytes, path)
    check_mode(request.mode, path)
    found = _place_for(case, names, exclusive=request.exclusive)
    if case.view.count(tables.LEASES) >= LEASES_LIMIT:
        raise Overloaded(f"{LEASES_LIMIT} files are being written; try again later", path)
    edit = FileCreated(
        inode_id=case.meta.next_inode_id,
        client_id=case.client_id,
        path=path,
        mode=request.mode,
        owner=case.user,
        group=found.inode.group,
        replication=replication,
        block_size_bytes=block_size_bytes,
        time_ms=case.now_ms,
    )
    reply = CreatedFile(edit.inode_id, replication, block_size_bytes)
    return Outcome(reply, edits=(edit,), effects=(LeaseTouched(edit.inode_id),))


def _check_block_size(block_size_bytes: int, path: str) -> None:
    within = BLOCK_SIZE_STEP_BYTES <= block_size_bytes <= BLOCK_SIZE_LIMIT_BYTES
    if not within or block_size_bytes % BLOCK_SIZE_STEP_BYTES:
        raise InvalidRequest(
            f"block size {block_size_bytes} is not a multiple of {BLOCK_SIZE_STEP_BYTES} "
            f"from {BLOCK_SIZE_STEP_BYTES} to {BLOCK_SIZE_LIMIT_BYTES}",
            path,
        )


def _place_for(case: Case, names: Names, *, exclusive: bool) -> Resolved:
    """Return where a file at `names` would stand. Raise if it could not be published now."""
    found = resolve(case.view, names)
    path = format_path(names)
    if found.missing:
        check_room(found.inode, names[: found.depth + 1])
    elif found.inode.kind == EntryKind.DIRECTORY:
        raise IsADirectory(f"{path}: is a directory", path)
    elif exclusive:
        raise PathExists(f"{path}: exists", path)
    return found


def publish_file(case: Case, request: PublishFile) -> Outcome | Waits:
    """Decide PublishFile."""
    inode = held_file(case.view, request.inode_id, case.client_id)
    names = parse_path(request.path)
    _check_publishable(case, request, format_path(names))
    found = _place_for(case, names, exclusive=request.exclusive)
    commits = commit_last(case, inode, request.last)
    if (waits := wait_for(case, inode, unfinished(case, inode, commits))) is not None:
        return waits
    parents = make_directories(case, found, names[:-1]) if len(found.missing) > 1 else ()
    parent_id = found.inode.inode_id
    if parents:
        parent_id = parents[-1].inode_id
    elif not found.missing:
        parent_id = found.inode.parent_id
    edit = FilePublished(
        inode_id=inode.inode_id,
        parent_id=parent_id,
        name=names[-1],
        length_bytes=inode.length_bytes + sum(commit.length_bytes for commit in commits),
        content_hash=request.content_hash,
        modified_ms=request.modified_ms or case.now_ms,
        time_ms=case.now_ms,
        replaced_due_ms=case.due_ms,
    )
    effects = _published_effects(case, inode)
    if not found.missing:
        effects += forgotten(case, found.inode)
    return Outcome(
        info_of(names, _published(case, inode, edit)),
        edits=(*parents, *commits, edit),
        effects=effects,
    )


def _check_publishable(case: Case, request: PublishFile, path: str) -> None:
    lease = find_lease(case.view, request.inode_id)
    if lease is not None and lease.target_id:
        raise InvalidRequest(f"{path}: a draft is not published: its file is extended", path)
    if len(request.content_hash) not in (0, DIGEST_BYTES):
        raise InvalidRequest(f"a content hash has {DIGEST_BYTES} bytes", path)
    check_time(request.modified_ms, path)


def _published(case: Case, inode: Inode, edit: FilePublished) -> Inode:
    return msgspec.structs.replace(
        inode,
        length_bytes=edit.length_bytes,
        content_hash=edit.content_hash,
        modified_ms=edit.modified_ms,
        changed_txid=case.next_txid,
    )


def _published_effects(case: Case, inode: Inode) -> tuple[Effect, ...]:
    block_ids = tuple(file_block_ids(case.view, inode))
    return (LeaseEnded(inode.inode_id), *classified(inode.inode_id, block_ids))


def classified(inode_id: int, block_ids: tuple[int, ...]) -> tuple[Effect, ...]:
    """Return the effect of these blocks being those of a published file from now on."""
    if len(block_ids) > CHANGED_BLOCKS_LIMIT:
        return (FileReplicationChanged(inode_id),)
    return (BlocksChanged(block_ids),) if block_ids else ()


def abandon_file(case: Case, request: AbandonFile) -> Outcome:
    """Decide AbandonFile: done already if there is no such file any more."""
    inode = find_inode(case.view, request.inode_id)
    lease = find_lease(case.view, request.inode_id)
    if inode is None or (lease is None and inode.doomed_due_ms):
        return Outcome(Done())
    held_file(case.view, request.inode_id, case.client_id)
    return Outcome(Done(), edits=(drop(case.now_ms, inode),), effects=(LeaseEnded(inode.inode_id),))


def drop(now_ms: int, inode: Inode) -> FileDropped:
    """Return the edit that drops an unpublished file: nobody can read it, so it is due at once."""
    return FileDropped(inode.inode_id, now_ms)
