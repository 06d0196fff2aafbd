"""Which blocks still need the datanodes that leave or rest, and when those may be stopped.

What is assessed notes here whom a block still needs, so the figures are as true as the conditions
of blocks are. Blocks that are being written are found by passes over the leases: a datanode is free
of them when a pass that began after it was told to leave has found none of its pipelines open.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from namenode.core.block_map import Standing, Tables, look_up, rows_of
from namenode.core.datanodes import Datanodes, DatanodeState
from namenode.core.records import AdminState

GOING = (AdminState.DECOMMISSIONING, AdminState.MAINTENANCE)


class Draining:
    """The blocks that need somebody who leaves or rests."""

    def __init__(self, datanodes: Datanodes) -> None:
        self._datanodes = datanodes
        self._needed: dict[int, tuple[str, ...]] = {}
        self._counts: Counter[str] = Counter()
        self._open: dict[str, int] = {}  # by the last pass
        self._passing: dict[str, set[int]] | None = None  # by the pass under way

    def going(self) -> list[DatanodeState]:
        """Return the datanodes that leave or rest."""
        return [datanode for datanode in self._datanodes if datanode.admin_state in GOING]

    # ------------------------------------------------------------ complete blocks

    def note(self, block_id: int, needed: Sequence[DatanodeState]) -> None:
        """This block needs these datanodes, and no other that leaves or rests."""
        before = self._needed.pop(block_id, ())
        self._counts.subtract(before)
        if needed:
            now = tuple(sorted(datanode.datanode_id for datanode in needed))
            self._needed[block_id] = now
            self._counts.update(now)

    def needs(self, block_id: int) -> tuple[str, ...]:
        """Return whom a block needs."""
        return self._needed.get(block_id, ())

    def blocks(self, datanode_id: str) -> int:
        """Return how many blocks need this datanode, as far as they have been looked at."""
        return self._counts[datanode_id]

    # ------------------------------------------------------------ blocks being written

    def open_blocks(self, datanode_id: str) -> int | None:
        """Return how many pipelines of this datanode are open; None if that is not known yet."""
        return self._open.get(datanode_id)

    def start_over(self, datanode_id: str) -> None:
        """The datanode has another admin state: what is known of its pipelines is of no use."""
        self._open.pop(datanode_id, None)
        if self._passing is not None:
            self._passing.pop(datanode_id, None)

    def begin_pass(self) -> bool:
        """Begin a pass if none is under way; return whether there is anybody to look for."""
        if self._passing is not None:
            return False
        going = self.going()
        if going:
            self._passing = {datanode.datanode_id: set() for datanode in going}
        return bool(going)

    def saw_open(self, block_ids: Iterable[int], tables: Tables) -> None:
        """The pass has come to these blocks, the last ones of open files."""
        passing = self._passing or {}
        for block_id in block_ids:
            known = look_up(tables.view, tables.meta, block_id)
            if known.block is None or known.standing not in (Standing.OPEN, Standing.SETTLED):
                continue
            expected = self._datanodes.numbered(known.block.expected)
            members = {datanode.datanode_id for datanode in expected}
            for row in rows_of(tables.soft, block_id):
                datanode = self._datanodes.holder(row.storage_number)
                if datanode is not None:
                    members.add(datanode.datanode_id)
            for datanode_id in members & passing.keys():
                passing[datanode_id].add(block_id)

    def end_pass(self) -> None:
        """The pass has seen all open files."""
        for datanode_id, block_ids in (self._passing or {}).items():
            self._open[datanode_id] = len(block_ids)
        self._passing = None
