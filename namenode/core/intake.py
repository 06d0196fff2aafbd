"""Takes what datanodes report into the block map.

Each report says what is, not what to add or subtract: a row is put or removed, and the block
assessed anew. Taking the same report twice, or an old one after a newer, ends in the same state
once the datanode has reported in full. Work comes in slices; the caller lets others run between
them.
"""

from dolmen.protocol.datanode_messages import (
    ChangeKind,
    ReplicaChange,
    ReplicaReport,
    ReplicaState,
    ReportBlocks,
)
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.identifiers import block_number, format_block_id
from namenode.core.assessment import Assessor
from namenode.core.block_map import (
    Known,
    Standing,
    Tables,
    Worth,
    get_row,
    look_up,
    row_of,
    rows_of,
    worth_of,
)
from namenode.core.block_queue import BlockQueue
from namenode.core.datanodes import Datanodes, DatanodeState, Order, Volume
from namenode.core.redundancy import Redundancy
from namenode.core.replica_reports import FullReport, Piece, Verdict, verdict_on
from namenode.core.safe_mode import SafeMode


class Intake:
    """Applies reports; knows which full reports are under way."""

    def __init__(
        self,
        datanodes: Datanodes,
        assessor: Assessor,
        redundancy: Redundancy,
        safe_mode: SafeMode,
    ) -> None:
        self._datanodes = datanodes
        self._assessor = assessor
        self._redundancy = redundancy
        self._safe_mode = safe_mode
        self._reports: dict[int, FullReport] = {}
        self.orphans = BlockQueue()
        """Blocks that somebody holds and the namespace has deleted."""
        self.foreign_replicas = 0
        """Reported replicas of another namespace, left alone; the log will tell of them."""

    def begin(self, datanode: DatanodeState) -> None:
        """A datanode registered: its changes from now on are newer than its full report."""
        for number in datanode.volumes:
            self._reports[number] = FullReport()

    def open_page(self, datanode: DatanodeState, page: ReportBlocks) -> None:
        """Check that a page may come now. InvalidRequest."""
        volume = _volume(datanode, page.storage_id)
        self._reports.setdefault(volume.number, FullReport()).open_page(page)
        datanode.report_moved_ms = self._datanodes.ran_ms

    def take_piece(
        self, datanode: DatanodeState, storage_id: str, piece: Piece, tables: Tables
    ) -> tuple[list[int], bool]:
        """Take a piece of an opened page; return the blocks concerned, and whether to call again
        with the same piece because more was gone than fits one slice."""
        volume = _volume(datanode, storage_id)
        report = self._reports.get(volume.number)
        if report is None:
            raise InvalidRequest("this report was replaced by a newer one")
        datanode.report_moved_ms = self._datanodes.ran_ms
        gone, more = report.sweep(tables.soft, volume.number, piece)
        for block_id in gone:
            self._remove(datanode, volume, block_id, tables)
        if more:
            return gone, True
        taken = [r for r in piece.replicas if r.block_id not in report.changed]
        for replica in taken:
            self._take(datanode, volume, replica, tables)
        if piece.last:
            volume.reported = True
            del self._reports[volume.number]
        return gone + [replica.block_id for replica in taken], False

    def end(self, datanode: DatanodeState) -> None:
        """The last page of the last volume has been taken."""
        if all(volume.reported for volume in datanode.volumes.values()):
            datanode.reported = True
            self._safe_mode.saw_full_report(self._datanodes.ran_ms)

    def take_change(self, datanode: DatanodeState, change: ReplicaChange, tables: Tables) -> None:
        """Take one change that a datanode reports."""
        volume = _volume(datanode, change.storage_id)
        block_id, stamp = change.replica.block_id, change.replica.stamp
        if volume.number in self._reports:
            self._reports[volume.number].changed.add(block_id)
        if change.kind is ChangeKind.STORED:
            self._take(datanode, volume, change.replica, tables)
            return
        if look_up(tables.view, tables.meta, block_id).standing is Standing.FOREIGN:
            return
        row = get_row(tables.soft, block_id, volume.number)
        if row is not None and row.stamp > stamp:
            return  # an older replica went; the one that is known has been restamped since
        if change.kind is ChangeKind.CORRUPT:
            self._assessor.note_corrupt(block_id, datanode.datanode_id)
        self._remove(datanode, volume, block_id, tables)

    def _take(
        self, datanode: DatanodeState, volume: Volume, report: ReplicaReport, tables: Tables
    ) -> None:
        known = look_up(tables.view, tables.meta, report.block_id, report.stamp)
        verdict = verdict_on(known, report)
        if verdict is Verdict.HOLDS:
            self._safe_mode.saw_future(
                f"datanode {datanode.datanode_id} holds block"
                f" {format_block_id(report.block_id)} with stamp {report.stamp},"
                " which has not been made yet",
                block_number(report.block_id),
                report.stamp,
            )
            return
        if verdict is Verdict.IGNORED:
            self.foreign_replicas += 1
            if known.standing is Standing.GIVEN_UP:  # it is what became of the replica we know
                self.forget_row(report.block_id, volume.number, tables)
            return
        given = datanode.orders.get(report.block_id)
        if given is not None and not _is_against(given, report):
            del datanode.orders[report.block_id]
        had_good = self._has_good(known, tables)
        tables.put_row(report.block_id, volume.number, row_of(report))
        self._count(known, had_good, tables)
        if verdict is Verdict.GOES:
            self.orphans.add(report.block_id)
        if verdict is Verdict.COUNTS:
            self._redundancy.arrived(report.block_id, datanode.datanode_id)
        self._assessor.assess_known(report.block_id, known, tables.soft)

    def _remove(
        self, datanode: DatanodeState, volume: Volume, block_id: int, tables: Tables
    ) -> None:
        datanode.orders.pop(block_id, None)
        self.forget_row(block_id, volume.number, tables)

    def forget_row(self, block_id: int, storage_number: int, tables: Tables) -> None:
        """A replica is gone."""
        known = look_up(tables.view, tables.meta, block_id)
        had_good = self._has_good(known, tables)
        tables.remove_row(block_id, storage_number)
        self._count(known, had_good, tables)
        self._assessor.assess_known(block_id, known, tables.soft)

    def _has_good(self, known: Known, tables: Tables) -> bool:
        """Whether any good replica was reported; of interest only while safe mode counts."""
        if not self._safe_mode.starting or known.standing is not Standing.COMPLETE:
            return False
        block = known.block
        assert block is not None
        rows = rows_of(tables.soft, block.block_id)
        return any(worth_of(block, row.replica) is Worth.GOOD for row in rows)

    def _count(self, known: Known, had_good: bool, tables: Tables) -> None:
        has_good = self._has_good(known, tables)
        if has_good and not had_good:
            self._safe_mode.saw_block(self._datanodes.ran_ms)
        elif had_good and not has_good:
            self._safe_mode.lost_block()


def _is_against(given: Order, report: ReplicaReport) -> bool:
    """Whether an order outstanding is for this replica; it is void if another one took its place
    (of another stamp, or made anew where a damaged one was)."""
    anew = given.quarantine and report.state is not ReplicaState.DAMAGED
    return given.stamp == report.stamp and not anew


def _volume(datanode: DatanodeState, storage_id: str) -> Volume:
    for volume in datanode.volumes.values():
        if volume.status.storage_id == storage_id:
            return volume
    raise InvalidRequest(f"volume {storage_id} is not one that this datanode registered")
