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

FLOOR_S = 0.05
"""For a MiB: 20 MB/s, which a disk or link is below that is sick, or has other work."""

MEASURED_FOR_S = 3.0
"""Shorter than that a datanode may only be waiting for its turn on a busy machine."""

FORGOTTEN_AFTER_S = 60.0
"""What others did in quieter times is no measure of what one does now."""

LEFT_OUT_S = 120.0
"""Longer than a burst of other work on its disk, short enough that a healed one is soon in use."""

KEPT_PER_STEP = 32
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
        self._costs: dict[Step, dict[str, deque[tuple[float, float]]]] = {step: {} for step in Step}
        """When, and how much for a MiB; the last ones of each."""
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
            stores_slowly = self._add(
                Step.STORING, member, _per_mib(hop.stored_s, length_bytes), now_s
            )
            is_far = self._add(step, member, _per_mib(reached_s, length_bytes), now_s)
            if stores_slowly or is_far:
                found.append(member)
            step, waited_s = Step.PASSED_ON, hop.waited_s
        return self._leave_out(found, now_s)

    def finalize_took(
        self, datanode_id: str, length_bytes: int, took_s: float, now_s: float
    ) -> tuple[str, ...]:
        """A block was finalized there; return whether it is found to be slow by it."""
        cost_s = _per_mib(took_s, length_bytes)
        slow = self._add(Step.FINALIZING, datanode_id, cost_s, now_s)
        return self._leave_out([datanode_id] if slow else [], now_s)

    def _add(self, step: Step, datanode_id: str, cost_s: float, now_s: float) -> bool:
        """Remember a measurement; return whether the datanode is slow, as far as is known now."""
        costs = self._costs[step]
        kept = costs.pop(datanode_id, None) or deque(maxlen=KEPT_PER_STEP)
        kept.append((now_s, cost_s))
        costs[datanode_id] = kept
        if len(costs) > DATANODES_LIMIT:
            del costs[next(iter(costs))]
        own = self._known(step, datanode_id, now_s)
        if own is None or own < FLOOR_S or now_s - kept[0][0] < MEASURED_FOR_S:
            return False
        names = [name for name in costs if name != datanode_id]
        others = [self._known(step, name, now_s) for name in names]
        known = [other for other in others if other is not None]
        return bool(known) and own > TIMES_SLOWER * median(known)

    def _known(self, step: Step, datanode_id: str, now_s: float) -> float | None:
        """Return what a step costs at a datanode, if it was measured often enough of late."""
        kept = self._costs[step][datanode_id]
        while kept and kept[0][0] < now_s - FORGOTTEN_AFTER_S:
            kept.popleft()
        if len(kept) < MEASURED_MIN[step]:
            return None
        return median(cost_s for _, cost_s in kept)

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


def _per_mib(took_s: float, length_bytes: int) -> float:
    """Small segments are not slow for what every request costs."""
    return took_s / max(length_bytes / MIB, 1.0)
