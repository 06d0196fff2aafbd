"""A token bucket: how long to wait so that bytes do not flow faster than a rate."""

BURST_S = 0.25
"""What may be moved at once after a pause: keeps a stream smooth, and is not felt."""


class Throttle:
    """Bytes per second for all who share it. The time is an argument, in seconds."""

    def __init__(self, bytes_per_second: int, now_s: float) -> None:
        self._rate = bytes_per_second
        self._free_at_s = now_s - BURST_S  # when the bytes taken so far have been paid for

    def step_bytes(self, unit_bytes: int, limit_bytes: int) -> int:
        """Return how much to move in one step: whole units, at least one, no more than a burst.

        So a slow rate makes short pauses, and none that a peer takes for silence.
        """
        burst_bytes = int(self._rate * BURST_S) // unit_bytes * unit_bytes
        return max(unit_bytes, min(limit_bytes, burst_bytes))

    def take(self, length_bytes: int, now_s: float) -> float:
        """Take `length_bytes` and return how many seconds to wait before moving them."""
        start_s = max(self._free_at_s, now_s - BURST_S)
        self._free_at_s = start_s + length_bytes / self._rate
        return max(0.0, start_s - now_s)
