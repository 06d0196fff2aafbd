"""What `fsck` finds, page by page: figures, and each block that is not as it should be.

A page is put together from slices of a few milliseconds each, every one from a snapshot of its own.
It ends with the entries asked for, or before its blocks take too long or its problems outgrow a
message. A block is told once, as what is worst about it. What is being written or deleted is no
problem of a path: it is only counted.
"""

from collections.abc import Sequence

import msgspec

from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.identifiers import LISTING_LIMIT
from dolmen.protocol.operator_messages import Inspection, InspectTree, Problem, ProblemKind
from namenode.core import tables
from namenode.core.assessment import Assessor
from namenode.core.block_map import Holding, Known, Standing, counting, good, look_up
from namenode.core.conditions import UNDER_REPLICATED, Condition
from namenode.core.lookup import load_meta, trash_count
from namenode.core.portions import Measure, Portion, take_slice
from namenode.core.records import Inode
from namenode.core.tables import View
from namenode.core.why import Circumstances, Trouble, explain

ENTRIES_PER_SLICE = 100
"""At some 20 µs for an entry without blocks."""

BLOCKS_PER_SLICE = 48
"""At some 60 µs for a block that is fine and 100 µs for one that is not; with the entries this
stays below the 5 ms that a slice may take."""

SITES_PER_LOOK = 64
"""Datanodes in whose cluster a block takes twice as long: why no target suits is asked of each."""

PAGE_BLOCKS = 2000
"""Looked at for one page: within some hundreds of milliseconds, however busy the namenode is."""

PAGE_PROBLEM_BYTES = 256 * 1024
"""Of problems in a page that takes another slice; a slice adds less than 600 KiB to it: 48 paths of
8000 bytes and reasons of some hundred."""

_PROBLEM_BYTES = 100
"""A problem without its path and reason, generously."""

_KINDS = {
    Condition.MISSING: ProblemKind.MISSING,
    Condition.MIS_REPLICATED: ProblemKind.MIS_REPLICATED,
    Condition.OVER_REPLICATED: ProblemKind.OVER_REPLICATED,
    **dict.fromkeys(UNDER_REPLICATED, ProblemKind.UNDER_REPLICATED),
}

NOTHING = Inspection(0, 0, 0, 0, 0, (), "", more=True)


class Sight(msgspec.Struct, frozen=True):
    """Where an inspection looks."""

    view: View
    soft: View
    assessor: Assessor
    around: Circumstances


def check_limit(limit: int) -> None:
    """Raise InvalidRequest unless a page can have this limit."""
    if limit < 1:
        raise InvalidRequest(f"a page has at least one entry, not {limit}")


def inspect_slice(sight: Sight, request: InspectTree) -> Inspection:
    """Return what the next slice of the tree holds. NoSuchPath, InvalidRequest."""
    check_limit(request.limit)
    looks = SITES_PER_LOOK + len(sight.around.datanodes)
    measure = Measure(ENTRIES_PER_SLICE, max(2, BLOCKS_PER_SLICE * SITES_PER_LOOK // looks))
    found = take_slice(sight.view, request.path, request.after, measure)
    page = NOTHING
    for portion in found.portions:
        page = join(page, _inspect(sight, portion))
    whole = (0, 0)
    if not request.after:
        whole = sight.view.count(tables.LEASES), trash_count(sight.view)
    return msgspec.structs.replace(
        page,
        after=found.after,
        more=found.more,
        open_files=whole[0],
        trash_files=whole[1],
    )


def join(page: Inspection, more: Inspection) -> Inspection:
    """Return a page with what comes after it."""
    return Inspection(
        files=page.files + more.files,
        directories=page.directories + more.directories,
        blocks=page.blocks + more.blocks,
        replicas=page.replicas + more.replicas,
        length_bytes=page.length_bytes + more.length_bytes,
        problems=page.problems + more.problems,
        after=more.after,
        more=more.more,
        open_files=page.open_files + more.open_files,
        trash_files=page.trash_files + more.trash_files,
        inline_files=page.inline_files + more.inline_files,
        inline_bytes=page.inline_bytes + more.inline_bytes,
    )


def is_full(page: Inspection, limit: int) -> bool:
    """Return whether no further slice is to be added to this page."""
    problem_bytes = sum(
        _PROBLEM_BYTES + len(problem.path.encode()) + len(problem.reason.encode())
        for problem in page.problems
    )
    return (
        not page.more
        or page.files + page.directories >= min(limit, LISTING_LIMIT)
        or page.blocks >= PAGE_BLOCKS
        or problem_bytes >= PAGE_PROBLEM_BYTES
    )


def _inspect(sight: Sight, portion: Portion) -> Inspection:
    inode, problems, replicas = portion.inode, [], 0
    meta = load_meta(sight.view)
    for block_id in portion.block_ids:
        known = look_up(sight.view, meta, block_id)
        if known.standing is not Standing.COMPLETE:
            continue
        live, problem = _look_at(sight, known, portion.path)
        replicas += live
        problems += [problem] if problem is not None else []
    first = portion.first_index == 0
    is_file = inode.kind == EntryKind.FILE
    return Inspection(
        files=int(first and is_file),
        directories=int(first and not is_file),
        blocks=len(portion.block_ids),
        replicas=replicas,
        length_bytes=_length(inode) if first else 0,
        problems=tuple(problems),
        after="",
        more=True,
        inline_files=int(inode.is_inline),
        inline_bytes=_length(inode) if inode.is_inline else 0,
    )


def _length(inode: Inode) -> int:
    return inode.length_bytes if inode.kind == EntryKind.FILE else 0


def _condition(sight: Sight, block_id: int, held: Sequence[Holding]) -> Condition | None:
    """Return what upkeep has noted of a block; what nobody has reported since the start is noted
    only when safe mode is over."""
    return sight.assessor.conditions.get(block_id) if good(held) else Condition.MISSING


def _look_at(sight: Sight, known: Known, path: str) -> tuple[int, Problem | None]:
    """Return how many replicas of a block count, and what is worst about it."""
    assert known.block is not None
    block_id = known.block.block_id
    held = sight.assessor.held(known, sight.soft)
    live = len(counting(held, block_id))
    condition = _condition(sight, block_id, held)
    corrupt = frozenset(sight.assessor.corrupt.get(block_id, ()))
    if condition is None and not corrupt:
        return live, None
    kind = ProblemKind.CORRUPT
    if condition is Condition.MISSING or (condition is not None and not corrupt):
        kind = _KINDS[condition]
    why = explain(Trouble(known, held, condition, corrupt), sight.around)
    problem = Problem(
        path=path,
        block_id=block_id,
        kind=kind,
        live=live,
        wanted=known.wanted,
        reason=why.reason,
        expected_in_s=why.expected_in_s,
    )
    return live, problem
