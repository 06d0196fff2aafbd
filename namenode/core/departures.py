"""Who leaves or rests, how far that is, and what is to change about it by itself.

A decommissioning datanode is done when all its blocks have been looked at, none of them needs it
and none of its pipelines is open. If it is DEAD nobody can ask it: then it is done when what it was
known to hold is elsewhere; and if nothing is known, because it was gone before this start, when
nothing at all is missing.
"""

import msgspec

from namenode.core.assessment import Assessor
from namenode.core.conditions import Condition
from namenode.core.datanodes import Datanodes, DatanodeState, Liveness
from namenode.core.draining import GOING
from namenode.core.outcome import AdminStateChanged
from namenode.core.records import AdminState
from namenode.core.safe_mode import SafeMode
from namenode.core.walks import LeaseWalk, Walks


class Progress(msgspec.Struct, frozen=True):
    """What still needs a datanode that leaves or rests."""

    blocks: int = 0
    open_blocks: int = 0

    @property
    def done(self) -> bool:
        """Whether nothing does."""
        return not self.blocks and not self.open_blocks


class Departures:
    """Follows the datanodes that leave or rest."""

    def __init__(
        self, datanodes: Datanodes, assessor: Assessor, safe_mode: SafeMode, walks: Walks
    ) -> None:
        self._datanodes = datanodes
        self._assessor = assessor
        self._draining = assessor.draining
        self._safe_mode = safe_mode
        self._walks = walks

    def look_for_open_blocks(self) -> None:
        """Begin a pass over the open files, if that is of use to anybody."""
        if self._draining.begin_pass():
            self._walks.add(LeaseWalk())

    def going(self) -> list[DatanodeState]:
        """Return the datanodes that leave or rest."""
        return self._draining.going()

    def progress(self, datanode: DatanodeState) -> Progress:
        """Return how far a datanode is. What has not been looked at yet counts as needed."""
        if datanode.admin_state not in GOING:
            return Progress()
        blocks = self._draining.blocks(datanode.datanode_id)
        open_blocks = self._draining.open_blocks(datanode.datanode_id)
        if open_blocks is None or self._unseen(datanode):
            held = sum(self._datanodes.replica_counts[number] for number in datanode.volumes)
            blocks = max(blocks, held, 1)
        return Progress(blocks, open_blocks or 0)

    def _unseen(self, datanode: DatanodeState) -> bool:
        """Whether some of its blocks may not have been looked at yet."""
        reporting = datanode.liveness is not Liveness.DEAD and not datanode.reported
        return reporting or self._safe_mode.starting or self._walks.will_visit(datanode.volumes)

    def due_changes(self, now_ms: int) -> tuple[AdminStateChanged, ...]:
        """Return who has left, and whose maintenance is over."""
        changes = []
        for datanode in self.going():
            if datanode.admin_state is AdminState.MAINTENANCE:
                if 0 < datanode.maintenance_until_ms <= now_ms:
                    change = AdminStateChanged(datanode.datanode_id, AdminState.IN_SERVICE)
                    changes.append(change)
            elif self._has_left(datanode):
                change = AdminStateChanged(datanode.datanode_id, AdminState.DECOMMISSIONED)
                changes.append(change)
        return tuple(changes)

    def _has_left(self, datanode: DatanodeState) -> bool:
        if datanode.liveness is Liveness.STALE or not self.progress(datanode).done:
            return False
        if self._datanodes.awaited() is not None:
            return False  # what others are believed to have may not be there any more
        known = datanode.liveness is Liveness.LIVE or bool(datanode.volumes)
        return known or not self._assessor.conditions.count(Condition.MISSING)
