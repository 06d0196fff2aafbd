"""Keeps the conditions of blocks true: whatever changed about a block, it is assessed anew from
scratch.

Nothing is counted up or down from events, so that no repeated, lost or reordered report can make a
figure drift: the condition of a block is a function of its record, its rows and the datanodes.
"""

from collections.abc import Iterable

import msgspec

from dolmen.protocol.datanode_messages import ReplicaState
from namenode.core.block_map import (
    Holding,
    Known,
    Standing,
    Worth,
    holdings,
    look_up,
    rows_of,
)
from namenode.core.block_queue import BlockQueue
from namenode.core.conditions import (
    UNDER_REPLICATED,
    Condition,
    Conditions,
    Cramped,
    Surroundings,
    has_gained,
    spread,
    survey,
)
from namenode.core.datanodes import Datanodes
from namenode.core.draining import Draining
from namenode.core.lookup import load_meta
from namenode.core.presence import Members, count_members, presence_of
from namenode.core.records import AdminState
from namenode.core.tables import View


class Changes(msgspec.Struct, frozen=True):
    """What changed about where replicas could go."""

    members: bool  # how many serve
    new_host: bool
    second_rack: bool  # a new rack, where there was one at most
    fewer: bool  # a host or rack less
    roomier_host: bool  # one has room for a block that is crowded for want of it
    roomier_rack: bool  # one has room for a block that is in one rack for want of it


class Assessor:
    """The conditions of all blocks, and what else is noteworthy about a block."""

    def __init__(self, datanodes: Datanodes, min_replicas: int) -> None:
        self._datanodes = datanodes
        self.members = Members(min_replicas)
        self.draining = Draining(datanodes)
        self.conditions = Conditions()
        self.around = Surroundings({}, {})
        self.cramped = Cramped()
        self.unsound = BlockQueue()
        """Complete blocks of which somebody holds a replica that is worth nothing, in turn."""
        self.crowded = BlockQueue()
        """Complete blocks with two replicas on one host, whether or not another could take one."""
        self.unpublished = BlockQueue()
        """Under-replicated blocks of files that are being written: repaired, and not counted."""
        self.corrupt: dict[int, set[str]] = {}
        """Block → datanodes that have, or had and put aside, a damaged replica not yet replaced."""

    def look_around(self) -> Changes:
        """See where replicas could go now, and what has changed about that."""
        before, self.around = self.around, survey(self._datanodes.usable())
        known, self.members = (
            self.members,
            count_members(self._datanodes, self.members.min_replicas),
        )
        hosts, racks = self.around.hosts.keys(), self.around.racks.keys()
        return Changes(
            members=self.members != known,
            new_host=bool(hosts - before.hosts.keys()),
            second_rack=len(before.racks) <= 1 and bool(racks - before.racks.keys()),
            fewer=bool(before.hosts.keys() - hosts or before.racks.keys() - racks),
            roomier_host=has_gained(before.hosts, self.around.hosts, self.cramped.on_hosts_bytes),
            roomier_rack=has_gained(before.racks, self.around.racks, self.cramped.in_racks_bytes),
        )

    def held(self, known: Known, soft: View) -> list[Holding]:
        """Return the replicas of a known block."""
        assert known.block is not None
        return holdings(rows_of(soft, known.block.block_id), known.block, self._datanodes)

    def assess(self, block_id: int, view: View, soft: View) -> Known:
        """Find out how a block fares, and note it."""
        known = look_up(view, load_meta(view), block_id)
        return self.assess_known(block_id, known, soft)

    def assess_known(self, block_id: int, known: Known, soft: View) -> Known:
        """Note how a block fares of which it was looked up what the namespace knows."""
        if known.standing not in (Standing.COMPLETE, Standing.SETTLED) or known.block is None:
            self.forget(block_id)
            return known
        held = self.held(known, soft)
        present = presence_of(held, block_id)
        count_on = present.counting
        length_bytes = known.block.length_bytes
        condition = present.condition(known.wanted, self.members)
        condition = condition or spread(count_on, length_bytes, self.around)
        self.draining.note(block_id, present.needed(known.wanted, self.members))
        if known.standing is Standing.SETTLED:
            self._note_settled(block_id, condition)
            return known
        self.unpublished.discard(block_id)
        self.conditions.set(block_id, condition)
        if condition is None:
            self.cramped.note(count_on, length_bytes, self.around)
        _mark(self.crowded, block_id, len({d.host for d in count_on}) < len(count_on))
        present_in = [h for h in held if h.datanode.admin_state is not AdminState.DECOMMISSIONED]
        _mark(self.unsound, block_id, any(is_worthless(holding) for holding in present_in))
        self._note_corrupt(block_id, present_in, condition)
        return known

    def _note_settled(self, block_id: int, condition: Condition | None) -> None:
        """Of an open file's block nothing matters but that it has replicas enough until its file
        is published: a file may be written for longer than its first datanodes live."""
        lacking = condition if condition in UNDER_REPLICATED else None
        self.conditions.set(block_id, lacking)
        _mark(self.unpublished, block_id, lacking is not None)
        self.corrupt.pop(block_id, None)
        for marks in (self.unsound, self.crowded):
            marks.discard(block_id)

    def forget(self, block_id: int) -> None:
        """A block is not to be kept at its replication (any more)."""
        self.conditions.set(block_id, None)
        self.draining.note(block_id, ())
        self.corrupt.pop(block_id, None)
        for marks in (self.unpublished, self.unsound, self.crowded):
            marks.discard(block_id)

    def note_corrupt(self, block_id: int, datanode_id: str) -> None:
        """A datanode found its replica damaged and has put it aside."""
        self.corrupt.setdefault(block_id, set()).add(datanode_id)

    def _note_corrupt(
        self, block_id: int, held: Iterable[Holding], condition: Condition | None
    ) -> None:
        """Damaged replicas count until they are replaced, there or elsewhere."""
        wrong = {h.datanode.datanode_id for h in held if h.worth in (Worth.DAMAGED, Worth.WRONG)}
        replaced = {h.datanode.datanode_id for h in held if h.worth is Worth.GOOD}
        healed = condition in (None, Condition.OVER_REPLICATED, Condition.MIS_REPLICATED)
        before = set() if healed else self.corrupt.get(block_id, set())
        if damaged := (before - replaced) | wrong:
            self.corrupt[block_id] = damaged
        else:
            self.corrupt.pop(block_id, None)

    def check_invariants(self, view: View, soft: View, block_ids: Iterable[int]) -> None:
        """Raise unless what is noted of these blocks is what a count from scratch gives."""
        fresh = Assessor(self._datanodes, self.members.min_replicas)
        fresh.members = self.members
        fresh.around = self.around
        for block_id in block_ids:
            fresh.assess(block_id, view, soft)
            noted, true = self.conditions.get(block_id), fresh.conditions.get(block_id)
            assert noted is true, f"block {block_id:x} is noted as {noted!r} and is {true!r}"
            whom, true_whom = self.draining.needs(block_id), fresh.draining.needs(block_id)
            assert whom == true_whom, f"block {block_id:x} needs {true_whom}, noted is {whom}"
            for name in ("unsound", "crowded", "unpublished"):
                marks, true_marks = getattr(self, name), getattr(fresh, name)
                assert (block_id in marks) == (block_id in true_marks), f"{block_id:x}: {name}"


def is_worthless(holding: Holding) -> bool:
    """Return whether a complete block's replica counts for nothing and is not on its way."""
    if holding.replica.state == ReplicaState.TEMPORARY:
        return False
    return holding.worth is not Worth.GOOD


def _mark(marks: BlockQueue, block_id: int, marked: bool) -> None:
    if marked:
        marks.add(block_id)
    else:
        marks.discard(block_id)
