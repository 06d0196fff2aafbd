"""Safe mode: after a start the namenode changes nothing until enough blocks were reported.

It ends at once when the wanted share of the blocks has a replica or nothing is stored; otherwise
when at least one datanode has reported in full and for `quiet` no report brought a new block: what
is missing then is reported as missing and does not hold the rest up. It comes back, and stays, when
a datanode reports a block from the future: then the namespace was rolled back, what it would write
now would collide with what exists, and an operator must decide (rule 25). An operator who leaves
safe mode by hand has decided: the numbers of what was reported are skipped for ever, and such
replicas are left alone. Who enters it by hand, keeps it until somebody leaves it.
"""

import msgspec


class SafeModeOptions(msgspec.Struct, frozen=True):
    """When safe mode ends."""

    threshold: float
    quiet_ms: int


class Future(msgspec.Struct, frozen=True):
    """What was reported and is not made yet: lastly what, and up to which number and stamp."""

    what: str
    block_number: int
    stamp: int


class SafeMode:
    """Counts the blocks that have been reported, until there are enough."""

    def __init__(self, options: SafeModeOptions, total: int) -> None:
        self._options = options
        self._total = total
        self._quiet_since_ms: int | None = None  # None: nobody has reported in full
        self._future: Future | None = None
        self._by_hand: str | None = None
        self.seen = 0
        """Complete blocks with a good replica."""
        self.starting = True
        """Whether not enough blocks have been reported yet."""
        self._end_if_enough()

    def saw_block(self, now_ms: int) -> None:
        """A complete block has its first good replica."""
        self.seen += 1
        if self._quiet_since_ms is not None:
            self._quiet_since_ms = now_ms
        self._end_if_enough()

    def lost_block(self) -> None:
        """A complete block's last good replica is gone."""
        self.seen -= 1

    def saw_full_report(self, now_ms: int) -> None:
        """A datanode has reported in full."""
        if self._quiet_since_ms is None:
            self._quiet_since_ms = now_ms

    def saw_future(self, what: str, block_number: int, stamp: int) -> None:
        """Somebody holds a block that this namespace has not made yet."""
        before = self._future or Future(what, 0, 0)
        self._future = Future(
            what, max(before.block_number, block_number), max(before.stamp, stamp)
        )

    def forget_future(self, next_block_number: int, next_stamp: int) -> None:
        """What was reported from the future below these counters is given up."""
        future = self._future
        if future and future.block_number < next_block_number and future.stamp < next_stamp:
            self._future = None

    def enter(self, who: str) -> None:
        """Somebody wants the namespace to stay as it is."""
        self._by_hand = who

    def leave(self) -> None:
        """Somebody has had enough of it: what is not reported yet is missing from now on."""
        self._by_hand = None
        self.starting = False

    @property
    def from_future(self) -> "Future | None":
        """What was reported from the future, if anything was."""
        return self._future

    def tick(self, now_ms: int) -> None:
        """End safe mode if it has been quiet for long enough."""
        quiet_since_ms = self._quiet_since_ms
        if quiet_since_ms is not None and now_ms - quiet_since_ms >= self._options.quiet_ms:
            self.starting = False

    def reason(self) -> str | None:
        """Return why the namenode changes nothing, None if it is not in safe mode."""
        if self._future is not None:
            return (
                f"safe mode: {self._future.what}; this namespace has been rolled back. Start the"
                " namenode on its newest directory, or take that datanode away, and start it again;"
                " or go on with this namespace: `dolmen safemode leave` gives up what was written"
                " since, and leaves such replicas alone"
            )
        if self._by_hand is not None:
            return (
                f"safe mode: entered by hand by {self._by_hand}, it lasts until"
                " `dolmen safemode leave`"
            )
        if not self.starting:
            return None
        waits_for = (
            "no datanode has reported in full yet"
            if self._quiet_since_ms is None
            else f"it ends {self._options.quiet_ms} ms after the last newly reported block"
        )
        return (
            f"safe mode: {self.seen} of {self._total} blocks have a replica,"
            f" {self._options.threshold:.1%} are needed; {waits_for}"
        )

    def missing(self) -> int:
        """Return how many blocks have no replica so far."""
        return max(0, self._total - self.seen)

    def _end_if_enough(self) -> None:
        if self.seen >= self._options.threshold * self._total:
            self.starting = False
