"""How fast repair may go: bytes per second through each datanode, and through all of them together.

A bucket fills at its rate up to one second's worth. A transfer is let through when both its ends
and the whole have its length in their buckets, and takes it from all three. A replica longer than a
bucket is let through when the bucket is full, and leaves a debt: so in any time t no more than rate
· (1 s + t) goes through a bucket, plus one such replica.
"""

import msgspec

BURST_S = 1
"""A bucket holds one second's worth: short against a repair, long against a tick."""


class Bucket(msgspec.Struct):
    """Bytes that may go now."""

    rate_bytes: int  # per second
    level_bytes: float
    filled_ms: int

    def fill(self, now_ms: int) -> None:
        """Let what time has brought in."""
        grown = self.level_bytes + self.rate_bytes * (now_ms - self.filled_ms) / 1000
        self.level_bytes = min(grown, self.rate_bytes * BURST_S)
        self.filled_ms = now_ms

    def allows(self, length_bytes: int) -> bool:
        """Return whether so many bytes may go now."""
        return self.level_bytes >= min(length_bytes, self.rate_bytes * BURST_S)


class Throttle:
    """The buckets of all datanodes and of the whole cluster."""

    def __init__(self, rate_bytes: int) -> None:
        self._rate_bytes = rate_bytes
        self._whole: Bucket | None = None
        self._buckets: dict[str, Bucket] = {}

    def refill(self, live: set[str], now_ms: int) -> None:
        """Let time pass. A transfer has two ends: the whole moves half of what its ends could."""
        for datanode_id in self._buckets.keys() - live:
            del self._buckets[datanode_id]
        for datanode_id in sorted(live - self._buckets.keys()):
            self._buckets[datanode_id] = self._full_bucket(self._rate_bytes, now_ms)
        rate_bytes = max(self._rate_bytes * len(live) // 2, self._rate_bytes)
        if self._whole is None:
            self._whole = self._full_bucket(rate_bytes, now_ms)
        self._whole.rate_bytes = rate_bytes
        for bucket in (self._whole, *self._buckets.values()):
            bucket.fill(now_ms)

    def exhausted(self) -> bool:
        """Return whether nothing at all may go now."""
        return self._whole is None or self._whole.level_bytes <= 0

    def allows(self, end: str, length_bytes: int) -> bool:
        """Return whether so many bytes may go through one datanode now."""
        bucket = self._buckets.get(end)
        return bucket is None or bucket.allows(length_bytes)

    def admit(self, length_bytes: int, *ends: str) -> bool:
        """Take `length_bytes` from the buckets of both ends, if they and the whole have it."""
        buckets = [self._buckets.get(end) for end in ends]
        concerned = [bucket for bucket in (self._whole, *buckets) if bucket is not None]
        if not all(bucket.allows(length_bytes) for bucket in concerned):
            return False
        for bucket in concerned:
            bucket.level_bytes -= length_bytes
        return True

    def _full_bucket(self, rate_bytes: int, now_ms: int) -> Bucket:
        return Bucket(rate_bytes, rate_bytes * BURST_S, now_ms)
