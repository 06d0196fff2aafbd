"""Decides about new files: created, published whole, abandoned; or stored in one step.

A file being written is an inode in no directory with a lease on it (rule 18), so writers of one
path do not disturb each other. Publishing resolves the path anew and puts the file there, makes
missing parents and dooms what it replaces, in one group of edits: the last successful close
wins.
A small file needs no blocks, so nobody need be waited for: it is stored, with its content, as it
would be published (decision 0011).
"""

import msgspec

from dolmen.protocol.checksums import DIGEST_BYTES, content_hash
from dolmen.protocol.client_messages import (
    CONTENT_LIMIT_BYTES,
    AbandonFile,
    CheckCreation,
    CreatedFile,
    CreateFile,
    Done,
    EntryKind,
    FileInfo,
    PublishFile,
    StoreFile,
)
from dolmen.protocol.errors import (
    ChecksumMismatch,
    InvalidRequest,
    IsADirectory,
    Overloaded,
    PathExists,
)
from dolmen.protocol.identifiers import format_path, parse_path
from namenode.core import tables
from namenode.core.blocks import commit_last, first_block, unfinished, wait_for
from namenode.core.case import Case, check_mode, check_time
from namenode.core.edits import (
    DirectoryMade,
    FileCreated,
    FileDropped,
    FilePublished,
    FileStored,
)
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


class _Shape(msgspec.Struct, frozen=True):
    """What a new file is to be, with the cluster's values where none were given, and where."""

    path: str
    found: Resolved
    replication: int
    block_size_bytes: int


def _shape(case: Case, request: CreateFile) -> _Shape:
    """Return what is asked for. Raise if such a file could not be published there now."""
    names = parse_path(request.path)
    path = format_path(names)
    settings = case.world.settings
    replication = request.replication or settings.replication
    block_size_bytes = request.block_size_bytes or settings.block_size_bytes
    check_replication(replication, path)
    _check_block_size(block_size_bytes, path)
    check_mode(request.mode, path)
    found = _place_for(case, names, exclusive=request.exclusive)
    return _Shape(path, found, replication, block_size_bytes)


def check_creation(case: Case, request: CheckCreation) -> Done:
    """Answer CheckCreation."""
    _shape(case, request.file)
    return Done()


def create_file(case: Case, request: CreateFile) -> Outcome:
    """Decide CreateFile."""
    shape = _shape(case, request)
    if case.view.count(tables.LEASES) >= LEASES_LIMIT:
        raise Overloaded(f"{LEASES_LIMIT} files are being written; try again later", shape.path)
    edit = FileCreated(
        inode_id=case.meta.next_inode_id,
        client_id=case.client_id,
        path=shape.path,
        mode=request.mode,
        owner=case.user,
        group=shape.found.inode.group,
        replication=shape.replication,
        block_size_bytes=shape.block_size_bytes,
        time_ms=case.now_ms,
    )
    begun = None
    if request.first_block is not None:
        begun = first_block(case, edit.inode(case.next_txid), request.first_block)
    edits, block = ((edit,), None) if begun is None else ((edit, begun[0]), begun[1])
    reply = CreatedFile(edit.inode_id, shape.replication, shape.block_size_bytes, block)
    return Outcome(reply, edits=edits, effects=(LeaseTouched(edit.inode_id),))


def store_file(case: Case, request: StoreFile) -> Outcome:
    """Decide StoreFile."""
    shape = _shape(case, request.file)
    found = shape.found
    _check_content(request, shape.path)
    parents, parent_id = _parents(case, found)
    edit = FileStored(
        inode_id=case.meta.next_inode_id + len(parents),
        parent_id=parent_id,
        name=found.names[-1],
        mode=request.file.mode,
        owner=case.user,
        group=found.inode.group,
        replication=shape.replication,
        block_size_bytes=shape.block_size_bytes,
        content=request.content,
        content_hash=request.content_hash,
        modified_ms=request.modified_ms or case.now_ms,
        time_ms=case.now_ms,
        replaced_due_ms=case.due_ms,
    )
    effects = () if found.missing else forgotten(case, found.inode)
    return Outcome(_stored(case, shape.path, edit), (*parents, edit), effects)


def _check_content(request: StoreFile, path: str) -> None:
    if len(request.content) > CONTENT_LIMIT_BYTES:
        raise InvalidRequest(
            f"{path}: {len(request.content)} bytes are more than the {CONTENT_LIMIT_BYTES} that the"
            " namenode keeps: write blocks",
            path,
        )
    if content_hash(request.content) != request.content_hash:
        raise ChecksumMismatch(f"{path}: the bytes that came do not have their hash", path)
    check_time(request.modified_ms, path)


def _stored(case: Case, path: str, edit: FileStored) -> FileInfo:
    return FileInfo(
        path=path,
        inode_id=edit.inode_id,
        kind=EntryKind.FILE,
        length_bytes=len(edit.content),
        mode=edit.mode,
        owner=edit.owner,
        group=edit.group,
        modified_ms=edit.modified_ms,
        created_ms=edit.time_ms,
        replication=edit.replication,
        block_size_bytes=edit.block_size_bytes,
        content_hash=edit.content_hash,
        changed_txid=case.next_txid,
        inline=bool(edit.content),
    )


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
    if found.missing:
        check_room(found.inode, names[: found.depth + 1])
        return found
    path = format_path(names)
    if found.inode.kind == EntryKind.DIRECTORY:
        raise IsADirectory(f"{path}: is a directory", path)
    if exclusive:
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
    parents, parent_id = _parents(case, found)
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


def _parents(case: Case, found: Resolved) -> tuple[tuple[DirectoryMade, ...], int]:
    """Return the edits that make the missing directories above a file, and the last one's id."""
    if not found.missing:
        return (), found.inode.parent_id
    parents = make_directories(case, found, found.names[:-1])
    return parents, parents[-1].inode_id if parents else found.inode.inode_id


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
