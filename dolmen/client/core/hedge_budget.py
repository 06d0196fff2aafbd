"""How much may be asked twice: a share of what is asked once, in requests and in bytes.

Each request pays its share into two buckets, and each second request takes its whole cost out of
both. They hold at most a burst, which is also what they begin with: a client that finds a datanode
standing still has as many reads there as it has streams. So over any time, what is asked twice is
at most the share of what is asked, and one burst. Without that bound, a cluster that is slow
because it is busy would get twice the work.
"""

BURST_REQUESTS = 16.0
BURST_BYTES = 64.0 * 1024 * 1024


class HedgeBudget:
    """The two buckets of one client. A `share` of 0 asks nothing twice."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._requests = BURST_REQUESTS if share else 0.0
        self._bytes = BURST_BYTES if share else 0.0

    def asked(self, length_bytes: int) -> None:
        """A request for so many bytes was sent, for the first time."""
        self._requests = min(BURST_REQUESTS, self._requests + self._share)
        self._bytes = min(BURST_BYTES, self._bytes + self._share * length_bytes)

    def take(self, length_bytes: int) -> bool:
        """Return whether so many bytes may be asked for once more; if so, they are paid for."""
        if self._requests < 1 or self._bytes < length_bytes:
            return False
        self._requests -= 1
        self._bytes -= length_bytes
        return True
