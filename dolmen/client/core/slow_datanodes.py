"""Which datanodes are slow: measured while blocks are written, compared with the others.

Each hop of a pipeline says how long it stored a segment and how long it waited for the hop behind
it. So the writer knows of each datanode what storing cost it, and what reaching it cost the one
before: that hop's wait, less what the datanode stored and waited itself. What the writer sends by
itself is a step of its own, because its own link is in it. A step is compared with the same step at
the others: alone with its slowness a datanode is slow, all together they are the cluster.

A slow one is left out for a while; then nothing is held against it, and it is measured anew.
Whether others can take its place is not decided here: a slow datanode is better than none.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from statistics import median

from dolmen.protocol.block_messages import HopTimes

TIMES_SLOWER = 4.0
"""Than the median of the others: disks of one kind differ by less."""

FLOOR_S = 0.02
"""For a MiB: 50 MB/s, below which a disk or a link that others are compared with does not go."""

LEFT_OUT_S = 120.0
"""Longer than a burst of other work on its disk, short enough that a healed one is soon in use."""

KEPT_PER_STEP = 16
DATANODES_LIMIT = 256
"""More are not remembered; the namenode takes no longer list of those to leave out than 1000."""

MIB = 1024 * 1024


class Step(Enum):
    """What is measured of a datanode."""

    STORING = auto()
    PASSED_ON = auto()  # to it, by the one before it in the pipeline
    SENT = auto()  # to it, by the writer
    FINALIZING = auto()


MEASURED_MIN = {Step.STORING: 8, Step.PASSED_ON: 8, Step.SENT: 8, Step.FINALIZING: 3}
"""Fewer measurements say nothing: of segments there are many, of blocks few."""


class SlowDatanodes:
    """What one client has measured, and whom it leaves out."""

    def __init__(self) -> None:
        self._costs: dict[Step, dict[str, deque[float]]] = {step: {} for step in Step}
        self._until_s: dict[str, float] = {}

    def current(self, now_s: float) -> tuple[str, ...]:
        """Return those left out now."""
        self._until_s = {name: until for name, until in self._until_s.items() if until > now_s}
        return tuple(self._until_s)

    def segment_took(
        self,
        members: Sequence[str],
        length_bytes: int,
        took_s: float,
        hops: Sequence[HopTimes],
        now_s: float,
    ) -> tuple[str, ...]:
        """A segment went down a pipeline; return who is found to be slow by it."""
        step, waited_s = Step.SENT, took_s
        found: list[str] = []
        for member, hop in zip(members, hops, strict=False):
            reached_s = max(0.0, waited_s - hop.stored_s - hop.waited_s)
            stores_slowly = self._add(Step.STORING, hop.stored_s, member, length_bytes)
            is_far = self._add(step, reached_s, member, length_bytes)
            if stores_slowly or is_far:
                found.append(member)
            step, waited_s = Step.PASSED_ON, hop.waited_s
        return self._leave_out(found, now_s)

    def finalize_took(
        self, datanode_id: str, length_bytes: int, took_s: float, now_s: float
    ) -> tuple[str, ...]:
        """A block was finalized there; return whether it is found to be slow by it."""
        slow = self._add(Step.FINALIZING, took_s, datanode_id, length_bytes)
        return self._leave_out([datanode_id] if slow else [], now_s)

    def _add(self, step: Step, took_s: float, datanode_id: str, length_bytes: int) -> bool:
        """Remember a measurement; return whether the datanode is slow, as far as is known now."""
        costs = self._costs[step]
        kept = costs.pop(datanode_id, None) or deque(maxlen=KEPT_PER_STEP)
        kept.append(took_s / max(length_bytes / MIB, 1.0))
        costs[datanode_id] = kept
        if len(costs) > DATANODES_LIMIT:
            del costs[next(iter(costs))]
        return self._is_slow(step, datanode_id)

    def _is_slow(self, step: Step, datanode_id: str) -> bool:
        known = [
            (name, median(kept))
            for name, kept in self._costs[step].items()
            if len(kept) >= MEASURED_MIN[step]
        ]
        own = dict(known).get(datanode_id, 0.0)
        if own < FLOOR_S:
            return False
        others = [cost for name, cost in known if name != datanode_id]
        return bool(others) and own > TIMES_SLOWER * median(others)

    def _leave_out(self, found: list[str], now_s: float) -> tuple[str, ...]:
        left_out = self.current(now_s)
        fresh = tuple(name for name in found if name not in left_out)
        for name in found:
            for costs in self._costs.values():
                costs.pop(name, None)
        for name in fresh:
            self._until_s[name] = now_s + LEFT_OUT_S
        if len(self._until_s) > DATANODES_LIMIT:
            del self._until_s[next(iter(self._until_s))]
        return fresh
