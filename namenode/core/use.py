"""How full each datanode is, with what is on its way: the figures that balancing works with.

What a datanode says of its space is some moments old, and may have a move in it already or not yet.
So from its plan until both ends have been heard twice after it was over (the first heartbeat may
have been on its way), a move makes two figures differ: the target is at most so full, the source at
least so. Datanodes are taken as targets by the one and as sources by the other: no figure that lags
makes balancing overshoot, and what was just filled is not emptied again.
"""

from collections.abc import Iterable

import msgspec

from namenode.core.datanodes import DatanodeState

BEATS = 2
"""Heartbeats after which what a datanode says of its space has a move in it."""


class Share(msgspec.Struct):
    """What a move adds to one datanode, or takes from it."""

    datanode_id: str
    change_bytes: int
    heard_ms: int | None = None
    beats_left: int = BEATS

    def sees(self, datanode: DatanodeState | None) -> bool:
        """The move is over; return whether the datanode's own figures have it in them by now."""
        if datanode is None:
            return True
        if datanode.heard_ms != self.heard_ms:
            self.heard_ms = datanode.heard_ms
            self.beats_left -= 1
        return self.beats_left < 0  # the first look only notes when it was heard last


class Use(msgspec.Struct):
    """The space of one datanode: blocks take at least `least_bytes` and at most `most_bytes`."""

    datanode: DatanodeState
    least_bytes: int
    most_bytes: int

    def add(self, change_bytes: int) -> None:
        """This is on its way to here, or from here."""
        self.most_bytes += max(0, change_bytes)
        self.least_bytes += min(0, change_bytes)

    @property
    def likely_bytes(self) -> int:
        """What blocks take when one in two of the moves under way is in the figures."""
        return (self.least_bytes + self.most_bytes) // 2

    @property
    def likely(self) -> float:
        """The share of the space that is taken, as far as one can say."""
        return self.likely_bytes / self.datanode.capacity_bytes

    def as_source(self, length_bytes: int = 0) -> float:
        """Return the share that is taken at least, when this has gone."""
        return (self.least_bytes - length_bytes) / self.datanode.capacity_bytes

    def as_target(self, length_bytes: int = 0) -> float:
        """Return the share that is taken at most, when this has come."""
        return (self.most_bytes + length_bytes) / self.datanode.capacity_bytes


class Uses:
    """The usable datanodes, and the band around their mean in which each shall be."""

    def __init__(
        self, datanodes: Iterable[DatanodeState], shares: Iterable[Share], threshold: float
    ) -> None:
        self._of = {
            datanode.datanode_id: Use(datanode, datanode.used_bytes, datanode.used_bytes)
            for datanode in datanodes
            if datanode.capacity_bytes > 0
        }
        self.exact = True  # nothing is under way
        for share in shares:
            self.add(share.datanode_id, share.change_bytes)
        uses = self._of.values()
        capacity_bytes = sum(use.datanode.capacity_bytes for use in uses)
        self._mean = sum(use.likely_bytes for use in uses) / max(capacity_bytes, 1)
        self._low, self._high = self._mean - threshold, self._mean + threshold
        lacking = any(use.as_target() < self._low for use in uses)
        self._floor = self._mean if lacking else self._high

    def add(self, datanode_id: str, change_bytes: int) -> None:
        """This is on its way to a datanode, or from it."""
        self.exact = False
        use = self._of.get(datanode_id)
        if use is not None:
            use.add(change_bytes)

    @property
    def left_bytes(self) -> int:
        """How much would have to move so that each is in the band."""
        uses = self._of.values()
        over = sum(self._beyond(use.likely - self._high, use) for use in uses)
        under = sum(self._beyond(self._low - use.likely, use) for use in uses)
        return max(over, under)

    @staticmethod
    def _beyond(share: float, use: Use) -> int:
        return max(0, int(share * use.datanode.capacity_bytes))

    def sources(self) -> list[DatanodeState]:
        """Return whom replicas are to be moved from, fullest first: those above the band, and all
        above the mean if one is below the band."""
        found = [use for use in self._of.values() if use.as_source() > self._floor]
        found.sort(key=lambda use: (-use.as_source(), use.datanode.datanode_id))
        return [use.datanode for use in found]

    def gives(self, datanode_id: str) -> bool:
        """Return whether replicas are still to be moved from this datanode."""
        use = self._of.get(datanode_id)
        return use is not None and use.as_source() > self._floor

    def targets(self, limit: int) -> list[DatanodeState]:
        """Return whom replicas are to be moved to, emptiest first."""
        found = [use for use in self._of.values() if use.as_target() < self._mean]
        found.sort(key=lambda use: (use.as_target(), use.datanode.datanode_id))
        return [use.datanode for use in found[:limit]]

    def helps(self, source_id: str, target_id: str, length_bytes: int) -> bool:
        """Return whether moving so much is wanted, and takes neither end out of the band.

        Then the ends come nearer to each other: the squares of all distances from the mean sum up
        to less with each such move, so it comes to an end and nothing goes to and fro. Or both come
        into the band, and fewer are out of it; that counts only while the mean is known exactly.
        """
        source, target = self._of.get(source_id), self._of.get(target_id)
        if source is None or target is None:
            return False
        over, under = source.as_source() > self._high, target.as_target() < self._low
        left, grown = source.as_source(length_bytes), target.as_target(length_bytes)
        if not (over or under) or left < self._low or grown > self._high:
            return False
        return grown <= left or (self.exact and left <= self._high and grown >= self._low)
