"""Decides how a published file's blocks give way to those of its draft.

One group of edits: what the file gives up moves to a hidden file, doomed from its birth, whose
blocks stay for those who read them by their ids as a deleted file's do (rule 22); the draft's
blocks come behind what the file keeps; the draft is empty again, or ended. Blocks move in slices,
so that no edit touches more than 1000 records (rule 8). Nothing is seen in between.

An inline file is cut by itself; it grows as a file with one short block does, with which the draft
begins once more.
"""

from bisect import bisect_left
from collections.abc import Iterator

import msgspec

from dolmen.protocol.checksums import content_hash, hash_of_length
from dolmen.protocol.draft_messages import ExtendFile
from dolmen.protocol.errors import FileTooLarge, InvalidRequest, StaleHandle
from dolmen.protocol.identifiers import FILE_BLOCKS_LIMIT, format_path
from namenode.core.blocks import block_at, commit_last, unfinished, wait_for
from namenode.core.case import Case, check_time
from namenode.core.edits import (
    AnyEdit,
    AttributesSet,
    BlockCommitted,
    BlocksMoved,
    ContentReplaced,
    FileExtended,
    HiddenFileMade,
)
from namenode.core.files import classified, drop
from namenode.core.leases import held_file
from namenode.core.lookup import (
    Names,
    file_block_ids,
    find_inode,
    find_lease,
    find_names,
    info_of,
    load_content,
)
from namenode.core.outcome import (
    BlocksForgotten,
    Effect,
    LeaseEnded,
    LeaseTouched,
    Outcome,
    ReadersMoved,
    Waits,
)
from namenode.core.records import Inode

replace = msgspec.structs.replace

BLOCKS_PER_EDIT = 300
"""Moving a block touches three records."""


class _Plan(msgspec.Struct, frozen=True):
    """What is to become of a file."""

    names: Names
    target: Inode
    draft: Inode
    start_bytes: int  # from here on the target's bytes give way
    first_index: int  # of the target's blocks that go
    moved: int  # blocks of the draft
    length_bytes: int  # afterwards
    cut: bool

    @property
    def nothing(self) -> bool:
        """Whether the file stays as it is."""
        return not self.moved and self.start_bytes == self.target.length_bytes


def extend_file(case: Case, request: ExtendFile) -> Outcome | Waits:
    """Decide ExtendFile."""
    draft = held_file(case.view, request.draft_id, case.client_id)
    commits = commit_last(case, draft, request.last)
    plan = _plan(case, request, draft, commits)
    if (waits := wait_for(case, draft, unfinished(case, draft, commits))) is not None:
        return waits
    edits: tuple[AnyEdit, ...] = (*commits, *_edits(case, request, plan))
    if not edits:
        return Outcome(info_of(plan.names, plan.target), effects=(LeaseTouched(draft.inode_id),))
    return Outcome(
        info_of(plan.names, _extended(case, request, plan)), edits, _effects(case, request, plan)
    )


def _plan(
    case: Case, request: ExtendFile, draft: Inode, commits: tuple[BlockCommitted, ...]
) -> _Plan:
    names, target = _target_of(case, draft)
    path = format_path(names)
    check_time(request.modified_ms, path)
    start, keep = request.start_bytes, request.keep_bytes
    length_bytes = start + draft.length_bytes + sum(commit.length_bytes for commit in commits)
    if not 0 <= start <= keep <= target.length_bytes or length_bytes < keep:
        raise InvalidRequest(
            f"{path} has {target.length_bytes} bytes: it cannot keep {keep}, those from {start} on"
            f" written again, and have {length_bytes} then",
            path,
        )
    first_index = _first_index(case, target, draft, start)
    if first_index is None:
        raise InvalidRequest(f"no block of {path} begins at {start}", path)
    if first_index + draft.block_count > FILE_BLOCKS_LIMIT:
        raise FileTooLarge(
            f"{path}: a file may have at most {FILE_BLOCKS_LIMIT} blocks; copy it, or write more"
            " before each flush",
            path,
        )
    return _Plan(
        names=names,
        target=target,
        draft=draft,
        start_bytes=start,
        first_index=first_index,
        moved=draft.block_count,
        length_bytes=length_bytes,
        cut=keep < target.length_bytes,
    )


def _target_of(case: Case, draft: Inode) -> tuple[Names, Inode]:
    lease = find_lease(case.view, draft.inode_id)
    if lease is None or not lease.target_id:
        raise InvalidRequest(f"inode {draft.inode_id} is a new file and no draft: publish it")
    target = find_inode(case.view, lease.target_id)
    names = None if target is None else find_names(case.view, target)
    if target is None or names is None:
        raise StaleHandle(f"{lease.path}: the file was deleted or replaced", lease.path)
    return names, target


def _first_index(case: Case, target: Inode, draft: Inode, start_bytes: int) -> int | None:
    """Return from which of its blocks on the target gives way; None if it cannot there."""
    if not target.is_inline:
        return _index_at(case, target, start_bytes)
    return None if draft.block_count and start_bytes else 0


def _index_at(case: Case, inode: Inode, offset_bytes: int) -> int | None:
    """Return which block begins at this offset; the number of blocks for the file's end."""
    if offset_bytes == inode.length_bytes:
        return inode.block_count

    def offset_of(index: int) -> int:
        return block_at(case, inode, index).offset_bytes

    index = bisect_left(range(inode.block_count), offset_bytes, key=offset_of)
    found = index < inode.block_count and offset_of(index) == offset_bytes
    return index if found else None


def _edits(case: Case, request: ExtendFile, plan: _Plan) -> Iterator[AnyEdit]:
    target, draft = plan.target, plan.draft
    if gone := target.block_count - plan.first_index:
        hidden_id = case.meta.next_inode_id
        yield HiddenFileMade(hidden_id, target.inode_id, case.due_ms, case.now_ms)
        yield from moves(target.inode_id, plan.first_index, gone, hidden_id)
    modified_ms = request.modified_ms or case.now_ms
    if target.is_inline and not plan.nothing:
        content = _content(case, plan)
        digest = _content_hash(case, plan)
        yield ContentReplaced(target.inode_id, content, digest, modified_ms, plan.cut)
    yield from moves(draft.inode_id, 0, plan.moved, target.inode_id)
    if plan.moved or not (plan.nothing or target.is_inline):
        yield FileExtended(target.inode_id, modified_ms, plan.cut, case.now_ms)
    if plan.nothing and request.modified_ms:
        yield AttributesSet(target.inode_id, case.now_ms, modified_ms=request.modified_ms)
    if request.final:
        yield drop(case.now_ms, draft)


def _content(case: Case, plan: _Plan) -> bytes:
    """Return what an inline file still has itself: nothing if it is to have blocks."""
    return b"" if plan.moved else load_content(case.view, plan.target)[: plan.length_bytes]


def _content_hash(case: Case, plan: _Plan) -> bytes:
    """Return the hash of what the file has then, if it is known: of blocks it is not."""
    if plan.moved or not plan.target.is_inline:
        return hash_of_length(plan.length_bytes)
    return content_hash(_content(case, plan))


def moves(source_id: int, first_index: int, count: int, inode_id: int) -> Iterator[BlocksMoved]:
    """Yield the edits that bring blocks of one file behind those of another."""
    for start in range(first_index, first_index + count, BLOCKS_PER_EDIT):
        some = min(BLOCKS_PER_EDIT, first_index + count - start)
        yield BlocksMoved(source_id, start, some, inode_id)


def _extended(case: Case, request: ExtendFile, plan: _Plan) -> Inode:
    target = plan.target
    if plan.nothing:
        if not request.modified_ms:
            return target
        return replace(target, modified_ms=request.modified_ms, changed_txid=case.next_txid)
    return replace(
        target,
        length_bytes=plan.length_bytes,
        block_count=plan.first_index + plan.moved,
        content_hash=_content_hash(case, plan),
        modified_ms=request.modified_ms or case.now_ms,
        changed_txid=case.next_txid,
        cut_txid=case.next_txid if plan.cut else target.cut_txid,
    )


def _effects(case: Case, request: ExtendFile, plan: _Plan) -> tuple[Effect, ...]:
    target, draft = plan.target, plan.draft
    effects: tuple[Effect, ...] = (
        LeaseEnded(draft.inode_id) if request.final else LeaseTouched(draft.inode_id),
    )
    if plan.first_index < target.block_count:
        gone = tuple(file_block_ids(case.view, target, plan.first_index))
        readers = ReadersMoved(target.inode_id, case.meta.next_inode_id)
        effects += (BlocksForgotten(gone), readers)
    come = tuple(file_block_ids(case.view, draft))
    return effects + classified(target.inode_id, come)
