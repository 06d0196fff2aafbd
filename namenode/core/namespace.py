"""Decides about the tree: directories made, entries renamed and deleted, attributes set."""

import msgspec

from dolmen.protocol.client_messages import (
    Delete,
    Done,
    EntryKind,
    MakeDirectory,
    Rename,
    SetAttributes,
)
from dolmen.protocol.errors import (
    DirectoryFull,
    DirectoryNotEmpty,
    InvalidRequest,
    IsADirectory,
    NoSuchPath,
    NotADirectory,
    PathExists,
)
from dolmen.protocol.identifiers import DIRECTORY_ENTRIES_LIMIT, format_path, parse_path
from namenode.core.case import Case, check_mode, check_owner, check_time
from namenode.core.edits import AttributesSet, DirectoryMade, EntryDeleted, EntryRenamed
from namenode.core.lookup import (
    Names,
    Resolved,
    existing_at,
    file_block_ids,
    find_child,
    info_of,
    load_inode,
    resolve,
)
from namenode.core.outcome import BlocksForgotten, Effect, FileReplicationChanged, Outcome
from namenode.core.records import Inode

REPLICATION_LIMIT = 512
"""As in HDFS."""


def check_replication(replication: int, path: str) -> None:
    """Raise unless `replication` is one that a file may have."""
    if not 1 <= replication <= REPLICATION_LIMIT:
        raise InvalidRequest(
            f"replication {replication} is not between 1 and {REPLICATION_LIMIT}", path
        )


def check_room(directory: Inode, names: Names) -> None:
    """Raise DirectoryFull unless the directory of `names` can take one more entry."""
    if directory.entry_count >= DIRECTORY_ENTRIES_LIMIT:
        raise DirectoryFull(
            f"{format_path(names)}: its directory has {DIRECTORY_ENTRIES_LIMIT} entries, "
            "as many as one may have",
            format_path(names),
        )


def make_directories(case: Case, found: Resolved, names: Names) -> tuple[DirectoryMade, ...]:
    """Return the edits that make `names`, below the directory up to which they exist."""
    edits: list[DirectoryMade] = []
    parent_id = found.inode.inode_id
    for offset, name in enumerate(names[found.depth :]):
        inode_id = case.meta.next_inode_id + offset
        edits.append(
            DirectoryMade(
                inode_id=inode_id,
                parent_id=parent_id,
                name=name,
                mode=0o755,
                owner=case.user,
                group=found.inode.group,
                time_ms=case.now_ms,
            )
        )
        parent_id = inode_id
    return tuple(edits)


def forgotten(case: Case, inode: Inode) -> tuple[Effect, ...]:
    """Return the effect of dooming a file: at most FILE_BLOCKS_LIMIT blocks are named."""
    block_ids = tuple(file_block_ids(case.view, inode))
    return (BlocksForgotten(block_ids),) if block_ids else ()


def make_directory(case: Case, request: MakeDirectory) -> Outcome:
    """Decide MakeDirectory."""
    names = parse_path(request.path)
    path = format_path(names)
    check_mode(request.mode, path)
    found = resolve(case.view, names)
    if not found.missing:
        if found.inode.kind == EntryKind.DIRECTORY and request.exist_ok:
            return Outcome(info_of(names, found.inode))
        raise PathExists(f"{path}: exists", path)
    if len(found.missing) > 1 and not request.parents:
        parent = format_path(names[:-1])
        raise NoSuchPath(f"{path}: its parent {parent} does not exist", path)
    check_room(found.inode, names[: found.depth + 1])
    *parents, last = make_directories(case, found, names)
    last = msgspec.structs.replace(last, mode=request.mode)
    made = Inode(
        inode_id=last.inode_id,
        parent_id=last.parent_id,
        name=last.name,
        kind=EntryKind.DIRECTORY,
        mode=last.mode,
        owner=last.owner,
        group=last.group,
        created_ms=case.now_ms,
        modified_ms=case.now_ms,
        created_txid=case.next_txid,
        changed_txid=case.next_txid,
    )
    return Outcome(info_of(names, made), edits=(*parents, last))


def rename(case: Case, request: Rename) -> Outcome:
    """Decide Rename, in the order in which a POSIX system looks at things.

    The limits of depth and length are held for the target's own path. A subtree that moves deeper
    is not walked for them: what then lies beyond is still listed and moved back with its tree, and
    the limits that keep the tables sound (name, entries of a directory) do not depend on depth.
    """
    source, target = parse_path(request.source), parse_path(request.target)
    if not source or not target:
        raise InvalidRequest("the root cannot be renamed or replaced", "/")
    source_parent, target_parent = _parent(case, source), _parent(case, target)
    source_id = find_child(case.view, source_parent.inode_id, source[-1])
    if source_id is None:
        raise NoSuchPath(f"{format_path(source)}: no such file or directory", format_path(source))
    moved = load_inode(case.view, source_id)
    target_id = find_child(case.view, target_parent.inode_id, target[-1])
    if target_id is not None and not request.replace:
        raise PathExists(f"{format_path(target)}: exists", format_path(target))
    if source_id == target_id:
        return Outcome(Done())
    if target[: len(source)] == source:
        raise InvalidRequest(
            f"{format_path(source)} cannot move into itself: {format_path(target)}",
            format_path(target),
        )
    effects: tuple[Effect, ...] = ()
    if target_id is not None:
        replaced = load_inode(case.view, target_id)
        _check_replaceable(moved, replaced, format_path(target))
        effects = forgotten(case, replaced)
    elif target_parent.inode_id != source_parent.inode_id:
        check_room(target_parent, target)
    edit = EntryRenamed(
        source_id, target_parent.inode_id, target[-1], case.now_ms, replaced_due_ms=case.due_ms
    )
    return Outcome(Done(), edits=(edit,), effects=effects)


def _parent(case: Case, names: Names) -> Inode:
    """Return the directory of the last name, which must exist."""
    found = resolve(case.view, names[:-1])
    path = format_path(names)
    parent = format_path(names[:-1])
    if found.missing:
        raise NoSuchPath(f"{path}: its parent {parent} does not exist", path)
    if found.inode.kind != EntryKind.DIRECTORY:
        raise NotADirectory(f"{path}: {parent} is a file", path)
    return found.inode


def _check_replaceable(moved: Inode, replaced: Inode, path: str) -> None:
    if moved.kind == EntryKind.FILE:
        if replaced.kind == EntryKind.DIRECTORY:
            raise IsADirectory(f"{path}: is a directory and cannot be replaced by a file", path)
    elif replaced.kind == EntryKind.FILE:
        raise NotADirectory(f"{path}: is a file and cannot be replaced by a directory", path)
    elif replaced.entry_count:
        raise DirectoryNotEmpty(f"{path}: the directory to be replaced is not empty", path)


def delete(case: Case, request: Delete) -> Outcome:
    """Decide Delete. A whole tree is cut off by one edit and taken apart in the background."""
    names, inode = existing_at(case.view, request.path)
    path = format_path(names)
    if not names:
        raise InvalidRequest("the root cannot be deleted", path)
    _check_kind(request.kind, inode, path)
    if inode.entry_count and not request.recursive:
        raise DirectoryNotEmpty(f"{path}: the directory is not empty", path)
    edit = EntryDeleted(inode.inode_id, case.now_ms, case.due_ms)
    return Outcome(Done(), edits=(edit,), effects=forgotten(case, inode))


def _check_kind(wanted: EntryKind | None, inode: Inode, path: str) -> None:
    if wanted is EntryKind.DIRECTORY and inode.kind == EntryKind.FILE:
        raise NotADirectory(f"{path}: is a file", path)
    if wanted is EntryKind.FILE and inode.kind == EntryKind.DIRECTORY:
        raise IsADirectory(f"{path}: is a directory", path)


def set_attributes(case: Case, request: SetAttributes) -> Outcome:
    """Decide SetAttributes."""
    names, inode = existing_at(case.view, request.path)
    _check_attributes(request, inode, format_path(names))
    fields = {
        name: value
        for name in ("replication", "mode", "owner", "group", "modified_ms")
        if (value := getattr(request, name)) is not None
    }
    if not fields:
        return Outcome(info_of(names, inode))
    changed = msgspec.structs.replace(inode, changed_txid=case.next_txid, **fields)
    edit = AttributesSet(inode.inode_id, case.now_ms, **fields)
    effects: tuple[Effect, ...] = ()
    if changed.replication != inode.replication:
        effects = (FileReplicationChanged(inode.inode_id),)
    return Outcome(info_of(names, changed), edits=(edit,), effects=effects)


def _check_attributes(request: SetAttributes, inode: Inode, path: str) -> None:
    if request.replication is not None:
        if inode.kind == EntryKind.DIRECTORY:
            raise InvalidRequest(f"{path}: a directory has no replication", path)
        check_replication(request.replication, path)
    if request.mode is not None:
        check_mode(request.mode, path)
    if request.owner is not None:
        check_owner(request.owner, "owner")
    if request.group is not None:
        check_owner(request.group, "group")
    if request.modified_ms is not None:
        check_time(request.modified_ms, path)
