"""When which replica is read whole and verified, so that each one is within `scrub_period`.

The longest unverified goes first. A volume is gone round at a steady rate that follows from what is
on it: a round takes ROUND_SHARE of the period, which leaves slack for restarts and for what is
added. The rate never depends on how late a replica is, but for a factor of two while one is overdue
(after a long stop), so that nothing ever brings about a storm of reading.

Times are on a clock of their own, which follows the wall clock only at a start, never backwards,
and the monotonic one from then on: a wall clock that is set forward or back while the datanode runs
changes nothing, and one that was set back in between never makes a replica wait longer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest

ROUND_SHARE = 0.8
"""Of the period, for one round."""

CATCH_UP = 2.0
"""Faster while a replica is overdue."""

LEAST_COST_BYTES = 64 * 1024
"""What a small replica counts: opening two files costs about as much as reading this."""

LEAST_PACE_BYTES = 1024 * 1024
"""Per second while a replica is being read: its file is not open for hours; pauses come between
replicas."""

QUEUE_REPLICAS = 10_000
"""Looked out at a time; 1 MiB of memory, and seldom enough to cost nothing."""

Turn = tuple[int, int, int]
"""(verified_ms, block id, stamp): when the replica was last verified."""


class ScrubClock:
    """The clock of verifications, in milliseconds. `now_s` is on the monotonic clock."""

    def __init__(self, wall_ms: int, now_s: float) -> None:
        self._offset_ms = wall_ms - int(now_s * 1000)
        self._started_s = now_s

    def now_ms(self, now_s: float) -> int:
        """Return the time."""
        return self._offset_ms + int(now_s * 1000)

    def not_before(self, moment_ms: int) -> None:
        """Something was verified at `moment_ms`, before this start."""
        behind_ms = moment_ms - self.now_ms(self._started_s)
        self._offset_ms += max(behind_ms, 0)


@dataclass(frozen=True)
class ScrubPace:
    """How fast one volume is gone round."""

    period_s: float
    greatest_rate: float  # bytes per second, whatever the period needs

    def rate(self, cost_bytes: int, *, overdue: bool) -> float:
        """Return the bytes per second for a volume that holds so much."""
        wanted = max(cost_bytes, LEAST_COST_BYTES) / (self.period_s * ROUND_SHARE)
        return min(wanted * (CATCH_UP if overdue else 1.0), self.greatest_rate)

    def reading_rate(self, rate: float) -> float:
        """Return the bytes per second while a replica is being read."""
        return min(max(rate, LEAST_PACE_BYTES), self.greatest_rate)

    def is_kept(self, cost_bytes: int) -> bool:
        """Return whether the greatest rate is enough for the period."""
        return self.rate(cost_bytes, overdue=False) * self.period_s >= cost_bytes


def cost_of(length_bytes: int) -> int:
    """Return what verifying a replica counts."""
    return max(length_bytes, LEAST_COST_BYTES)


class ScrubQueue:
    """The replicas of one volume whose turn it is next."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []  # the next one is last
        self._looked_out: list[Turn] = []

    def look_out(self, turns: Iterable[Turn]) -> None:
        """Take some of a volume's replicas into account; `settle` ends it."""
        self._looked_out = nsmallest(QUEUE_REPLICAS, [*self._looked_out, *turns])

    def settle(self) -> None:
        """All replicas have been looked at."""
        self._turns, self._looked_out = self._looked_out[::-1], []

    def first(self) -> Turn | None:
        """Return whose turn it will be next."""
        return self._turns[-1] if self._turns else None

    def next(self) -> Turn | None:
        """Return whose turn it is; None if all must be looked at again."""
        return self._turns.pop() if self._turns else None
