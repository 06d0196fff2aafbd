"""Which replicas are to be read and checked when the files of a path are: one slice at a time.

Good replicas and damaged ones are; one that never was whole, or is of an older stamp, proves
nothing either way and goes by itself.
"""

import msgspec

from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.operator_messages import VerifyBlocks
from namenode.core.block_map import Standing, Worth, look_up
from namenode.core.inspection import BLOCKS_PER_SLICE, ENTRIES_PER_SLICE, Sight, check_limit
from namenode.core.lookup import load_meta
from namenode.core.portions import Measure, take_slice


class Check(msgspec.Struct, frozen=True):
    """A replica to be checked."""

    block_id: int
    stamp: int
    length_bytes: int
    datanode_id: str


class ChecksSlice(msgspec.Struct, frozen=True):
    """The replicas of some files; the next slice begins after `after`, if there is `more`."""

    files: int
    checks: tuple[Check, ...]
    after: str
    more: bool


def take_checks(sight: Sight, request: VerifyBlocks) -> ChecksSlice:
    """Return the replicas of the next slice of the tree. NoSuchPath, InvalidRequest."""
    check_limit(request.limit)
    measure = Measure(ENTRIES_PER_SLICE, BLOCKS_PER_SLICE)
    found = take_slice(sight.view, request.path, request.after, measure)
    files = [portion for portion in found.portions if portion.inode.kind == EntryKind.FILE]
    checks = [
        check
        for portion in files
        for block_id in portion.block_ids
        for check in _checks_of(sight, block_id)
    ]
    return ChecksSlice(len(files), tuple(checks), found.after, found.more)


def _checks_of(sight: Sight, block_id: int) -> list[Check]:
    known = look_up(sight.view, load_meta(sight.view), block_id)
    if known.standing is not Standing.COMPLETE or known.block is None:
        return []
    block = known.block
    return [
        Check(block_id, block.stamp, block.length_bytes, holding.datanode.datanode_id)
        for holding in sight.assessor.held(known, sight.soft)
        if holding.worth in (Worth.GOOD, Worth.DAMAGED)
    ]
