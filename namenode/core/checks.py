"""Which replicas are to be read and checked when the files of a path are: one slice at a time.

Good replicas and damaged ones are; one that never was whole, or is of an older stamp, proves
nothing either way and goes by itself.
"""

from collections.abc import Iterable

import msgspec

from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.datanode_messages import ReplicaChecked, ReplicaState
from dolmen.protocol.operator_messages import Problem, ProblemKind, VerifyBlocks
from namenode.core.block_map import Standing, Worth, counting, look_up, rows_of
from namenode.core.datanodes import DatanodeState
from namenode.core.inspection import BLOCKS_PER_SLICE, ENTRIES_PER_SLICE, Sight
from namenode.core.lookup import load_meta
from namenode.core.portions import Measure, take_slice
from namenode.core.tables import View

REASON_LIMIT = 200
"""Characters of what a datanode says is wrong with a replica."""


class Check(msgspec.Struct, frozen=True):
    """A replica to be checked."""

    block_id: int
    stamp: int
    length_bytes: int
    datanode_id: str
    path: str  # of the file


class Finding(msgspec.Struct, frozen=True):
    """A replica that was found damaged, and what its datanode says is wrong with it."""

    check: Check
    problem: str


class ChecksSlice(msgspec.Struct, frozen=True):
    """The replicas of some files; the next slice begins after `after`, if there is `more`."""

    files: int
    checks: tuple[Check, ...]
    after: str
    more: bool


def take_checks(sight: Sight, request: VerifyBlocks) -> ChecksSlice:
    """Return the replicas of the next slice of the tree. NoSuchPath, InvalidRequest."""
    measure = Measure(ENTRIES_PER_SLICE, BLOCKS_PER_SLICE)
    found = take_slice(sight.view, request.path, request.after, measure)
    files = [portion for portion in found.portions if portion.inode.kind == EntryKind.FILE]
    checks = [
        check
        for portion in files
        for block_id in portion.block_ids
        for check in _checks_of(sight, block_id, portion.path)
    ]
    return ChecksSlice(len(files), tuple(checks), found.after, found.more)


def _checks_of(sight: Sight, block_id: int, path: str) -> list[Check]:
    known = look_up(sight.view, load_meta(sight.view), block_id)
    if known.standing is not Standing.COMPLETE or known.block is None:
        return []
    block = known.block
    return [
        Check(block_id, block.stamp, block.length_bytes, holding.datanode.datanode_id, path)
        for holding in sight.assessor.held(known, sight.soft)
        if holding.worth in (Worth.GOOD, Worth.DAMAGED)
    ]


def problem_of(sight: Sight, finding: Finding) -> Problem:
    """Return a finding as it is told, with how its block fares now."""
    check = finding.check
    known = look_up(sight.view, load_meta(sight.view), check.block_id)
    live = 0
    if known.block is not None:
        live = len(counting(sight.assessor.held(known, sight.soft), check.block_id))
    datanode = sight.around.datanodes.get(check.datanode_id)
    where = check.datanode_id if datanode is None else datanode.address
    return Problem(
        path=check.path,
        block_id=check.block_id,
        kind=ProblemKind.CORRUPT,
        live=live,
        wanted=known.wanted,
        reason=f"found damaged on {where}: {finding.problem[:REASON_LIMIT]}",
        expected_in_s=None,
    )


def damaged_blocks(
    answers: Iterable[ReplicaChecked], datanode: DatanodeState, soft: View
) -> set[int]:
    """Return the blocks, of those with a problem, whose replica on this datanode is DAMAGED."""
    return {
        answer.block_id
        for answer in answers
        if answer.problem
        for row in rows_of(soft, answer.block_id)
        if row.storage_number in datanode.volumes and row.replica.state == ReplicaState.DAMAGED
    }
