"""Memory that many open files share: a little for each, and a spare part for whoever needs more.

A file that holds nothing always gets `LEAST_BYTES`, so none ever waits for another one: what others
hold may be given back late, or never. All beyond that comes out of the spare part, which is half of
the limit. So what all hold together is at most half the limit and the least of each file: within
the limit for as many files as fit into its other half (256, with 64 MiB).

The spare part is a stack of units. Taking one off and putting one back are single steps of the
interpreter, so that threads may share it; a share belongs to one file, which guards it itself.
"""

from collections import deque

from dolmen.protocol.checksums import CHUNK_BYTES

UNIT_BYTES = CHUNK_BYTES
LEAST_BYTES = 2 * CHUNK_BYTES
"""Half of it would be one chunk, for which a request costs more than its bytes."""


class ByteShares:
    """The memory of all files of one client, for one purpose."""

    def __init__(self, limit_bytes: int) -> None:
        self.spare: deque[None] = deque([None] * (limit_bytes // 2 // UNIT_BYTES))

    @property
    def spare_bytes(self) -> int:
        """What is left of the spare part."""
        return len(self.spare) * UNIT_BYTES

    def open(self) -> "Share":
        """Return the share of one more file."""
        return Share(self)


class Share:
    """What one file holds."""

    def __init__(self, shares: ByteShares) -> None:
        self._spare = shares.spare
        self._units = 0
        self.held_bytes = 0

    def take(self, wanted_bytes: int) -> int:
        """Return how many of the wanted bytes may be held now, beside what is held already.

        All of them; or, if nothing is held, the least that a file always gets; or none.
        """
        if self._take_units(_units_for(self.held_bytes + wanted_bytes) - self._units):
            self.held_bytes += wanted_bytes
            return wanted_bytes
        if self.held_bytes:
            return 0
        self.held_bytes = min(wanted_bytes, LEAST_BYTES)
        return self.held_bytes

    def take_ahead(self, wanted_bytes: int) -> int:
        """Return how many of the wanted bytes may be held for what is not asked for yet.

        At most half of what is left in the spare part, so that files that stand still leave
        something to those that come; a file that holds nothing gets its least; or none.
        """
        room = max(0, LEAST_BYTES - self.held_bytes) + len(self._spare) // 2 * UNIT_BYTES
        granted = min(wanted_bytes, room)
        return self.take(granted) if granted >= min(wanted_bytes, LEAST_BYTES) else 0

    def give_back(self, length_bytes: int) -> None:
        """Hold so many bytes less."""
        self.held_bytes -= length_bytes
        excess = self._units - _units_for(self.held_bytes)
        if excess > 0:
            self._units -= excess
            self._spare.extend([None] * excess)

    def close(self) -> None:
        """Hold nothing."""
        self.give_back(self.held_bytes)

    def _take_units(self, count: int) -> bool:
        taken: list[None] = []
        try:
            for _ in range(count):
                taken.append(self._spare.pop())
        except IndexError:
            self._spare.extend(taken)
            return False
        self._units += len(taken)
        return True


def _units_for(held_bytes: int) -> int:
    """Return the units of the spare part that a file with so many bytes has."""
    return -(-max(0, held_bytes - LEAST_BYTES) // UNIT_BYTES)
