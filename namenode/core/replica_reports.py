"""What the namenode does with a reported replica, and how a full report replaces what was believed.

`VERDICTS` is the table of rule 17 and 25: what the namespace knows of the block against what the
replica is worth to it. `FullReport` takes the report of one volume, whose block ids ascend:
whatever was believed to lie between two of them and is not named is gone. Changes that a datanode
reports while its full report is under way are newer than the report, so the report does not touch
those blocks.
"""

import enum
from collections.abc import Iterator
from itertools import islice, pairwise

import msgspec

from dolmen.protocol.datanode_messages import ReplicaReport, ReplicaState, ReportBlocks
from dolmen.protocol.errors import InvalidRequest
from namenode.core.block_map import Known, Standing, Worth, blocks_on, row_of, worth_of
from namenode.core.tables import View


class Verdict(enum.IntEnum):
    """What becomes of a reported replica."""

    COUNTS = 1
    """It is one of the block's replicas."""
    KEPT = 2
    """Remembered and left alone: its block is being written, or is kept for readers."""
    GOES_WITH_PROOF = 3
    """Worth nothing: it is deleted, or if damaged put into quarantine, once good replicas are
    proven to live."""
    GOES = 4
    """Of a block that was deleted: it is deleted."""
    HOLDS = 5
    """From the future: nothing is deleted any more until an operator has decided."""
    IGNORED = 6
    """Of another namespace, or of a future given up: not ours to judge."""


VERDICTS = {
    (Standing.COMPLETE, Worth.GOOD): Verdict.COUNTS,
    (Standing.COMPLETE, Worth.DAMAGED): Verdict.GOES_WITH_PROOF,
    (Standing.COMPLETE, Worth.WRONG): Verdict.GOES_WITH_PROOF,
    (Standing.COMPLETE, Worth.OLD): Verdict.GOES_WITH_PROOF,
    (Standing.COMPLETE, Worth.UNFINISHED): Verdict.GOES_WITH_PROOF,
    (Standing.OPEN, Worth.GOOD): Verdict.KEPT,
    (Standing.OPEN, Worth.DAMAGED): Verdict.KEPT,
    (Standing.OPEN, Worth.WRONG): Verdict.KEPT,
    (Standing.OPEN, Worth.OLD): Verdict.KEPT,
    (Standing.OPEN, Worth.UNFINISHED): Verdict.KEPT,
    (Standing.SETTLED, Worth.GOOD): Verdict.COUNTS,
    (Standing.SETTLED, Worth.DAMAGED): Verdict.KEPT,
    (Standing.SETTLED, Worth.WRONG): Verdict.KEPT,
    (Standing.SETTLED, Worth.OLD): Verdict.KEPT,
    (Standing.SETTLED, Worth.UNFINISHED): Verdict.KEPT,
    (Standing.DOOMED, Worth.GOOD): Verdict.KEPT,
    (Standing.DOOMED, Worth.DAMAGED): Verdict.KEPT,
    (Standing.DOOMED, Worth.WRONG): Verdict.KEPT,
    (Standing.DOOMED, Worth.OLD): Verdict.KEPT,
    (Standing.DOOMED, Worth.UNFINISHED): Verdict.KEPT,
    (Standing.UNKNOWN, None): Verdict.GOES,
    (Standing.FROM_FUTURE, None): Verdict.HOLDS,
    (Standing.FOREIGN, None): Verdict.IGNORED,
    (Standing.GIVEN_UP, None): Verdict.IGNORED,
}


def verdict_on(known: Known, report: ReplicaReport) -> Verdict:
    """Return what becomes of a replica whose block is `known`.

    A TEMPORARY one is its datanode's own: a copy under way, which it drops by itself if it fails.
    """
    if known.block is None:
        return VERDICTS[known.standing, None]
    if report.state is ReplicaState.TEMPORARY:
        return Verdict.KEPT
    return VERDICTS[known.standing, worth_of(known.block, row_of(report))]


SLICE = 64
"""Replicas taken at a time: at some 50 µs each this stays below the 5 ms that a slice may take."""

_END = (1 << 64) - 1


class Piece(msgspec.Struct, frozen=True):
    """A part of a page that is taken in one slice; `last` ends the volume's report."""

    replicas: tuple[ReplicaReport, ...]
    last: bool


def pieces_of(page: ReportBlocks) -> Iterator[Piece]:
    """Cut a page into pieces; an empty page is one empty piece."""
    for start in range(0, max(1, len(page.replicas)), SLICE):
        end = start + SLICE
        yield Piece(page.replicas[start:end], page.last and end >= len(page.replicas))


class FullReport:
    """The full report of one volume while its pages come."""

    def __init__(self) -> None:
        self.changed: set[int] = set()
        """Blocks changed since the datanode began to report; it reports each change only once."""
        self._report_id: int | None = None
        self._passed = -1  # all blocks up to this one have been compared

    def open_page(self, page: ReportBlocks) -> None:
        """Raise InvalidRequest unless `page` begins a report or is the next page of this one."""
        if page.first:
            self._report_id, self._passed = page.report_id, -1
        elif page.report_id != self._report_id:
            raise InvalidRequest(
                f"a page of report {page.report_id} came and its first page did not:"
                " send the whole report again"
            )
        block_ids = [self._passed, *(report.block_id for report in page.replicas)]
        ascending = all(earlier < later for earlier, later in pairwise(block_ids))
        if not ascending or block_ids[-1] >= _END:
            raise InvalidRequest("the block ids of a full report must ascend from page to page")

    def sweep(self, soft: View, storage_number: int, piece: Piece) -> tuple[list[int], bool]:
        """Compare what is believed to be on the volume with `piece`, up to where that reaches.

        Returns blocks that are gone, and whether there may be more: then ask again before taking
        the replicas of `piece`.
        """
        named = {report.block_id for report in piece.replicas}
        upper = _END if piece.last else max(named, default=self._passed)
        believed = list(islice(blocks_on(soft, storage_number, self._passed), SLICE))
        within = [block_id for block_id in believed if block_id <= upper]
        more = len(within) == SLICE
        self._passed = within[-1] if more else upper
        return [b for b in within if b not in named and b not in self.changed], more
