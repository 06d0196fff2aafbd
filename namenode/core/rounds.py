"""Rounds: what is done about replicas between two ticks, a slice of a few milliseconds at a time.

A round looks once at each block that is not as it should be: repair by urgency, then excess,
worthless replicas, blocks of no file, and orders that nobody confirmed. Nothing is planned in safe
mode; repair waits for datanodes that are known and have not reported yet (what they hold would be
copied for nothing); deletions of live blocks wait while too many datanodes vanish at once.
"""

import msgspec

from dolmen.protocol.datanode_messages import TransferReplica
from dolmen.protocol.tokens import Access, BlockToken, ClusterKeys
from namenode.core.assessment import Assessor
from namenode.core.balancing import Balancer
from namenode.core.block_map import Standing, Tables, look_up
from namenode.core.conditions import REPAIRED, Condition
from namenode.core.datanodes import Datanodes, DatanodeState
from namenode.core.deletions import (
    command_of,
    may_repeat,
    new_orders,
    order_excess,
    order_orphan,
    order_worthless,
    overdue_orders,
)
from namenode.core.dispatch import Dispatch, Moment
from namenode.core.hashing import Hashing
from namenode.core.intake import Intake
from namenode.core.news import News
from namenode.core.redundancy import Need, Plan, Redundancy
from namenode.core.safe_mode import SafeMode
from namenode.core.walks import SLICE

FRUITLESS_LIMIT = 1024
"""Blocks in a row for which nothing could be done, after which the others wait for the next round:
all datanodes are busy, or full, or have as many orders as they may. Some 40 ms of a round."""

UNSOUND, ORPHANS, REPEATS, BALANCE = "unsound", "orphans", "repeats", "balance"
HASHES = "hashes"
"""What a round does beside repair and excess: worthless replicas, blocks of no file, orders, and
last balancing and the hashes of files."""


MAY_BE_FRUITLESS = (*REPAIRED, Condition.OVER_REPLICATED, ORPHANS)
"""Work that others may hold up, block after block."""


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
    news: News
    balancer: Balancer
    hashing: Hashing


class Rounds:
    """What the round under way has not looked at yet, and the commands that come of the rest."""

    def __init__(self, options: UpkeepOptions, parts: Parts) -> None:
        self._options = options
        self._parts = parts
        self._datanodes = parts.datanodes
        self._assessor = parts.assessor
        self._redundancy = parts.redundancy
        self._left: dict[Condition | str, int] = {}
        self._overdue: list[tuple[str, int]] = []  # orders to be repeated in this round
        self._fruitless = 0  # blocks looked at in a row for which nothing could be done

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do before the next round."""
        return not self._left

    def begin(self, now: Moment) -> None:
        """Begin a round with what there is to do and nothing holds up; say why the rest waits."""
        conditions, news = self._assessor.conditions, self._parts.news
        safe_mode = self._parts.safe_mode.reason()
        in_safe_mode = safe_mode is not None
        awaited = news.note("repair waits", None if in_safe_mode else self._datanodes.awaited())
        vanished = news.note("deletions wait, repair goes on", self._datanodes.vanished())
        to_move = self._parts.balancer.begin_round(safe_mode or awaited or vanished, now.loop_ms)
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
        self._left[BALANCE] = to_move
        self._left[HASHES] = self._parts.hashing.begin_round(SLICE, now.loop_ms)
        self._left = {what: count for what, count in self._left.items() if count}

    def step(self, tables: Tables, now: Moment) -> list[Dispatch]:
        """Do one slice of the round; return its commands."""
        if self._parts.safe_mode.reason() is not None:
            self._left.clear()
        if not self._left:
            return []
        what = next(iter(self._left))
        limit = min(self._left[what], SLICE)
        orphans = len(self._parts.intake.orphans)
        dispatches = self._work(what, limit, tables, now) + self._orders(now)
        done_something = dispatches or len(self._parts.intake.orphans) < orphans
        self._left[what] -= limit
        self._fruitless = 0 if done_something else self._fruitless + limit
        held_up = what in MAY_BE_FRUITLESS and self._fruitless >= FRUITLESS_LIMIT
        if self._left[what] == 0 or held_up:
            del self._left[what]
            self._fruitless = 0
        return dispatches

    def _work(
        self, what: Condition | str, limit: int, tables: Tables, now: Moment
    ) -> list[Dispatch]:
        if what in REPAIRED:
            return self._repair(Condition(what), limit, tables, now)
        if what == REPEATS:
            return self._repeat_orders(limit, tables, now)
        if what == BALANCE:
            plans = self._parts.balancer.step(limit, tables, now.loop_ms)
            return [self._transfer(plan, now) for plan in plans]
        if what == HASHES:
            return self._parts.hashing.step(limit, tables, now)
        if what == ORPHANS:
            self._drop_orphans(limit, tables)
        elif self._datanodes.vanished() is None:
            self._trim(what, limit, tables)
        return []

    def _trim(self, what: Condition | str, limit: int, tables: Tables) -> None:
        if what == UNSOUND:
            for block_id in self._assessor.unsound.take_turn(limit):
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
            moving_from = self._parts.balancer.source_of(block_id)
            if order_excess(held, block_id, known.wanted, moving_from):
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
        for block_id in orphans.take_turn(limit):
            known = self._assessor.assess(block_id, tables.view, tables.soft)
            gone = known.standing is not Standing.UNKNOWN
            if gone or order_orphan(tables, block_id, self._datanodes):
                orphans.discard(block_id)

    # ------------------------------------------------------------ orders

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
