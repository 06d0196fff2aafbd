"""How long is too long: from the times that one client's own exchanges took of late.

Exchanges are compared with their like: of the same kind, and about as large. One that takes half as
long again as all but a twentieth of the last ones did is late. Little is known at first, and then a
fixed time does; it is also never so short that the scheduling of a busy machine would count as
late, and never so long that a reader would not rather ask somebody else.
"""

from collections import deque

KEPT_PER_CLASS = 128
MEASURED_MIN = 16
"""Fewer say nothing of one in twenty."""

PERCENTILE = 0.95
MARGIN = 1.5
"""Times close to the percentile are not worth a second request."""

UNMEASURED_S = 0.25
FLOOR_S = 0.02
CEILING_S = 1.0

SMALLEST_CLASS_BYTES = 64 * 1024
CLASS_BITS = 2  # each class is four times as large as the one before


class RecentTimes:
    """The last times of each class of exchanges."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, int], deque[float]] = {}

    def took(self, kind: str, length_bytes: int, seconds: float) -> None:
        """An exchange took so long, or was given up after it."""
        key = (kind, _size_class(length_bytes))
        if key not in self._times:
            self._times[key] = deque(maxlen=KEPT_PER_CLASS)
        self._times[key].append(seconds)

    def late_after_s(self, kind: str, length_bytes: int) -> float:
        """Return after how long such an exchange is late."""
        times = self._times.get((kind, _size_class(length_bytes)), ())
        if len(times) < MEASURED_MIN:
            return UNMEASURED_S
        percentile = sorted(times)[int(PERCENTILE * (len(times) - 1))]
        return min(max(MARGIN * percentile, FLOOR_S), CEILING_S)


def _size_class(length_bytes: int) -> int:
    return max(0, (length_bytes - 1) // SMALLEST_CLASS_BYTES).bit_length() // CLASS_BITS
