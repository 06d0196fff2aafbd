"""Decides how a published file's blocks give way to those of its draft.

One group of edits: what the file gives up moves to a hidden file, doomed from its birth, whose
blocks stay for those who read them by their ids as a deleted file's do (rule 22); the draft's
blocks come behind what the file keeps; the draft is empty again, or ended. Blocks move in slices,
so that no edit touches more than 1000 records (rule 8). Nothing is seen in between.
"""

from bisect import bisect_left
from collections.abc import Iterator

import msgspec

from dolmen.protocol.checksums import hash_of_length
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
    first_index: int  # of the target's blocks that go
    moved: int  # blocks of the draft
    length_bytes: int  # afterwards
    cut: bool

    @property
    def nothing(self) -> bool:
        """Whether the file stays as it is."""
        return not self.moved and self.first_index == self.target.block_count


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
    first_index = _index_at(case, target, start)
    if first_index is None:
        raise InvalidRequest(f"no block of {path} begins at {start}", path)
    if first_index + draft.block_count > FILE_BLOCKS_LIMIT:
        raise FileTooLarge(
            f"{path}: a file may have at most {FILE_BLOCKS_LIMIT} blocks; copy it, or write more"
            " before each flush",
            path,
        )
    cut = keep < target.length_bytes
    return _Plan(names, target, draft, first_index, draft.block_count, length_bytes, cut)


def _target_of(case: Case, draft: Inode) -> tuple[Names, Inode]:
    lease = find_lease(case.view, draft.inode_id)
    if lease is None or not lease.target_id:
        raise InvalidRequest(f"inode {draft.inode_id} is a new file and no draft: publish it")
    target = find_inode(case.view, lease.target_id)
    names = None if target is None else find_names(case.view, target)
    if target is None or names is None:
        raise StaleHandle(f"{lease.path}: the file was deleted or replaced", lease.path)
    return names, target


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
    yield from moves(draft.inode_id, 0, plan.moved, target.inode_id)
    if not plan.nothing:
        modified_ms = request.modified_ms or case.now_ms
        yield FileExtended(target.inode_id, modified_ms, plan.cut, case.now_ms)
    elif request.modified_ms:
        yield AttributesSet(target.inode_id, case.now_ms, modified_ms=request.modified_ms)
    if request.final:
        yield drop(case.now_ms, draft)


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
        content_hash=hash_of_length(plan.length_bytes),
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
