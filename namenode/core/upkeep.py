"""The upkeep of blocks: everything that is done about replicas without being asked, in small
slices.

`tick` lets time pass and begins a round; `step` does one slice of a few milliseconds of what there
is to do (walks first, then repair by urgency, excess, worthless replicas, orphans) and says whether
the round goes on. Both return commands for datanodes. Nothing is planned in safe mode; repair waits
for datanodes that are known and have not reported yet (what they hold would be copied for nothing);
deletions of live blocks wait while too many datanodes vanish at once. `news` says so, for the log.
"""

from collections.abc import Iterable

import msgspec

from dolmen.protocol.datanode_messages import (
    AnyCommand,
    CheckReplica,
    TransferReplica,
)
from dolmen.protocol.tokens import Access, BlockToken, ClusterKeys
from namenode.core.assessment import Assessor
from namenode.core.block_map import Standing, Tables, look_up
from namenode.core.conditions import REPAIRED, Condition
from namenode.core.datanodes import Datanodes, DatanodeState, Liveness
from namenode.core.deletions import (
    command_of,
    may_repeat,
    new_orders,
    order_excess,
    order_orphan,
    order_worthless,
    overdue_orders,
)
from namenode.core.intake import Intake
from namenode.core.outcome import (
    BlocksChanged,
    BlocksDropped,
    BlocksForgotten,
    Effect,
    FileReplicationChanged,
)
from namenode.core.redundancy import Need, Plan, Redundancy
from namenode.core.safe_mode import SafeMode
from namenode.core.walks import (
    SLICE,
    BlocksWalk,
    FileWalk,
    NamespaceWalk,
    StorageWalk,
    Walks,
)

FRUITLESS_LIMIT = 1024
"""Blocks in a row that could not be repaired, after which the others of their urgency wait for the
next round: all datanodes are busy, or full. Some 40 ms of a round."""

UNSOUND, ORPHANS, REPEATS = "unsound", "orphans", "repeats"
"""What a round does beside repair and excess: worthless replicas, blocks of no file, orders."""


class Moment(msgspec.Struct, frozen=True):
    """Now, on both clocks: the loop's, which never jumps, and the wall's, for tokens."""

    loop_ms: int
    wall_ms: int


class Dispatch(msgspec.Struct, frozen=True):
    """A command for a datanode."""

    datanode_id: str
    command: AnyCommand


class UpkeepOptions(msgspec.Struct, frozen=True):
    """What upkeep needs to know of the settings."""

    min_replicas: int
    order_repeat_ms: int
    token_life_ms: int


class Parts(msgspec.Struct, frozen=True):
    """The soft state that upkeep works on."""

    datanodes: Datanodes
    assessor: Assessor
    redundancy: Redundancy
    safe_mode: SafeMode
    intake: Intake
    keys: ClusterKeys


class Upkeep:
    """Walks, rounds, and the commands that come of them."""

    def __init__(self, options: UpkeepOptions, parts: Parts) -> None:
        self._options = options
        self._parts = parts
        self._datanodes = parts.datanodes
        self._assessor = parts.assessor
        self._redundancy = parts.redundancy
        self._walks = Walks()
        self._left: dict[Condition | str, int] = {}  # what the round has not looked at yet
        self._overdue: list[tuple[str, int]] = []  # orders to be repeated in this round
        self._fruitless = 0  # blocks looked at in a row for which nothing could be done
        self._was_in_safe_mode = True
        self._waiting: dict[str, str | None] = {}
        self.news: list[str] = []
        """What happened since somebody last took it, for the log."""

    # ------------------------------------------------------------ what happened

    def release(self, effects: Iterable[Effect], tables: Tables, now: Moment) -> None:
        """Take the effects of committed edits."""
        for effect in effects:
            match effect:
                case BlocksForgotten(block_ids):
                    self._forget(block_ids)
                case BlocksDropped(block_ids):
                    self._forget(block_ids)
                    self._parts.intake.orphans.update(dict.fromkeys(block_ids))
                case BlocksChanged(block_ids):
                    walk = BlocksWalk(sorted(block_ids), published=True)
                    if len(block_ids) <= SLICE:
                        self._look_at(walk, walk.block_ids, tables, now)
                    else:
                        self._walks.add(walk)
                case FileReplicationChanged(inode_id):
                    self._walks.add(FileWalk(inode_id))

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

    def look_again(self, block_ids: Iterable[int]) -> None:
        """Something changed for these blocks."""
        if ordered := sorted(block_ids):
            self._walks.add(BlocksWalk(ordered))

    # ------------------------------------------------------------ time

    def tick(self, now: Moment) -> list[Dispatch]:
        """Let time pass, begin a round, and repeat what was not answered."""
        for change in self._datanodes.advance(now.loop_ms):
            self.news.append(f"datanode {change.datanode_id} is {change.liveness.name}")
            datanode = self._datanodes.get(change.datanode_id)
            if change.liveness is Liveness.DEAD and datanode is not None:
                self._redundancy.forget_target(change.datanode_id)
                self.classify_again(datanode)
        self.look_again(self._redundancy.expire(now.loop_ms))
        self._redundancy.begin_tick(now.loop_ms)
        self._parts.safe_mode.tick(self._datanodes.ran_ms)
        self._leave_safe_mode()
        self.look_around()
        self._begin_round(now)
        return self._checks()

    def look_around(self) -> None:
        """See what the cluster offers: whether a block is badly spread depends on it."""
        changes = self._assessor.look_around()
        if changes.second_rack and not self._parts.safe_mode.starting:
            self._walks.add(NamespaceWalk())
            return
        if changes.new_host:
            self.look_again(self._assessor.crowded)
        if changes.fewer:
            self.look_again(self._assessor.conditions.of(Condition.MIS_REPLICATED))

    def _leave_safe_mode(self) -> None:
        if self._was_in_safe_mode and not self._parts.safe_mode.starting:
            self._was_in_safe_mode = False
            self.news.append("safe mode is over")
            self._walks.add(NamespaceWalk())
        self._note("safe mode", self._parts.safe_mode.from_future)

    def _begin_round(self, now: Moment) -> None:
        conditions = self._assessor.conditions
        in_safe_mode = self._parts.safe_mode.reason() is not None
        awaited = self._note("repair waits", None if in_safe_mode else self._datanodes.awaited())
        vanished = self._note("deletions wait, repair goes on", self._datanodes.vanished())
        self._left = {}
        if in_safe_mode:
            return
        if awaited is None:
            self._left |= {condition: conditions.count(condition) for condition in REPAIRED}
        if vanished is None:
            self._left[Condition.OVER_REPLICATED] = conditions.count(Condition.OVER_REPLICATED)
            self._left[UNSOUND] = len(self._assessor.unsound)
        self._left[ORPHANS] = len(self._parts.intake.orphans)
        sent_before_ms = now.loop_ms - self._options.order_repeat_ms
        self._overdue = [
            (datanode.datanode_id, block_id)
            for datanode in self._datanodes
            for block_id in overdue_orders(datanode, sent_before_ms)
        ]
        self._left[REPEATS] = len(self._overdue)
        self._left = {what: count for what, count in self._left.items() if count}

    def _note(self, what: str, why: str | None) -> str | None:
        """Say in the log once why something waits, and once that it does not any more."""
        if self._waiting.get(what) != why:
            self.news.append(f"{what}: {why}" if why else f"{what}: no more")
            self._waiting[what] = why
        return why

    # ------------------------------------------------------------ slices of work

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do before the next tick."""
        return not self._walks and not self._left

    def step(self, tables: Tables, now: Moment) -> tuple[list[Dispatch], bool]:
        """Do one slice of work; return its commands and whether there is more to do now."""
        dispatches: list[Dispatch] = []
        taken = self._walks.take_slice(tables.view, tables.soft)
        if taken is not None:
            self._look_at(*taken, tables, now)
        elif self._parts.safe_mode.reason() is not None:
            self._left.clear()
        elif self._left:
            what = next(iter(self._left))
            limit = min(self._left[what], SLICE)
            dispatches = self._work(what, limit, tables, now) + self._orders(now)
            self._left[what] -= limit
            self._fruitless = 0 if dispatches else self._fruitless + limit
            if self._left[what] == 0 or (what in REPAIRED and self._fruitless >= FRUITLESS_LIMIT):
                del self._left[what]
                self._fruitless = 0
        return dispatches, not self.idle

    def _look_at(self, walk: object, block_ids: Iterable[int], tables: Tables, now: Moment) -> None:
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
                self._parts.intake.orphans.setdefault(block_id)

    def _work(
        self, what: Condition | str, limit: int, tables: Tables, now: Moment
    ) -> list[Dispatch]:
        if what in REPAIRED:
            return self._repair(Condition(what), limit, tables, now)
        if what == REPEATS:
            return self._repeat_orders(limit, tables, now)
        if what == ORPHANS:
            self._drop_orphans(limit, tables)
        elif self._datanodes.vanished() is None:
            self._trim(what, limit, tables)
        return []

    def _trim(self, what: Condition | str, limit: int, tables: Tables) -> None:
        if what == UNSOUND:
            for block_id in _take_turn(self._assessor.unsound, limit):
                self._trim_worthless(block_id, tables)
        else:
            for block_id in self._assessor.conditions.take_turn(Condition.OVER_REPLICATED, limit):
                self._trim_excess(block_id, tables)

    def _repair(
        self, condition: Condition, limit: int, tables: Tables, now: Moment
    ) -> list[Dispatch]:
        dispatches = []
        for block_id in self._assessor.conditions.take_turn(condition, limit):
            if self._redundancy.throttle.exhausted():
                break
            known = self._assessor.assess(block_id, tables.view, tables.soft)
            noted = self._assessor.conditions.get(block_id)
            if known.block is None or noted not in REPAIRED:
                continue
            held = self._assessor.held(known, tables.soft)
            need = Need(known.block, known.wanted, noted, held)
            plans = self._redundancy.plan(need, now.loop_ms)
            dispatches += [self._transfer(plan, now) for plan in plans]
        return dispatches

    def _transfer(self, plan: Plan, now: Moment) -> Dispatch:
        block = plan.block
        token = BlockToken(
            block_id=block.block_id,
            stamp=block.stamp,
            access=Access.COPY,
            user="",
            expires_ms=now.wall_ms + self._options.token_life_ms,
            length_limit_bytes=block.length_bytes,
            targets=tuple(source.target for source in plan.sources),
        )
        command = TransferReplica(
            block.block_id,
            block.stamp,
            block.length_bytes,
            block.digest,
            self._parts.keys.sign(token),
        )
        return Dispatch(plan.target.datanode_id, command)

    def _trim_excess(self, block_id: int, tables: Tables) -> None:
        known = self._assessor.assess(block_id, tables.view, tables.soft)
        if known.standing is Standing.COMPLETE:
            held = self._assessor.held(known, tables.soft)
            if order_excess(held, block_id, known.wanted):
                self._assessor.assess(block_id, tables.view, tables.soft)

    def _trim_worthless(self, block_id: int, tables: Tables) -> None:
        known = self._assessor.assess(block_id, tables.view, tables.soft)
        if known.standing is not Standing.COMPLETE:
            return
        held = self._assessor.held(known, tables.soft)
        holders = {holding.datanode.datanode_id for holding in held}
        elsewhere = any(d.datanode_id not in holders for d in self._datanodes.usable())
        enough = min(self._options.min_replicas, known.wanted) if elsewhere else 1
        order_worthless(held, block_id, enough, self._redundancy.awaits)

    def _drop_orphans(self, limit: int, tables: Tables) -> None:
        orphans = self._parts.intake.orphans
        for block_id in _take_turn(orphans, limit):
            known = self._assessor.assess(block_id, tables.view, tables.soft)
            gone = known.standing is not Standing.UNKNOWN
            if gone or order_orphan(tables, block_id, self._datanodes):
                del orphans[block_id]

    # ------------------------------------------------------------ commands that wait

    def _orders(self, now: Moment) -> list[Dispatch]:
        return [
            Dispatch(datanode.datanode_id, order)
            for datanode in self._datanodes
            if datanode.orders
            for order in new_orders(datanode, now.loop_ms)
        ]

    def _repeat_orders(self, limit: int, tables: Tables, now: Moment) -> list[Dispatch]:
        """Repeat orders that are not confirmed, if what proved them still holds (rule 24)."""
        dispatches = []
        for datanode_id, block_id in [self._overdue.pop() for _ in range(limit)]:
            datanode = self._datanodes.get(datanode_id)
            given = None if datanode is None else datanode.orders.get(block_id)
            if datanode is None or given is None:
                continue
            given.sent_ms = now.loop_ms
            if given.orphan or self._is_proven(block_id, datanode, tables):
                dispatches.append(Dispatch(datanode_id, command_of(block_id, given)))
        return dispatches

    def _is_proven(self, block_id: int, datanode: DatanodeState, tables: Tables) -> bool:
        if self._datanodes.vanished() is not None:
            return False
        known = look_up(tables.view, tables.meta, block_id)
        if known.standing is not Standing.COMPLETE:
            return False
        held = self._assessor.held(known, tables.soft)
        return may_repeat(held, block_id, datanode, known.wanted)

    def _checks(self) -> list[Dispatch]:
        dispatches = []
        for datanode in self._datanodes:
            dispatches += [
                Dispatch(datanode.datanode_id, CheckReplica(block_id, stamp))
                for block_id, stamp in datanode.checks.items()
            ]
            datanode.checks.clear()
        return dispatches


def _take_turn(queue: dict[int, None], limit: int) -> list[int]:
    """Return the first `limit` of a queue, which go to its end."""
    block_ids = [block_id for _, block_id in zip(range(limit), queue, strict=False)]
    for block_id in block_ids:
        del queue[block_id]
        queue[block_id] = None
    return block_ids
