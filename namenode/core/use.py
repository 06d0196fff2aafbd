"""How full each datanode is, with what is on its way: the figures that balancing works with.

What a datanode says of its space is some moments old. A move that was planned counts at once, at
both ends, and until both ends have been heard twice after it was over: the first heartbeat may have
been on its way. So a datanode may be taken for fuller, or as a source for emptier, than it is, and
never the other way round: no figure that lags makes balancing overshoot.
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


class Use(msgspec.Struct, frozen=True):
    """The space of one datanode, `used_bytes` with what is on its way."""

    datanode: DatanodeState
    used_bytes: int

    def with_more(self, length_bytes: int) -> float:
        """Return the share of the space that is taken when this comes to it (or goes)."""
        return (self.used_bytes + length_bytes) / self.datanode.capacity_bytes

    @property
    def share(self) -> float:
        """The share of the space that is taken."""
        return self.with_more(0)


class Uses:
    """The usable datanodes, and the band around their mean in which each shall be."""

    def __init__(
        self, datanodes: Iterable[DatanodeState], shares: Iterable[Share], threshold: float
    ) -> None:
        self._of = {
            datanode.datanode_id: Use(datanode, datanode.used_bytes)
            for datanode in datanodes
            if datanode.capacity_bytes > 0
        }
        for share in shares:
            self.add(share.datanode_id, share.change_bytes)
        capacity_bytes = sum(use.datanode.capacity_bytes for use in self._of.values())
        used_bytes = sum(use.used_bytes for use in self._of.values())
        self._mean = used_bytes / max(capacity_bytes, 1)
        self._low, self._high = self._mean - threshold, self._mean + threshold
        lacking = any(use.share < self._low for use in self._of.values())
        self._floor = self._mean if lacking else self._high

    def get(self, datanode_id: str) -> Use | None:
        """Return how full a datanode is; None if it takes no part."""
        return self._of.get(datanode_id)

    def add(self, datanode_id: str, change_bytes: int) -> None:
        """This comes to a datanode, or goes."""
        use = self._of.get(datanode_id)
        if use is not None:
            self._of[datanode_id] = Use(use.datanode, use.used_bytes + change_bytes)

    @property
    def left_bytes(self) -> int:
        """How much would have to move so that each is in the band."""
        over = sum(self._beyond(use.share - self._high, use) for use in self._of.values())
        under = sum(self._beyond(self._low - use.share, use) for use in self._of.values())
        return max(over, under)

    @staticmethod
    def _beyond(share: float, use: Use) -> int:
        return max(0, int(share * use.datanode.capacity_bytes))

    def sources(self) -> list[Use]:
        """Return whom replicas are to be moved from, fullest first: those above the band, and all
        above the mean if one is below the band."""
        found = [use for use in self._of.values() if use.share > self._floor]
        return sorted(found, key=lambda use: (-use.share, use.datanode.datanode_id))

    def gives(self, datanode_id: str) -> bool:
        """Return whether replicas are still to be moved from this datanode."""
        use = self._of.get(datanode_id)
        return use is not None and use.share > self._floor

    def targets(self, limit: int) -> list[Use]:
        """Return whom replicas are to be moved to, emptiest first."""
        found = [use for use in self._of.values() if use.share < self._mean]
        return sorted(found, key=lambda use: (use.share, use.datanode.datanode_id))[:limit]

    def helps(self, source: Use, target: Use, length_bytes: int) -> bool:
        """Return whether moving so much is wanted, and takes neither end out of the band.

        Then the ends come nearer to each other, or both into the band. So with each move fewer
        datanodes are out of the band, or the squares of all distances from the mean sum up to less:
        it comes to an end, and nothing goes to and fro.
        """
        if source.share <= self._high and target.share >= self._low:
            return False
        left, grown = source.with_more(-length_bytes), target.with_more(length_bytes)
        if left < self._low or grown > self._high:
            return False
        return grown <= left or (left <= self._high and grown >= self._low)
