"""Looks for replicas that balancing can move: along the blocks of the fuller datanodes.

A move makes no block worse off: only a published block is moved that has what it wants, proven on
every holder; its new place takes part in the spread over hosts and racks in such a way that the
rule that removes excess will take the replica on the fuller datanode away.

Each fuller datanode has a bookmark. When all were walked to their ends, with nothing under way all
the time, nothing can be moved and the search is over; else they are walked again when what is under
way has come to its end.
"""

import enum
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from namenode.core.assessment import Assessor
from namenode.core.block_map import Holding, Standing, Tables, blocks_on, counting, look_up
from namenode.core.datanodes import DatanodeState
from namenode.core.deletions import proven
from namenode.core.excess import choose_excess
from namenode.core.moves import MOVE_LIFE_MS, MOVES_LIMIT, Move, Moves
from namenode.core.records import Block
from namenode.core.redundancy import Plan, Redundancy
from namenode.core.use import Share, Uses

TARGETS_LIMIT = 64
"""Emptiest datanodes that are tried for one block: more than take copies at the same time."""


class Obstacle(enum.Enum):
    """Why a block cannot be moved, after the number of such blocks."""

    UNSETTLED = "are being written, repaired or deleted"
    UNPROVEN = "are not proven good on every datanode that has them"
    HELD = "are on the emptier datanodes already"
    TOO_LARGE = "are too large to bring both ends nearer to the mean"
    SPREAD = "would be spread worse over hosts or racks"
    NO_ROOM = "find no volume with room, or could not be copied lately"


class Busy(enum.Enum):
    """Nothing more can be begun now, for throttle or limits: the next round goes on here."""

    BUSY = 0


BUSY = Busy.BUSY


class Lap(msgspec.Struct):
    """How far the blocks of one fuller datanode have been looked at."""

    numbers: list[int]  # of its volumes still ahead, the first one under way
    begun_at: int  # how many moves had been planned when it began
    exact: bool  # nothing was under way when it began
    after: int = -1


class Searched(msgspec.Struct, frozen=True):
    """A block that may be moved, and who has it."""

    block: Block
    wanted: int
    held: Sequence[Holding]
    have: list[DatanodeState]


class MoveSearch:
    """One search, as long as a balancing lasts."""

    def __init__(self, assessor: Assessor, redundancy: Redundancy, moves: Moves) -> None:
        self._assessor = assessor
        self._redundancy = redundancy
        self._moves = moves
        self._uses = Uses((), (), 1.0)
        self._sources: list[DatanodeState] = []
        self._targets: list[DatanodeState] = []
        self._laps: dict[str, Lap] = {}
        self._planned = 0
        self._obstacles: Counter[Obstacle] = Counter()
        self._busy = False
        self.over = False
        """Nothing can be moved."""

    def begin_round(self, uses: Uses) -> bool:
        """Take new figures; return whether there is anything to look at."""
        self._uses, self._busy = uses, False
        self._targets = uses.targets(TARGETS_LIMIT)
        sources = [source for source in uses.sources() if source.proving]
        for source in sources:
            if source.datanode_id not in self._laps:
                self._begin_lap(source)
        self._sources = [source for source in sources if self._lap(source).numbers]
        self.over = False
        if not self._sources and uses.exact:
            self._sources = [source for source in sources if not self._was_in_vain(source)]
            self.over = not self._sources
            self._obstacles = self._obstacles if self.over else Counter()
            for source in self._sources:
                self._begin_lap(source)
        return bool(self._sources)

    def _begin_lap(self, source: DatanodeState) -> None:
        lap = Lap(sorted(source.volumes), self._planned, self._uses.exact)
        self._laps[source.datanode_id] = lap

    def _was_in_vain(self, source: DatanodeState) -> bool:
        lap = self._lap(source)
        return lap.exact and lap.begun_at == self._planned

    def _lap(self, source: DatanodeState) -> Lap:
        return self._laps[source.datanode_id]

    def why_nothing(self) -> str:
        """Return why nothing can be moved, when a search has found nothing."""
        if not self._obstacles:
            return "the fuller datanodes have no blocks, or have not reported in full"
        said = ", ".join(f"{count} {why.value}" for why, count in self._obstacles.most_common())
        return f"nothing more can be moved: of the blocks of the fuller datanodes {said}"

    def step(self, limit: int, tables: Tables, now_ms: int) -> list[Plan]:
        """Look at the next blocks of the next datanode; return the copies that were begun."""
        plans: list[Plan] = []
        source = self._next_source()
        if source is None:
            return plans
        lap, looked_at = self._lap(source), 0
        for block_id in islice(self._ahead(lap, tables), limit):
            found = self._try(block_id, source, tables, now_ms)
            if found is BUSY:
                self._busy = True
                return plans
            lap.after, looked_at = block_id, looked_at + 1
            if isinstance(found, Plan):
                plans.append(found)
            else:
                self._obstacles[found] += 1
        if looked_at < limit:
            lap.numbers, lap.after = lap.numbers[1:], -1
        return plans

    def _next_source(self) -> DatanodeState | None:
        """Return the source whose turn it is, of those that still have too much."""
        while self._sources and not self._busy:
            source = self._sources.pop(0)
            if self._lap(source).numbers and self._uses.gives(source.datanode_id):
                self._sources.append(source)
                return source
        return None

    def _ahead(self, lap: Lap, tables: Tables) -> Iterator[int]:
        return blocks_on(tables.soft, lap.numbers[0], lap.after)

    # ------------------------------------------------------------ one block

    def _try(
        self, block_id: int, source: DatanodeState, tables: Tables, now_ms: int
    ) -> Plan | Obstacle | Busy:
        """Begin to move this block away from `source`, if that can be done."""
        if len(self._moves) >= MOVES_LIMIT or self._redundancy.throttle.exhausted():
            return BUSY
        searched = self._look_up(block_id, tables)
        if isinstance(searched, Obstacle):
            return searched
        if not any(holder is source for holder in searched.have):
            return Obstacle.UNPROVEN
        obstacle = Obstacle.HELD
        for target in self._targets:
            unfit = self._unfit(searched, source, target)
            if unfit is None:
                return self._begin(searched, source, target, now_ms) or BUSY
            if unfit is BUSY:
                return BUSY
            obstacle = max(obstacle, unfit, key=list(Obstacle).index)
        return obstacle

    def _look_up(self, block_id: int, tables: Tables) -> Searched | Obstacle:
        known = look_up(tables.view, tables.meta, block_id)
        block, assessor = known.block, self._assessor
        if block is None or known.standing is not Standing.COMPLETE or not block.length_bytes:
            return Obstacle.UNSETTLED
        if assessor.conditions.get(block_id) is not None or block_id in self._moves:
            return Obstacle.UNSETTLED
        if block_id in assessor.unsound or block_id in assessor.corrupt:
            return Obstacle.UNSETTLED
        if self._redundancy.is_pending(block_id):
            return Obstacle.UNSETTLED
        held = assessor.held(known, tables.soft)
        have = counting(held, block_id)
        if len(have) != known.wanted or len(proven(held, block_id)) != len(have):
            return Obstacle.UNPROVEN
        if not all(datanode.usable for datanode in have):
            return Obstacle.UNPROVEN
        return Searched(block, known.wanted, held, have)

    def _unfit(
        self, searched: Searched, source: DatanodeState, target: DatanodeState
    ) -> Obstacle | Busy | None:
        """Return why this block cannot be moved from `source` to `target`, None if it can."""
        block = searched.block
        if any(holding.datanode is target for holding in searched.held):
            return Obstacle.HELD
        if not self._uses.helps(source.datanode_id, target.datanode_id, block.length_bytes):
            return Obstacle.TOO_LARGE
        after = choose_excess([*searched.have, target], searched.wanted, source.datanode_id)
        if [site.datanode_id for site in after] != [source.datanode_id]:
            return Obstacle.SPREAD
        if target.free_bytes < block.length_bytes:
            return Obstacle.NO_ROOM
        if self._redundancy.is_busy(target, block.length_bytes):
            return BUSY
        return None if self._redundancy.is_free(block, target) else Obstacle.NO_ROOM

    def _begin(
        self, searched: Searched, source: DatanodeState, target: DatanodeState, now_ms: int
    ) -> Plan | None:
        block = searched.block
        plan = self._redundancy.move(block, target, searched.have, now_ms)
        if plan is None:
            return None
        length_bytes = block.length_bytes
        move = Move(
            block.block_id,
            length_bytes,
            Share(source.datanode_id, -length_bytes),
            Share(target.datanode_id, length_bytes),
            tuple(holder.datanode_id for holder in searched.have),
            now_ms + MOVE_LIFE_MS,
        )
        self._moves.add(move)
        for share in (move.source, move.target):
            self._uses.add(share.datanode_id, share.change_bytes)
        self._planned += 1
        return plan
