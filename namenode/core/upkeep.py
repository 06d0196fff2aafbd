"""The upkeep of blocks: everything that is done about replicas without being asked, in small
slices.

`tick` lets time pass and begins a round; `step` does one slice of a few milliseconds of what there
is to do, walks over blocks that something happened to first, then the round (see `rounds`), and
says whether there is more. Both return commands for datanodes.
"""

from collections.abc import Collection, Iterable, Sequence

from dolmen.protocol.datanode_messages import CheckReplica
from namenode.core.block_map import Standing, Tables
from namenode.core.conditions import Condition
from namenode.core.datanodes import DatanodeState, Liveness
from namenode.core.departures import Departures
from namenode.core.dispatch import Dispatch, Moment
from namenode.core.outcome import (
    AdminStateChanged,
    BlocksChanged,
    BlocksDropped,
    BlocksForgotten,
    Effect,
    FileReplicationChanged,
    FutureForgotten,
)
from namenode.core.rounds import Parts, Rounds, UpkeepOptions
from namenode.core.walks import (
    SLICE,
    BlocksWalk,
    FileWalk,
    LeaseWalk,
    NamespaceWalk,
    StorageWalk,
    Walks,
)

LISTED_LIMIT = 50_000
"""Blocks that are put in order for a walk of their own: that takes some 10 ms."""

LOOK_PAUSE_MS = 60_000
"""Between two walks over all blocks because a rack has gained room: room comes and goes with each
copy on its way, and a walk over many blocks takes longer than this anyway."""


class Upkeep:
    """Walks, rounds, and the commands that come of them."""

    def __init__(self, options: UpkeepOptions, parts: Parts) -> None:
        self._parts = parts
        self._datanodes = parts.datanodes
        self._assessor = parts.assessor
        self._redundancy = parts.redundancy
        self._walks = Walks()
        self._rounds = Rounds(options, parts)
        self.departures = Departures(parts.datanodes, parts.assessor, parts.safe_mode, self._walks)
        self._was_in_safe_mode = True
        self._gained = False  # a rack has room that was wanted, and nobody has looked again yet
        self._looked_ms: int | None = None  # when all blocks were looked at for that lastly

    # ------------------------------------------------------------ what happened

    def release(self, effects: Iterable[Effect], tables: Tables, now: Moment) -> None:
        """Take the effects of committed edits."""
        for effect in effects:
            match effect:
                case BlocksForgotten(block_ids):
                    self._forget(block_ids)
                case BlocksDropped(block_ids):
                    self._forget(block_ids)
                    self._parts.intake.orphans.update(block_ids)
                case BlocksChanged(block_ids):
                    walk = BlocksWalk(sorted(block_ids), published=True)
                    if len(block_ids) <= SLICE:
                        self._look_at(walk, walk.block_ids, tables, now)
                    else:
                        self._walks.add(walk)
                case FileReplicationChanged(inode_id):
                    self._walks.add(FileWalk(inode_id))
                case AdminStateChanged():
                    self._change_admin_state(effect)
                case FutureForgotten(next_block_number, next_stamp):
                    self._parts.safe_mode.forget_future(next_block_number, next_stamp)

    def _change_admin_state(self, change: AdminStateChanged) -> None:
        datanode_id = change.datanode_id
        datanode = self._datanodes.set_admin_state(
            datanode_id, change.admin_state, change.maintenance_until_ms
        )
        self._assessor.draining.start_over(datanode_id)
        self._parts.news.say(f"datanode {datanode_id} is {change.admin_state.name} now")
        self.look_around()
        self.classify_again(datanode)

    def _forget(self, block_ids: Iterable[int]) -> None:
        for block_id in block_ids:
            self._assessor.forget(block_id)
            self._redundancy.forget_block(block_id)

    def classify_again(self, datanode: DatanodeState) -> None:
        """This datanode died or came back: its blocks are to be looked at."""
        for number in datanode.volumes:
            self._walks.add(StorageWalk(number))

    def drop_volumes(self, numbers: Iterable[int]) -> None:
        """These volumes are gone, with all that was on them."""
        for number in numbers:
            self._walks.add(StorageWalk(number, lost=True))

    def look_again(self, block_ids: Collection[int]) -> None:
        """Something changed for these blocks. If they are many, the walk over all blocks costs
        less than a list of them."""
        if len(block_ids) > LISTED_LIMIT:
            self._walks.add(NamespaceWalk())
        elif block_ids:
            self._walks.add(BlocksWalk(sorted(block_ids)))

    # ------------------------------------------------------------ time

    def tick(self, now: Moment) -> list[Dispatch]:
        """Let time pass, begin a round, and repeat what was not answered."""
        for change in self._datanodes.advance(now.loop_ms):
            self._parts.news.say(f"datanode {change.datanode_id} is {change.liveness.name}")
            datanode = self._datanodes.get(change.datanode_id)
            if change.liveness is Liveness.DEAD and datanode is not None:
                self._redundancy.forget_target(change.datanode_id)
                self.classify_again(datanode)
        self.look_again(self._redundancy.expire(now.loop_ms))
        self._redundancy.begin_tick(now.loop_ms)
        self._parts.safe_mode.tick(self._datanodes.ran_ms)
        self._leave_safe_mode()
        self.look_around()
        self.departures.look_for_open_blocks()
        self._rounds.begin(now)
        return self._checks()

    def look_around(self) -> None:
        """See what the cluster offers: whether a block is badly spread depends on it."""
        changes = self._assessor.look_around()
        if changes.members:
            for datanode in self.departures.going():  # whom blocks need depends on who serves
                self.classify_again(datanode)
        self._gained |= changes.roomier_rack
        looked_ms = self._looked_ms
        due = looked_ms is None or self._datanodes.ran_ms >= looked_ms + LOOK_PAUSE_MS
        if self._gained and due:
            self._looked_ms = self._datanodes.ran_ms
            self.look_at_all()
            return
        if changes.second_rack:
            self.look_at_all()
            return
        if changes.new_host or changes.roomier_host:
            self._assessor.cramped.on_hosts_bytes = None
            self.look_again(self._assessor.crowded)
        if changes.fewer:
            self.look_again(self._assessor.conditions.of(Condition.MIS_REPLICATED))

    def look_at_all(self) -> None:
        """Racks are others now, or have room: any block may be spread better, or worse."""
        if self._parts.safe_mode.starting:
            return  # its end looks at all blocks
        self._gained = False
        self._assessor.cramped.in_racks_bytes = None
        self._walks.add(NamespaceWalk())

    def _leave_safe_mode(self) -> None:
        if self._was_in_safe_mode and not self._parts.safe_mode.starting:
            self._was_in_safe_mode = False
            self._parts.news.say("safe mode is over")
            self._walks.add(NamespaceWalk())
        future = self._parts.safe_mode.from_future
        self._parts.news.note("safe mode", None if future is None else future.what)

    # ------------------------------------------------------------ slices of work

    @property
    def walk_count(self) -> int:
        """How many walks are under way."""
        return len(self._walks)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do before the next tick."""
        return not self._walks and self._rounds.idle

    def step(self, tables: Tables, now: Moment) -> tuple[list[Dispatch], bool]:
        """Do one slice of work; return its commands and whether there is more to do now."""
        dispatches: list[Dispatch] = []
        taken = self._walks.take_slice(tables.view, tables.soft)
        if taken is not None:
            self._look_at(*taken, tables, now)
        if taken is None or isinstance(taken[0], NamespaceWalk):
            dispatches = self._rounds.step(tables, now)  # a walk of hours holds up no repair
        return dispatches, not self.idle

    def _look_at(self, walk: object, block_ids: Sequence[int], tables: Tables, now: Moment) -> None:
        if isinstance(walk, LeaseWalk):
            self._look_for_open(block_ids, tables)
            return
        for block_id in block_ids:
            if isinstance(walk, StorageWalk) and walk.lost:
                self._parts.intake.forget_row(block_id, walk.storage_number, tables)
                continue
            known = self._assessor.assess(block_id, tables.view, tables.soft)
            published = isinstance(walk, FileWalk) or (
                isinstance(walk, BlocksWalk) and walk.published
            )
            if published and known.block is not None and known.standing is Standing.COMPLETE:
                self._redundancy.expect(known.block, now.loop_ms)
            if known.standing is Standing.UNKNOWN:
                self._parts.intake.orphans.add(block_id)

    def _look_for_open(self, block_ids: Sequence[int], tables: Tables) -> None:
        self._assessor.draining.saw_open(block_ids, tables)
        if len(block_ids) < SLICE:
            self._assessor.draining.end_pass()

    def _checks(self) -> list[Dispatch]:
        dispatches = []
        for datanode in self._datanodes:
            dispatches += [
                Dispatch(datanode.datanode_id, CheckReplica(block_id, stamp))
                for block_id, stamp in datanode.checks.items()
            ]
            datanode.checks.clear()
        return dispatches
