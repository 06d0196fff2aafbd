"""How much blocks may still take of a volume: never the reserve, also with many writers at once.

Bytes are promised before they are written, and settled when they are: in between neither they nor
what the file system says of them can be relied on. A measurement takes time too; what was settled
while it was under way may be missing in it, so that is taken off once more. The figure errs on the
side of too little, until the next measurement.
"""

from dataclasses import dataclass

RESERVE_SHARE = 20
"""The reserve is at most one in this many bytes (5 %), so that small volumes can be used."""


@dataclass
class Promise:
    """Bytes that somebody is about to write."""

    room: "Room"
    left_bytes: int

    def settle(self, length_bytes: int) -> None:
        """So many of them have been written, or perhaps: the disk failed in the middle."""
        length_bytes = min(length_bytes, self.left_bytes)
        self.left_bytes -= length_bytes
        self.room.settle(length_bytes)

    def settle_all(self) -> None:
        """All of them have been written, or perhaps."""
        self.settle(self.left_bytes)

    def release(self) -> None:
        """The rest will not be written."""
        self.room.promised_bytes -= self.left_bytes
        self.left_bytes = 0


class Room:
    """The space of one volume."""

    def __init__(self, reserved_bytes: int) -> None:
        self.capacity_bytes = 0
        self.promised_bytes = 0
        self._reserved_bytes = reserved_bytes
        self._free_bytes = 0
        self._settled_bytes = 0  # ever

    @property
    def reserve_bytes(self) -> int:
        """What blocks never take."""
        return min(self._reserved_bytes, self.capacity_bytes // RESERVE_SHARE)

    @property
    def left_bytes(self) -> int:
        """What can still be promised."""
        return max(0, self._free_bytes - self.promised_bytes - self.reserve_bytes)

    def promise(self, length_bytes: int) -> Promise:
        """Set so many bytes aside; the caller has seen that they are left."""
        self.promised_bytes += length_bytes
        return Promise(self, length_bytes)

    def settle(self, length_bytes: int) -> None:
        """So many promised bytes are on the disk, or may be."""
        self.promised_bytes -= length_bytes
        self._free_bytes -= length_bytes
        self._settled_bytes += length_bytes

    def begin_measuring(self) -> int:
        """Return what `measured` needs to know of when its figures were asked for."""
        return self._settled_bytes

    def measured(self, begun: int, capacity_bytes: int, free_bytes: int) -> None:
        """Take what the file system says."""
        self.capacity_bytes = capacity_bytes
        self._free_bytes = free_bytes - (self._settled_bytes - begun)

    def is_full(self) -> None:
        """The disk said that it has no room, whatever was measured."""
        self._free_bytes = 0
