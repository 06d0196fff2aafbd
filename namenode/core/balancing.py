"""Balancing: replicas move from fuller datanodes to emptier ones until each is near the mean.

It is done while somebody asks for it: each call keeps it going for a while, and when the calls end
it ends, but for the moves under way (`moves`). What is moved, and what cannot be: `move_search`.
Repair goes first: while blocks are under-replicated, in safe mode, and while datanodes vanish or
still report, it waits; and if what it waits for does not change, it is over.
"""

import msgspec

from dolmen.protocol.errors import AccessDenied, InvalidRequest
from dolmen.protocol.operator_messages import BALANCE_LIFE_S, Balance, BalanceProgress
from namenode.core.assessment import Assessor
from namenode.core.block_map import Tables, good, look_up
from namenode.core.conditions import UNDER_REPLICATED
from namenode.core.datanodes import Datanodes
from namenode.core.move_search import MoveSearch
from namenode.core.moves import Move, Moves
from namenode.core.redundancy import Plan, Redundancy
from namenode.core.use import Uses

ROUND_LIMIT = 1024
"""Blocks looked at in one round: some 60 ms of it."""

FAILURES_LIMIT = 100
"""Copies that failed one after the other: it is no accident, and more of them help nobody."""

WAIT_LIMIT_MS = 60_000
"""Who waits for repair that makes no progress for so long waits for ever: longer than a datanode
takes to die."""

PERCENT_LIMIT = 100.0


class Run(msgspec.Struct):
    """One balancing, from the first call to its end."""

    asker: str
    threshold: float
    asked_ms: int
    search: MoveSearch
    waits: str = ""
    waits_since_ms: int | None = None
    ended: str = ""  # why
    told: bool = False  # to the asker, that it has: the next call begins another


class Balancer:
    """Plans moves while a run lasts, and looks after those under way."""

    def __init__(self, datanodes: Datanodes, assessor: Assessor, redundancy: Redundancy) -> None:
        self._datanodes = datanodes
        self._assessor = assessor
        self._redundancy = redundancy
        self._moves = Moves(datanodes)
        self._run: Run | None = None

    # ------------------------------------------------------------ who asks

    def ask(self, request: Balance, asker: str, now_ms: int) -> BalanceProgress:
        """Begin a run, keep it going, or end it; return how far it is. AccessDenied."""
        if not 0 < request.threshold_percent <= PERCENT_LIMIT:
            raise InvalidRequest("the threshold of balancing is above 0 and at most 100 percent")
        run = self._run
        if run is not None and run.asker != asker and self._goes_on(run, now_ms):
            raise AccessDenied(
                f"{run.asker} has this cluster balanced now: wait for its end, or end it there"
            )
        if run is None or run.asker != asker or run.told:
            search = MoveSearch(self._assessor, self._redundancy, self._moves)
            run = self._run = Run(asker, 0.0, now_ms, search)
            self._moves.count_anew()
        run.threshold, run.asked_ms = request.threshold_percent / PERCENT_LIMIT, now_ms
        if request.stop:
            run.ended = "it was stopped"
        return self._progress(run)

    def _goes_on(self, run: Run, now_ms: int) -> bool:
        return not run.ended and now_ms < run.asked_ms + BALANCE_LIFE_S * 1000

    def _progress(self, run: Run) -> BalanceProgress:
        left_bytes = self._measure(run).left_bytes
        balanced = left_bytes == 0 and self._moves.settled
        if balanced and not run.ended:
            run.ended = "every datanode is near the mean"
        run.told = bool(run.ended)
        return BalanceProgress(
            balanced=balanced,
            moving=len(self._moves),
            moved_replicas=self._moves.moved_replicas,
            moved_bytes=self._moves.moved_bytes,
            left_bytes=left_bytes,
            reason=run.ended or run.waits,
            ended=run.told,
        )

    def _measure(self, run: Run) -> Uses:
        return Uses(self._datanodes.usable(), self._moves.shares(), run.threshold)

    def source_of(self, block_id: int) -> str:
        """Return the datanode that this block is being moved away from, empty if it is not."""
        return self._moves.source_of(block_id)

    # ------------------------------------------------------------ rounds

    def begin_round(self, waits: str | None, now_ms: int) -> int:
        """See what is to be done; return how many blocks to look at. `waits` says why nothing may
        be begun now."""
        self._moves.settle()
        run = self._run
        if run is None or run.ended:
            return len(self._moves)
        if not self._goes_on(run, now_ms):
            run.ended = "nobody asks for it any more"
            return len(self._moves)
        waits = waits or self._repair_under_way()
        run.waits = waits or ""
        if waits is not None:
            self._wait(run, waits, now_ms)
            return len(self._moves)
        run.waits_since_ms = None
        return ROUND_LIMIT if self._search(run) else len(self._moves)

    def _repair_under_way(self) -> str | None:
        count = self._assessor.conditions.count(*UNDER_REPLICATED)
        return f"repair goes first: {count} blocks are under-replicated" if count else None

    def _wait(self, run: Run, waits: str, now_ms: int) -> None:
        if run.waits_since_ms is None or self._redundancy.pending_count:
            run.waits_since_ms = now_ms
        if now_ms - run.waits_since_ms >= WAIT_LIMIT_MS:
            run.ended = f"it has waited for a minute in which nothing changed; {waits}"

    def _search(self, run: Run) -> bool:
        """Prepare the round's search; return whether there is one."""
        uses = self._measure(run)
        if self._moves.failed_in_row >= FAILURES_LIMIT:
            run.ended = f"the last {FAILURES_LIMIT} copies failed: see the namenode's log"
        elif run.search.begin_round(uses):
            return True
        elif run.search.over and uses.left_bytes:
            run.ended = run.search.why_nothing()
        return False

    def step(self, limit: int, tables: Tables, now_ms: int) -> list[Plan]:
        """Look after some moves, and at some blocks; return the copies that were begun."""
        for move in self._moves.take_turn(limit):
            self._look_after(move, tables, now_ms)
        run = self._run
        if run is None or run.ended or run.waits:
            return []
        return run.search.step(limit, tables, now_ms)

    def _look_after(self, move: Move, tables: Tables, now_ms: int) -> None:
        block_id = move.block_id
        if self._redundancy.awaits(block_id, move.target.datanode_id):
            return
        known = look_up(tables.view, tables.meta, block_id)
        if known.block is None:
            self._moves.forget(move)
            return
        held = self._assessor.held(known, tables.soft)
        holders = {datanode.datanode_id for datanode in good(held)}
        self._moves.look_after(move, holders, known.wanted, now_ms)
